"""Metrics count what happened, however it was noted, in one process and over several."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

from service.engine.observer import Source
from service.histograms import BulkHistogram
from service.metrics import EngineState, GraphState, Metrics
from service.trace import Trace

SOURCE = Source("fashion-vae", 1, "decode")
BUCKETS = (0.1, 1, 10)


def samples(text: bytes) -> dict[str, float]:
    """Name with labels → value."""
    return {f"{s.name}{dict(sorted(s.labels.items()))}": s.value for f in parse(text.decode()) for s in f.samples}


def answered(metrics: Metrics, model: str | None = None, status: int = 200) -> None:
    metrics.request_began()
    trace = Trace("id")
    trace.route = "/sample"
    if status == 404:
        trace.code = "unknown_model"
    if model is not None:
        trace.about(model, 1, 2)
        trace.images = 2
        trace.timings.compute_s = 0.004
    metrics.request_ended(trace, "POST", status, 0.02)


def test_many_values_at_once_count_like_one_after_the_other() -> None:
    values = [0.0, 0.05, 0.1, 0.1000001, 1.0, 5.0, 10.0, 11.0, *np.random.default_rng(0).exponential(2, 500)]
    one, many = (CollectorRegistry(), CollectorRegistry())
    plain = Histogram("h", "h", ("x",), buckets=BUCKETS, registry=one).labels("a")
    for value in values:
        plain.observe(value)
    BulkHistogram("h", "h", ("x",), buckets=BUCKETS, registry=many).labels("a").observe_many(values)
    found, expected = samples(generate_latest(many)), samples(generate_latest(one))
    assert found.keys() == expected.keys()
    assert all(found[name] == pytest.approx(expected[name]) for name in found if "created" not in name)


@pytest.mark.parametrize("requests", [3, 10_000])
def test_every_request_is_counted_once(requests: int) -> None:
    metrics = Metrics()
    for _ in range(requests):
        answered(metrics, "fashion-vae")
    answered(metrics, status=404)
    metrics.request_began()
    for _ in range(2):
        found = samples(metrics.render())
        assert found["genserve_requests_total{'method': 'POST', 'route': '/sample', 'status': '200'}"] == requests
        assert found["genserve_requests_total{'method': 'POST', 'route': '/sample', 'status': '404'}"] == 1
        assert found["genserve_problems_total{'code': 'unknown_model', 'route': '/sample'}"] == 1
        assert found["genserve_request_seconds_count{'method': 'POST', 'route': '/sample'}"] == requests + 1
        assert found["genserve_images_total{'model': 'fashion-vae', 'version': '1'}"] == 2 * requests
        assert found["genserve_requests_in_flight{}"] == 1
        stage = "genserve_stage_seconds_{}{{'model': 'fashion-vae', 'stage': '{}'}}"
        assert found[stage.format("count", "compute")] == requests
        assert found[stage.format("sum", "compute")] == pytest.approx(0.004 * requests)
        assert found[stage.format("sum", "encode")] == 0


@pytest.mark.parametrize("requests", [3, 10_000])
def test_refusals_before_anything_was_parsed_count_like_all_others(requests: int) -> None:
    one, other = Metrics(), Metrics()
    for _ in range(requests):
        one.refused("/sample", "POST", 503, "overloaded", 0.02)
        other.request_began()
        trace = Trace("id")
        trace.route, trace.code = "/sample", "overloaded"
        other.request_ended(trace, "POST", 503, 0.02)
    for _ in range(2):
        found, expected = samples(one.render()), samples(other.render())
        names = [name for name in expected if name.startswith(("genserve_request", "genserve_problem"))]
        assert expected["genserve_requests_total{'method': 'POST', 'route': '/sample', 'status': '503'}"] == requests
        names = [name for name in names if "created" not in name]
        assert {name: found.get(name) for name in names} == pytest.approx({name: expected[name] for name in names})


def test_refusals_do_not_wait_without_end_to_be_counted() -> None:
    metrics = Metrics()
    for _ in range(10_000):
        metrics.refused("/sample", "POST", 503, "overloaded", 0.02)
    assert sum(map(len, metrics._refusals.values())) < 5000


def test_methods_that_nobody_knows_make_no_series_of_their_own() -> None:
    metrics = Metrics()
    metrics.request_began()
    metrics.request_ended(Trace("id"), "BREW", 405, 0.1)
    assert "genserve_requests_total{'method': 'other', 'route': 'unmatched', 'status': '405'}" in samples(
        metrics.render()
    )


def test_engine_events_are_counted() -> None:
    metrics = Metrics()
    for images in (1, 3, 16):
        metrics.batch(SOURCE, images, 1, 0.002)
    metrics.ended(SOURCE, "ok")
    metrics.ended(SOURCE, "ok")
    metrics.ended(SOURCE, "deadline")
    metrics.rebuilt(SOURCE, "hung")
    metrics.shrunk(SOURCE, 8)
    found = samples(metrics.render())
    labels = "'graph': 'decode', 'model': 'fashion-vae'"
    version = "'version': '1'"
    assert found[f"genserve_batch_images_sum{{{labels}, {version}}}"] == 20
    assert found[f"genserve_padding_rows_total{{{labels}, {version}}}"] == 3
    assert found[f"genserve_run_seconds_count{{{labels}, {version}}}"] == 3
    ending = "genserve_engine_requests_total{{'ending': '{}', {}, {}}}"
    assert found[ending.format("ok", labels, version)] == 2
    assert found[ending.format("deadline", labels, version)] == 1
    assert found[f"genserve_runtime_rebuilds_total{{{labels}, 'reason': 'hung', {version}}}"] == 1
    assert found[f"genserve_batch_halvings_total{{{labels}, {version}}}"] == 1


def test_gauges_show_the_engine_as_it_is_and_forget_models_that_are_gone() -> None:
    metrics = Metrics()
    model = ("fashion-vae", "1", "abc", "onnxruntime", "CPUExecutionProvider")
    states = iter(
        [
            EngineState(True, 2, 1.5, 1, [GraphState(SOURCE, 40, 16)], [model]),
            EngineState(False, 2, 1.5, 0, [], []),
        ]
    )
    metrics.watch(lambda: next(states))
    first, second = samples(metrics.render()), samples(metrics.render())
    queue = "genserve_queue_images{'graph': 'decode', 'model': 'fashion-vae', 'version': '1'}"
    assert first[queue] == 40
    assert first["genserve_ready{}"] == 1
    assert first["genserve_lanes_busy{}"] == 1
    assert any(name.startswith("genserve_model_info") for name in first)
    assert queue not in second
    assert second["genserve_ready{}"] == 0
    assert not any(name.startswith("genserve_model_info") for name in second)


WORKER = """
import asyncio, sys
from service.metrics import EngineState, GraphState, Metrics
from tests.service.test_metrics import SOURCE, answered

