"""`pictures/`: every grid of a run as a file."""

from pathlib import Path

from bundle.store import Bundle
from training.watching.sink import Ending, Picture, Snapshot

PICTURES = "pictures"


class PictureFolder:
    """Writes `<run>/pictures/<step>.png`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / PICTURES

    def progress(self, snapshot: Snapshot) -> None:
        """Nothing to write."""

    def picture(self, picture: Picture) -> None:
        """Write the file."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{picture.step:07d}.png").write_bytes(picture.png)

    def publishing(self) -> None:
        """Nothing to write."""

    def published(self, bundle: Bundle) -> None:
        """The bundle has its own picture."""

    def close(self, ending: Ending) -> None:
        """Nothing is open."""
