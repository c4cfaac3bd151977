"""The limit: onnxruntime in a loop, in this process, on codes that are already there."""

import os
import threading
import time
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks.cells import Sample, sampled
from benchmarks.models import Model
from bundle.latents import latents


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def measure_loops(model: Model, images: int, loops: int, seconds: float) -> Sample:
    """`decode` again and again in `loops` threads, each with a single-threaded session of its own.

    Args:
        model: Whose `decode`.
        images: Of one run.
        loops: Threads.
        seconds: For so long at least.
    """
    inputs = {"z": latents(model.prior, seed=0, start=0, n=images)}
    sessions = [_session(model) for _ in range(loops)]
    for session in sessions:
        session.run(["pixels"], inputs)
    found: list[list[float]] = [[] for _ in sessions]
    cpu, start = time.process_time(), time.perf_counter()
    threads = [
        threading.Thread(target=_loop, args=(session, inputs, start + seconds, latencies))
        for session, latencies in zip(sessions, found, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, used = time.perf_counter() - start, time.process_time() - cpu
    latencies = np.concatenate(found)
    p50, p99 = (1000 * float(np.quantile(latencies, quantile)) for quantile in (0.5, 0.99))
    return sampled(len(latencies), took, used, p50, p99)


def _session(model: Model) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(model.onnx), options, providers=["CPUExecutionProvider"])


def _loop(session: Any, inputs: dict[str, Any], end: float, latencies: list[float]) -> None:
    now = time.perf_counter()
    while now < end:
        before = now
        session.run(["pixels"], inputs)
        now = time.perf_counter()
        latencies.append(now - before)