async def main():
    metrics = Metrics()
    model = ("fashion-vae", "1", "abc", "onnxruntime", "CPUExecutionProvider")
    metrics.watch(lambda: EngineState(True, 1, 0.5, 1, [GraphState(SOURCE, 5, 16)], [model]))
    for _ in range(int(sys.argv[1])):
        answered(metrics, "fashion-vae")
    metrics.count()
    print("counted", flush=True)
    sys.stdin.readline()
    print(metrics.render().decode())

asyncio.run(main())
"""


def test_any_worker_tells_the_sum_of_all(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, number],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in ("3", "4")
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "counted\n"
    found = [samples(worker.communicate("\n")[0].encode()) for worker in workers]
    for one in found[:1]:  # the second is alone when it is asked
        assert one["genserve_requests_total{'method': 'POST', 'route': '/sample', 'status': '200'}"] == 7
        assert one["genserve_stage_seconds_count{'model': 'fashion-vae', 'stage': 'compute'}"] == 7
        assert one["genserve_lanes{}"] == 2
        assert one["genserve_lanes_at_once{}"] == 1
        assert one["genserve_workers{}"] == 2
        assert one["genserve_queue_images{'graph': 'decode', 'model': 'fashion-vae', 'version': '1'}"] == 10
        assert one["genserve_ready{}"] == 1
    assert found[1]["genserve_requests_total{'method': 'POST', 'route': '/sample', 'status': '200'}"] == 7


def test_work_of_the_event_loop_is_counted() -> None:
    metrics = Metrics()
    metrics.tick()
    before = samples(metrics.render())["genserve_event_loop_seconds_total{}"]
    begun = time.thread_time()
    while time.thread_time() < begun + 0.05:
        pass
    time.sleep(0.2)  # is no work
    metrics.tick()
    found = samples(metrics.render())["genserve_event_loop_seconds_total{}"] - before
    assert 0.05 <= found <= time.thread_time() - begun + 0.001
