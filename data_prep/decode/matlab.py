"""One numeric array out of a MATLAB file (format 5, as MATLAB's `save` writes it by default).

SciPy's reader ends the whole program with a segmentation fault on some damaged files; here a
damaged file is a DataError. Source: MAT-File Format, MathWorks 2024, chapter 1.
"""

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from mstgcn_jax.errors import DataError

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {
  **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4"},
  **{7: "f4", 9: "f8", 12: "i8", 13: "u8"},
}
_NUMERIC_CLASSES = range(6, 16)  # double, single and the integers; not cells, structs, text, sparse
_COMPLEX = 0x0800
_MAX_BYTES = 1 << 28  # of one variable when decompressed; a recording has some ten thousand


def read_array(data: bytes, name: str) -> np.ndarray:
  """The real numeric variable `name` of a MATLAB file, in its shape.

  Raises:
    DataError: the file is not one, is damaged, or has no such variable.
  """
  if len(data) < _HEADER or data[126:128] not in (b"IM", b"MI"):
    raise DataError("is not a MATLAB file of format 5")
  if data[124:126] in (b"\0\2", b"\2\0"):
    raise DataError("is a MATLAB file of format 7.3, which is HDF5; save it with '-v7'")
  order = "<" if data[126:128] == b"IM" else ">"
  try:
    for kind, content in _elements(data[_HEADER:], order):
      if kind == _COMPRESSED:
        unpacked = zlib.decompressobj().decompress(content, _MAX_BYTES)
        kind, content = next(_elements(unpacked, order))
      if kind == _MATRIX:
        found = _matrix(content, order, name)
        if found is not None:
          return found
  except (struct.error, zlib.error, ValueError, KeyError, StopIteration) as error:
    raise DataError(f"is a damaged MATLAB file ({error})") from error
  raise DataError(f"holds no variable {name}")


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
  """Type and content of the data elements that follow one another in `data`."""
  at = 0
  while at < len(data):
    kind, size = struct.unpack_from(f"{order}II", data, at)
    at += 8
    if kind >> 16:  # a small element: size and type in one word, content in the other
      kind, size, at = kind & 0xFFFF, kind >> 16, at - 4
      padded = 4
    else:
      padded = size if kind == _COMPRESSED else -(-size // 8) * 8
    if size > len(data) - at or size > padded:
      raise ValueError("an element is longer than what holds it")
    yield kind, data[at : at + size]
    at += padded


def _matrix(content: bytes, order: str, name: str) -> np.ndarray | None:
  """The array in a matrix element; None where it has another name."""
  parts = _elements(content, order)
  _, flags = next(parts)
  _, dimensions = next(parts)
  _, found = next(parts)
  if found.decode("ascii", "replace") != name:
    return None
  flag_word = struct.unpack_from(f"{order}I", flags)[0]
  if flag_word & 0xFF not in _NUMERIC_CLASSES or flag_word & _COMPLEX:
    raise DataError(f"{name} is not an array of real numbers")
  shape = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions)
  kind, numbers = next(parts)
  values = np.frombuffer(numbers, np.dtype(_NUMBERS[kind]).newbyteorder(order))
  if min(shape) < 0 or math.prod(shape) != len(values):
    raise ValueError(f"{len(values)} numbers for the shape {shape}")
  return values.reshape(shape, order="F")
