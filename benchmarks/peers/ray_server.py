# mypy: disable-error-code="import-not-found, misc, untyped-decorator, attr-defined"
"""Ray Serve: one replica, `@serve.batch` of up to 64 requests, 2 ms of waiting."""

import os
import signal

import numpy as np
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.peers.work import Work, encode, media_type, port


@serve.deployment(max_ongoing_requests=1000, logging_config={"enable_access_log": False, "log_level": "WARNING"})
class Sample:
    """The replica: the model in a worker process of Ray's."""

    def __init__(self) -> None:
        self.work = Work()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.002)
    async def draw(self, bodies: list[dict[str, int]]) -> list[bytes]:
        """One run for all."""
        codes = [self.work.codes(body["n"], body["seed"]) for body in bodies]
        pixels = self.work.pixels(np.concatenate(codes))
        ends = np.cumsum([len(part) for part in codes])
        parts = np.split(pixels, ends[:-1])
        return [encode(part, bool(body.get("png"))) for part, body in zip(parts, bodies, strict=True)]

    async def __call__(self, request: Request) -> Response:
        """POST /sample."""
        body = await request.json()
        return Response(await self.draw(body), media_type=media_type(bool(body.get("png"))))


if __name__ == "__main__":
    ray.init(include_dashboard=False, _temp_dir=os.environ["BENCH_TEMP"], logging_level="warning")
    serve.start(http_options={"host": "127.0.0.1", "port": port()})
    serve.run(Sample.bind(), route_prefix="/sample")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
