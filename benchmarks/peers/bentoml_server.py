# mypy: disable-error-code="import-not-found, misc, untyped-decorator"
"""BentoML: one service process with two threads.

Its adaptive batching, a second service behind `bentoml.depends`, halves its speed here and fails some requests at 32
connections: it is measured the way it is fastest.
"""

import bentoml

from benchmarks.peers.work import Work, encode


@bentoml.service(workers=1, threads=2, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Sample:
    """The model and its HTTP side."""

    def __init__(self) -> None:
        self.work = Work()

    @bentoml.api(route="/sample")
    def sample(self, n: int, seed: int, png: bool = False) -> bytes:
        """Draw images."""
        return encode(self.work.pixels(self.work.codes(n, seed)), png)
