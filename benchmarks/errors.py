"""What a benchmark says when it cannot go on."""


class BenchmarkError(Exception):
    """Nothing that means anything can be measured; the message says why and what to do."""
