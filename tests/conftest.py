"""Fixtures of several packages' tests."""

from tests.support.postgres import own_postgres, postgres_server, postgres_url

__all__ = ["own_postgres", "postgres_server", "postgres_url"]
