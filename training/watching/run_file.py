"""`run.json`: what a run folder is of, for whoever compares runs."""

import json
from pathlib import Path
from typing import Any

from bundle.store import Bundle
from training.watching.sink import About, Ending, Picture, Snapshot

RUN = "run.json"


class RunFile:
    """Writes the recipe at the start, how the session ended, and which bundle the run became."""

    def __init__(self, about: About) -> None:
        self._path = about.folder / RUN
        self._record: dict[str, Any] = {
            "name": about.name,
            "steps": about.steps,
            "device": about.device,
            "recipe": about.recipe,
            "ending": None,
            "bundle": None,
        }
        about.folder.mkdir(parents=True, exist_ok=True)
        self._write()

    def progress(self, snapshot: Snapshot) -> None:
        """The course of a run stands in the scalars."""

    def picture(self, picture: Picture) -> None:
        """Pictures have files of their own."""

    def publishing(self) -> None:
        """Nothing to write."""

    def published(self, bundle: Bundle) -> None:
        """Write which bundle it is."""
        self._record["bundle"] = bundle.digest
        self._write()

    def close(self, ending: Ending) -> None:
        """Write how it ended."""
        self._record["ending"] = str(ending)
        self._write()

    def _write(self) -> None:
        aside = self._path.with_suffix(".writing")
        aside.write_text(json.dumps(self._record, indent=1) + "\n", encoding="utf-8")
        aside.replace(self._path)


def read_run(folder: Path) -> dict[str, Any]:
    """The record of a run folder; empty where there is none (a run of an older version of this program)."""
    path = folder / RUN
    if not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
