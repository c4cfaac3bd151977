"""Lines of the access log reach a pipe that several processes share in one piece each."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import access
from service.access import PIPE_BUF, AccessLog
from service.settings import Settings
from service.trace import Trace
from tests.service.engine.fakes import run


@given(st.lists(st.text(max_size=2 * PIPE_BUF).map(lambda text: text.replace("\n", "") + "\n"), max_size=60))
def test_lines_go_out_in_order_whole_and_in_pieces_that_a_pipe_takes_at_once(lines: list[str]) -> None:
    pieces = list(access._whole(lines))
    assert "".join(pieces) == "".join(lines)
    for piece in pieces:
        assert len(piece.encode()) <= PIPE_BUF or piece.count("\n") == 1


def test_hundred_requests_are_a_hundred_lines(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        log = AccessLog(Settings())
        for number in range(100):
            log.add(Trace(f"request-{number}"), "GET", 200, 0.001)
        log.flush()

    run(main())
    written = [orjson.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["request_id"] for line in written] == [f"request-{number}" for number in range(100)]
