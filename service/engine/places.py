"""Places in a queue that were promised to requests which are on their way to it."""


class Place:
    """Room in a queue for a request that is not in it yet.

    Whoever has one hands it to `Batcher.run`, or gives it up: of a request over HTTP, `transport` does so when that has
    ended. The event loop's alone.

    Attributes:
        rows: So many.
        expected: When it should have its answer (monotonic seconds).
    """

    __slots__ = ("_places", "expected", "rows")

    def __init__(self, places: "Places", rows: int, expected: float) -> None:
        self.rows, self.expected = rows, expected
        self._places: Places | None = places
        places.rows += rows
        places.requests += 1

    def is_one_of(self, places: "Places") -> bool:
        """Whether it is still there, and in that queue."""
        return self._places is places

    def give_up(self) -> None:
        """Nobody comes, or has come; does nothing the second time."""
        places, self._places = self._places, None
        if places is not None:
            places.rows -= self.rows
            places.requests -= 1


class Places:
    """All that were promised in one queue.

    Attributes:
        rows: Of all requests that are on their way.
        requests: How many these are.
    """

    __slots__ = ("requests", "rows")

    def __init__(self) -> None:
        self.rows = self.requests = 0
