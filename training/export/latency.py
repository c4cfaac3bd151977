"""What one run of a graph costs on a CPU."""

import time

from bundle.manifest import Latency
from training.data.dataset import Dataset
from training.export.inputs import trial_inputs
from training.families.base import Family, Graph
from training.onnx_graph import OnnxGraph

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
_ROUNDS = 9


def measure_latency(graph: Graph, raw: bytes, family: Family, dataset: Dataset) -> list[Latency]:
    """CPU time of a run at several batch sizes, one thread.

    CPU time of the calling thread rather than wall time, and the least of several rounds that go through all sizes in
    turn: other work on the machine can only add to it.
    """
    session = OnnxGraph(raw)
    inputs = {n: trial_inputs(graph, family, dataset, n) for n in BATCH_SIZES}
    least = dict.fromkeys(BATCH_SIZES, float("inf"))
    for _ in range(_ROUNDS):
        for n in BATCH_SIZES:
            began = time.thread_time()
            session.run(**inputs[n])
            least[n] = min(least[n], time.thread_time() - began)
    return [Latency(batch=n, milliseconds=round(1e3 * max(seconds, 1e-6), 4)) for n, seconds in least.items()]
