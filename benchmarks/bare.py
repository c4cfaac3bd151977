"""The floor: onnxruntime in a loop, in this process, on inputs that are already there."""

import threading
import time
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks.subject import BenchmarkError, Sample, Subject
from bundle.latents import latents
from bundle.manifest import Manifest
from bundle.philox import labels
from bundle.store import Bundle


def open_session(bundle: Bundle) -> Any:
    """`decode` on the CPU, one thread a run, as the service opens it.

    Raises:
        BenchmarkError: If there is no `decode`.
    """
    if "decode" not in bundle.manifest.graphs:
        raise BenchmarkError(f"model {bundle.manifest.name!r} has no graph 'decode'; choose another with --model")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = bundle.path / bundle.manifest.graphs["decode"].file.path
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class BareLoop(Subject):
    """`session.run` again and again, in one thread or in several that share the session.

    Args:
        session: From `open_session`.
        manifest: Of the bundle, for the prior and the classes.
        images: Images of one run.
        loops: Threads.
    """

    def __init__(self, session: Any, manifest: Manifest, images: int, loops: int) -> None:
        self.name = f"onnxruntime, {loops} loop{'s' if loops > 1 else ''}"
        self.images = images
        self._session = session
        self._loops = loops
        self._inputs = _inputs(manifest, images)

    def measure(self, seconds: float) -> Sample:
        """See `Subject`."""
        latencies: list[float] = []
        cpu, start = time.process_time(), time.perf_counter()
        threads = [threading.Thread(target=self._loop, args=(start + seconds, latencies)) for _ in range(self._loops)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took, used = time.perf_counter() - start, time.process_time() - cpu
        return Sample(self.images * len(latencies), took, used, latencies)

    def _loop(self, end: float, latencies: list[float]) -> None:
        before, now = 0.0, time.perf_counter()
        while not before or now < end:
            before = now
            self._session.run(["pixels"], self._inputs)
            now = time.perf_counter()
            latencies.append(now - before)


def _inputs(manifest: Manifest, n: int) -> dict[str, Any]:
    spec = manifest.graphs["decode"]
    if manifest.prior is None or {tensor.name for tensor in spec.inputs} - {"z", "label"}:
        raise BenchmarkError(f"model {manifest.name!r} does not draw from a prior and a label alone; choose another")
    inputs: dict[str, Any] = {"z": latents(manifest.prior, seed=0, start=0, n=n)}
    if spec.input("label"):
        inputs["label"] = np.asarray(labels(len(manifest.labels or []), seed=0, start=0, n=n))
    return inputs
