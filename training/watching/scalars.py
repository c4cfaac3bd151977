"""`scalars.jsonl`: one line per snapshot, steps in order, whatever was stopped and started again."""

import json
from collections.abc import Iterator
from pathlib import Path

from bundle.store import Bundle
from training.watching.sink import Ending, Picture, Snapshot

SCALARS = "scalars.jsonl"
_OTHERS = {"round", "stage", "seconds", "images_per_s", "epoch"}


class ScalarFile:
    """Appends snapshots. Lines past the round that the run goes on from are dropped first: they will come again."""

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / SCALARS
        _keep_up_to(path, step)
        self._file = path.open("a", encoding="utf-8")

    def progress(self, snapshot: Snapshot) -> None:
        """Write a line."""
        record = {
            "round": snapshot.step,
            "stage": snapshot.stage,
            "seconds": round(snapshot.seconds, 1),
            "images_per_s": round(snapshot.images_per_second, 1),
            "epoch": round(snapshot.epoch, 3),
        }
        self._file.write(json.dumps({**record, **snapshot.losses}) + "\n")
        self._file.flush()

    def picture(self, picture: Picture) -> None:
        """Pictures have files of their own."""

    def publishing(self) -> None:
        """Nothing to write."""

    def published(self, bundle: Bundle) -> None:
        """Figures stand in the manifest."""

    def close(self, ending: Ending) -> None:  # noqa: ARG002 (how it ended is no scalar)
        """Close the file."""
        self._file.close()


def read_scalars(folder: Path) -> Iterator[tuple[int, float, dict[str, float]]]:
    """Step, seconds and losses of each line of a run folder; none where there is no such file."""
    for line in _lines(folder / SCALARS):
        record = json.loads(line)
        losses = {name: value for name, value in record.items() if name not in _OTHERS}
        yield record["round"], record["seconds"], losses


def _keep_up_to(path: Path, step: int) -> None:
    lines = list(_lines(path))
    kept = [line for line in lines if json.loads(line)["round"] <= step]
    if not path.exists() or (len(kept) == len(lines) and path.read_bytes().endswith(b"\n")):
        return
    aside = path.with_suffix(".writing")
    aside.write_text("".join(kept), encoding="utf-8")
    aside.replace(path)


def _lines(path: Path) -> Iterator[str]:
    """Whole lines; one that a kill cut short is left out."""
    if path.exists():
        with path.open(encoding="utf-8") as file:
            yield from (line for line in file if line.endswith("\n"))
