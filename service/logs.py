"""Structured logs: one line per event, JSON or coloured text, each with the id of its request."""

import logging
import sys
from typing import Any

import orjson
import structlog

from service.settings import Settings
from service.trace import add_request_id

Processor = Any  # structlog's own type is as wide


def configure_logs(settings: Settings) -> None:
    """Send structlog and the standard library's logging to stderr, in one format."""
    level = getattr(logging, settings.log_level.upper())
    shared: list[Processor] = [
        add_request_id,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [structlog.dev.ConsoleRenderer()]
    if settings.log_format == "json":
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_to_json)]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)


def _to_json(event: dict[str, Any], **_: object) -> str:
    return orjson.dumps(event, default=str).decode()
