# mypy: disable-error-code="import-not-found, misc"
"""NVIDIA Triton as `nvidia-pytriton` ships it: Python backend, Triton's dynamic batcher, V2 REST with binary output."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.work import Work, encode, port

work = Work()


def sample(requests: list[Any]) -> list[dict[str, Any]]:
    """One run for all requests that Triton hands over together; each is one row of (n, seed, png)."""
    rows = [tuple(int(request.data[name].item()) for name in ("n", "seed", "png")) for request in requests]
    codes = [work.codes(n, seed) for n, seed, _ in rows]
    pixels = work.pixels(np.concatenate(codes))
    parts = np.split(pixels, np.cumsum([len(part) for part in codes])[:-1])
    return [
        {"image": np.frombuffer(encode(part, bool(png)), np.uint8)[None]}
        for part, (_, _, png) in zip(parts, rows, strict=True)
    ]


if __name__ == "__main__":
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=port(),
        allow_grpc=False,
        allow_metrics=False,
        cache_directory=os.environ["BENCH_TEMP"],
    )
    with Triton(config=config, workspace=Path(os.environ["BENCH_TEMP"]) / "workspace") as triton:
        triton.bind(
            model_name="sample",
            infer_func=sample,
            inputs=[Tensor(name=name, dtype=np.int64, shape=(1,)) for name in ("n", "seed", "png")],
            outputs=[Tensor(name="image", dtype=np.uint8, shape=(-1,))],
            config=ModelConfig(max_batch_size=64, batcher=DynamicBatcher()),
        )
        triton.serve()
