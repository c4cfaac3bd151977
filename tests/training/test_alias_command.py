"""`python -m training alias`."""

from pathlib import Path

import pytest

from bundle.store import Store
from tests.bundle.factory import publish
from training.__main__ import main


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    for _ in range(3):
        publish(store)
    return store


def run(store: Store, *words: str) -> int:
    return main(["--store", str(store.root), "alias", *words, "--database", f"sqlite:///{store.root}/none.sqlite"])


def test_alias_is_set_rolled_back_and_removed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "tiny", "production", "1") == 0
    assert run(store, "tiny", "production", "3", "--reason", "sharper") == 0
    assert store.aliases("tiny") == {"production": 3}
    assert run(store, "tiny", "production", "--rollback") == 0
    assert store.aliases("tiny") == {"production": 1}
    assert run(store, "tiny", "production", "--remove") == 0
    assert store.aliases("tiny") == {}
    assert [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "version 1 (before: none)",
        "version 3 (before: 1)",
        "version 1 (before: 3)",
        "removed (before: 1)",
    ]
    history = store.aliases_of("tiny").history()
    assert all(change.by for change in history)
    assert history[1].reason == "sharper"
    assert not (store.root / "none.sqlite").exists()


def test_aliases_are_shown_with_their_history(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.set_alias("tiny", "production", 2, by="job 7")
    store.set_alias("tiny", "test", 3)
    assert run(store, "tiny") == 0
    shown = capsys.readouterr().out
    assert "tiny@production: version 2" in shown
    assert "tiny@test: version 3" in shown
    assert "job 7" in shown
    assert run(store, "tiny", "test") == 0
    assert "production" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "nobody"),
        (["tiny", "production", "9"], "versions [1, 2, 3], not 9"),
        (["tiny", "production", "--rollback"], "no alias 'production'"),
    ],
)
def test_what_cannot_be_done_ends_with_one_and_says_why(
    store: Store, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert run(store, *words) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [["tiny", "--rollback"], ["tiny", "production", "1", "--rollback"]])
def test_words_that_make_no_sense_together_are_refused(store: Store, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(store, *words)
    assert ended.value.code == 2
    assert store.aliases("tiny") == {}
