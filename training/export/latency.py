"""What one run of a graph costs on a CPU."""

import statistics
import time

from bundle.manifest import Latency
from training.data.dataset import Dataset
from training.export.inputs import trial_inputs
from training.families.base import Family, Graph
from training.onnx_graph import OnnxGraph

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
_ROUNDS = 7


def measure_latency(graph: Graph, raw: bytes, family: Family, dataset: Dataset) -> list[Latency]:
    """Median CPU time of a run at several batch sizes, one thread.

    CPU time of the calling thread rather than wall time, so that other work on the machine does not show.
    """
    session = OnnxGraph(raw)
    table = []
    for n in BATCH_SIZES:
        inputs = trial_inputs(graph, family, dataset, n)
        session.run(**inputs)
        times = []
        for _ in range(_ROUNDS):
            began = time.thread_time()
            session.run(**inputs)
            times.append(time.thread_time() - began)
        table.append(Latency(batch=n, milliseconds=round(1e3 * max(statistics.median(times), 1e-6), 4)))
    return table
