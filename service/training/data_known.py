"""The data sets that recipes know by name, as far as they can be found here."""

from pathlib import Path

_FILES = {"x_train": "train-images-idx3-ubyte", "x_test": "t10k-images-idx3-ubyte"}
NAMES = ("mnist", "fashion-mnist")


def built_in(folders: list[Path]) -> list[str]:
    """Those of the names that one of the folders holds, as an `.npz` or as idx files, plain or gzipped."""
    return [name for name in NAMES if any(_is_in(folder, name) for folder in folders)]


def _is_in(folder: Path, name: str) -> bool:
    if any((folder / f"{stem}.npz").is_file() for stem in (name, name.replace("-", "_"))):
        return True
    return any(
        all(any((parent / f"{file}{end}").is_file() for end in ("", ".gz")) for file in _FILES.values())
        for parent in ((folder / name,) if name != "mnist" else (folder / name, folder))
    )
