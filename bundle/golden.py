"""`golden.npz`: a few inputs and outputs per graph, computed by PyTorch at export, to test every runtime against."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundle.errors import DamagedBundleError

Arrays = Mapping[str, NDArray[Any]]

MAX_PIXEL_DIFFERENCE = 1
MAX_PIXEL_SHARE = 0.01  # a float next to a rounding boundary may fall on either side


@dataclass(frozen=True)
class GoldenCase:
    """Inputs of one graph and the outputs that PyTorch gives for them."""

    inputs: Arrays
    outputs: Arrays


def save_golden(path: Path, cases: Mapping[str, GoldenCase]) -> None:
    """Write the cases of all graphs, each array under `graph/in/name` or `graph/out/name`."""
    arrays: dict[str, NDArray[Any]] = {}
    for graph, case in cases.items():
        arrays |= {f"{graph}/in/{name}": array for name, array in case.inputs.items()}
        arrays |= {f"{graph}/out/{name}": array for name, array in case.outputs.items()}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load_golden(path: Path) -> dict[str, GoldenCase]:
    """Read the cases of all graphs.

    Raises:
        DamagedBundleError: If the file is no such archive.
    """
    found: dict[str, tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]] = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            for key in arrays.files:
                graph, side, name = key.split("/", 2)
                if side not in ("in", "out"):
                    raise ValueError(f"it holds {key!r}; expected graph/in/name or graph/out/name")
                found.setdefault(graph, ({}, {}))[side == "out"][name] = arrays[key]
    except Exception as error:  # zipfile, zlib and numpy have many errors for damaged bytes, and no common base
        raise DamagedBundleError(f"{path} cannot be read as golden arrays: {error}") from error
    return {graph: GoldenCase(inputs, outputs) for graph, (inputs, outputs) in found.items()}


def check_golden(graph: str, expected: Arrays, found: Arrays, tolerance: float) -> float:
    """Compare the outputs of a runtime with the golden ones.

    Float outputs may differ by `tolerance` (absolute); uint8 outputs by 1 in at most 1 % of the values.

    Returns:
        The share of uint8 values that differ (0 where a graph has none).

    Raises:
        DamagedBundleError: If an output is missing, has another shape or type, or is too far away.
    """
    worst_share = 0.0
    for name, want in expected.items():
        got = found.get(name)
        if got is None:
            raise DamagedBundleError(f"graph {graph!r} gives no output {name!r}; golden.npz has one")
        if got.shape != want.shape or got.dtype != want.dtype:
            raise DamagedBundleError(
                f"graph {graph!r} gives {name!r} as {got.dtype}{got.shape}; golden.npz has {want.dtype}{want.shape}"
            )
        with np.errstate(invalid="ignore"):  # inf - inf is NaN, which is refused below
            difference = np.abs(got.astype(np.float64) - want.astype(np.float64))
        worst = float(np.max(difference, initial=0.0))
        share = float(np.mean(difference > 0)) if want.dtype == np.uint8 and want.size else 0.0
        limit = MAX_PIXEL_DIFFERENCE if want.dtype == np.uint8 else tolerance
        if not worst <= limit or share > MAX_PIXEL_SHARE:  # `not <=` also catches NaN
            raise DamagedBundleError(
                f"graph {graph!r}, output {name!r}: differs from golden.npz by {worst:.3g} "
                f"({share:.2%} of uint8 values); at most {limit:.3g} is allowed"
            )
        worst_share = max(worst_share, share)
    return worst_share
