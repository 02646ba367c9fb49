"""Tables of numbers as text, one row per line."""

import numpy as np

from mstgcn_jax.errors import DataError, first_line


def rows(data: bytes, columns: int) -> np.ndarray:
  """The numbers of a text, float64 [line, column]; blank lines do not count.

  Args:
    columns: numbers that every line must have.
  Raises:
    DataError: a line has others, or something else; or there is no line.
  """
  found = []
  for number, line in enumerate(data.replace(b",", b" ").splitlines(), start=1):
    fields = line.split()
    if not fields:
      continue
    if len(fields) != columns:
      raise DataError(f"line {number} has {len(fields)} numbers; expected {columns}")
    try:
      found.append([float(field) for field in fields])
    except ValueError as error:
      raise DataError(f"line {number} holds no number: {first_line(error)}") from error
  if not found:
    raise DataError("holds no line of numbers")
  return np.array(found, np.float64)
