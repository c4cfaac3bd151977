"""`.npy` files, read without trusting them and without pickle."""

import io
import math

import numpy as np
from numpy.typing import NDArray

from service.errors import MalformedBodyError

Numbers = NDArray[np.uint8] | NDArray[np.float32]

_MAX_HEADER = 4096
_MAX_AXES = 4


def write_npy(array: NDArray[np.generic]) -> bytes:
    """The bytes of an `.npy` file, version 1.0."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def read_npy(raw: bytes) -> Numbers:
    """The array in an `.npy` file of uint8, float32 or float64 (which becomes float32) with one to four axes.

    The header is compared with the file's length first, so a small file cannot ask for much memory.

    Raises:
        MalformedBodyError: If it is no such file.
    """
    file = io.BytesIO(raw)
    try:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise ValueError(f"version {version}")
        shape, fortran, dtype = read_header(file, max_header_size=_MAX_HEADER)
    except Exception as error:  # numpy evaluates the header as Python and lets through what that raises
        raise MalformedBodyError(f"the body is no .npy file of version 1.0 or 2.0: {error}") from error
    if dtype.hasobject or dtype not in (np.dtype("u1"), np.dtype("<f4"), np.dtype("<f8")):
        raise MalformedBodyError(f"the .npy array is of {dtype}; expected uint8, float32 or float64, little-endian")
    if not 1 <= len(shape) <= _MAX_AXES or not all(type(axis) is int and axis >= 1 for axis in shape):
        raise MalformedBodyError(
            f"the .npy array has shape {shape}; expected 1 to {_MAX_AXES} axes, none of them empty"
        )
    found = len(raw) - file.tell()
    if math.prod(shape) * dtype.itemsize != found:
        raise MalformedBodyError(
            f"the .npy header says {dtype}{shape}, which does not fit the {found} bytes after it; it may be truncated"
        )
    array = np.frombuffer(raw, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")
    if dtype.itemsize == 1:
        return array
    with np.errstate(over="ignore"):  # too large becomes infinite, and is refused as such
        return array.astype(np.float32)
