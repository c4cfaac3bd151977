"""CPU time and ends of processes that a server has started, daemons among them."""

import subprocess
import sys
import textwrap
from pathlib import Path

from benchmarks.growth import growth, is_flat

ROOT = Path(__file__).parents[2]
PROGRAM = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from benchmarks.processes import ServerProcess, adopt_orphans

    daemon = '''import os, time
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            end = time.process_time() + 0.6
            while time.process_time() < end:
                pass
            time.sleep(60)
        os._exit(0)
    os.wait()
    time.sleep(60)
    '''
    adopt_orphans()
    folder = Path(sys.argv[1])
    server = ServerProcess([sys.executable, "-S", "-c", daemon], {}, folder, folder / "log")
    end = time.monotonic() + 30
    while server.cpu_seconds() < 0.5 and time.monotonic() < end:
        time.sleep(0.05)
    print(len(server.processes()), server.cpu_seconds() >= 0.5)
    print(len(server.stop()), len(server.processes()), server.ended)
""")


def test_daemons_count_and_are_stopped(tmp_path: Path) -> None:
    """In a process of its own: it becomes the parent of orphans."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert ended.stdout.split("\n")[:2] == ["2 True", "1 0 True"], ended.stderr


def test_growth_is_that_of_the_line_and_outliers_do_not_move_it() -> None:
    times = [float(i) for i in range(20)]
    values = [100 + 0.5 * t for t in times]
    values[3], values[15] = 900.0, 0.0
    assert abs(growth(times, values) - 9.5) < 0.01
    assert not is_flat(9.5, values, share=0.02, least=4)
    assert is_flat(-30.0, values, share=0.02, least=4)
