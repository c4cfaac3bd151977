"""What onnxruntime itself does when a graph hangs, fails or runs out of memory, and the engine around it."""

import asyncio
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from service.errors import RuntimeFailedError
from tests.service.engine.fakes import PATIENCE_S, Array, Recorder, ask, batcher_of, lanes_of, run, until
from tests.service.engine.graphs import endless_loop, memory_for, table_of_four


def rows(*values: float) -> Array:
    """One row per value."""
    return np.array(values, dtype=np.float32)[:, None]


def test_graph_that_loops_for_ever_is_interrupted_and_its_thread_comes_back(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    old, new = endless_loop(tmp_path / "loop.onnx"), endless_loop(tmp_path / "again.onnx")

    async def main() -> None:
        recorder = Recorder()
        async with lanes_of(1) as lanes:
            batcher = batcher_of(old, lanes, recorder, hang_s=0.5, reopen=lambda: new)
            np.testing.assert_array_equal(await ask(batcher, rows(3)), [[6]])
            victim = ask(batcher, rows(1e18))
            await until(lambda: bool(old._running))
            waiting = ask(batcher, rows(4))
            with pytest.raises(RuntimeFailedError, match="hung"):
                await victim
            np.testing.assert_array_equal(await waiting, [[8]])
            await until(lambda: batcher.healthy[0])
            assert recorder.rebuilds == ["hung"]
            batcher.close()

    run(main())
    for thread in {*threading.enumerate()} - before:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_interrupting_one_thread_lets_the_runs_of_others_finish(tmp_path: Path) -> None:
    runtime = endless_loop(tmp_path / "loop.onnx")
    found: dict[str, object] = {}

    def turn(name: str, value: float) -> None:
        try:
            found[name] = runtime.run({"x": rows(value)}, ["y"])["y"]
        except Exception as error:
            found[name] = error

    endless = threading.Thread(target=turn, args=("endless", 1e18))
    finite = threading.Thread(target=turn, args=("finite", 300_000.0))
    endless.start()
    finite.start()
    while len(runtime._running) < 2 and finite.is_alive():
        time.sleep(0.001)
    assert endless.ident is not None
    runtime.interrupt(endless.ident)
    endless.join(PATIENCE_S)
    finite.join(PATIENCE_S)
    assert "terminate" in str(found["endless"])
    np.testing.assert_array_equal(found["finite"], [[600_000.0]])


def test_index_out_of_range_fails_only_the_caller_who_sent_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with lanes_of(1) as lanes:
            batcher = batcher_of(table_of_four(tmp_path / "table.onnx"), lanes)
            found = await asyncio.gather(
                *(ask(batcher, rows(value)) for value in (0, 1, 99, 2, 3)), return_exceptions=True
            )
            batcher.close()
        assert isinstance(found.pop(2), RuntimeFailedError)
        np.testing.assert_array_equal(np.concatenate(found), rows(10, 11, 12, 13))  # type: ignore[arg-type]

    run(main())


def test_batch_for_which_onnxruntime_has_no_memory_is_halved(tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with lanes_of(1) as lanes:
            batcher = batcher_of(memory_for(tmp_path / "memory.onnx", 4), lanes, recorder, max_batch_size=16)
            np.testing.assert_array_equal(await ask(batcher, rows(*range(16))), rows(*range(16)))
            assert batcher.limits.max_batch_size == 4
            np.testing.assert_array_equal(await ask(batcher, rows(*range(9))), rows(*range(9)))
            batcher.close()
        assert recorder.sizes == [4]
        assert recorder.endings == {"ok": 2}

    run(main())


def test_row_for_which_onnxruntime_has_no_memory_fails_alone(tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with lanes_of(1) as lanes:
            batcher = batcher_of(memory_for(tmp_path / "memory.onnx", 0), lanes, recorder)
            with pytest.raises(RuntimeFailedError, match="allocate memory"):
                await ask(batcher, rows(1, 2, 3))
            batcher.close()
        assert recorder.sizes == []

    run(main())
