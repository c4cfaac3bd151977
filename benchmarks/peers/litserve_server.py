# mypy: disable-error-code="import-not-found, misc"
"""LitServe: batches of up to 64 requests, 2 ms of waiting, its fast queue."""

from typing import Any

import litserve
import numpy as np
from fastapi import Response
from numpy.typing import NDArray

from benchmarks.peers.work import Pixels, Work, encode, media_type, port

Codes = NDArray[np.float32]


class Sample(litserve.LitAPI):
    """One worker process with the model; requests come to it through a queue."""

    def setup(self, device: str) -> None:  # noqa: ARG002 (LitServe's signature)
        """Open the model, in the worker."""
        self.work = Work()

    def decode_request(self, request: dict[str, Any]) -> tuple[Codes, bool]:
        """JSON to codes."""
        return self.work.codes(request["n"], request["seed"]), bool(request.get("png"))

    def batch(self, inputs: list[tuple[Codes, bool]]) -> list[tuple[Codes, bool]]:
        """Requests may differ in size: `predict` joins them."""
        return inputs

    def predict(self, inputs: list[tuple[Codes, bool]]) -> list[tuple[Pixels, bool]]:
        """One run for all."""
        pixels = self.work.pixels(np.concatenate([codes for codes, _ in inputs]))
        ends = np.cumsum([len(codes) for codes, _ in inputs])
        return [(part, png) for part, (_, png) in zip(np.split(pixels, ends[:-1]), inputs, strict=True)]

    def unbatch(self, output: list[tuple[Pixels, bool]]) -> list[tuple[Pixels, bool]]:
        """They are apart already."""
        return output

    def encode_response(self, output: tuple[Pixels, bool]) -> Response:
        """Images to the answer."""
        pixels, png = output
        return Response(encode(pixels, png), media_type=media_type(png))


if __name__ == "__main__":
    api = Sample(max_batch_size=64, batch_timeout=0.002, api_path="/sample")
    server = litserve.LitServer(api, accelerator="cpu", fast_queue=True)
    server.run(host="127.0.0.1", port=port(), generate_client_file=False, log_level="warning", access_log=False)
