"""Values in strangers' files: what is a number, a name, a label; what is missing; what most are."""

import collections
import reprlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from mstgcn_jax.errors import DataError, first_line

# Metres or pixels; beyond, squares and sums of them leave float32. A float16 could not be compared
# with a Python number that it cannot hold.
LARGEST = np.float32(1e9)
NOT_FINITE = "a finite number, and 0 where a joint is not tracked (np.nan_to_num makes NaN 0)"
NO_SCORE = (
  "0 for every key point, so that none counts as tracked; write the estimator's scores, or 1 where "
  "it gives none"
)


def check_finite(person: np.ndarray) -> None:
  """DataError where a coordinate of [frame, joint, channel] is no number, or beyond reason."""
  finite = np.abs(person) <= LARGEST  # false for NaN
  if not finite.all():
    frame, joint, channel = np.argwhere(~finite)[0].tolist()
    value = person[frame, joint, channel]
    raise DataError(
      f"frame {frame}, joint {joint} has the coordinate {value:g}; expected {_expected(value)}"
    )


def as_float32(array: np.ndarray) -> np.ndarray:
  """The numbers as float32; DataError if one is not finite, or beyond reason."""
  with np.errstate(over="ignore"):
    numbers = array.astype(np.float32)
  finite = np.abs(numbers) <= LARGEST
  if not finite.all():
    value = float(array[~finite][0])
    raise DataError(f"a coordinate is {value:g}; expected {_expected(value)}")
  return numbers


def _expected(value: float) -> str:
  return f"at most {LARGEST:g}" if np.isfinite(value) else NOT_FINITE


def without_nan(array: np.ndarray) -> np.ndarray:
  """Numbers [..., joint, channel] with 0 for every joint of which any channel is NaN: untracked."""
  missing = np.isnan(array).any(axis=-1)
  return np.where(missing[..., None], 0, array) if missing.any() else array


def plausible(array: np.ndarray) -> np.ndarray:
  """Numbers [..., joint, channel] with 0 for every joint that `check_finite` would refuse.

  For looking at clips before they are read, when nobody has refused what is damaged yet.
  """
  damaged = ~(np.abs(array) <= LARGEST).all(axis=-1)
  return np.where(damaged[..., None], 0, array)


def is_label(value: Any) -> bool:
  """Whether this is a class number, not a truth value, a text or a number without end."""
  return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31


def is_name(value: Any) -> bool:
  """Whether this is a text that can name a clip: not empty, and printable."""
  return isinstance(value, str) and value != "" and value.isprintable()


def shown(value: Any) -> str:
  """A stranger's value as messages show it: shortened, and never all of it spelled out first."""
  try:
    return reprlib.repr(value)
  except ValueError:  # a number of thousands of digits
    return type(value).__name__


def some(items: Sequence[Any], count: int) -> list[Any]:
  """At most `count` of the items, evenly spread."""
  return [items[i * len(items) // count] for i in range(count)] if len(items) > count else [*items]


def majority(values: Iterable[Any]) -> Any:
  """The most frequent of some values; of equally frequent ones the first."""
  return collections.Counter(values).most_common(1)[0][0]


def alike(items: Sequence[Any], shape: Callable[[Any], tuple[int, ...]], nothing: str) -> list[Any]:
  """Those of the items whose shape is the one that most have.

  Args:
    shape: of an item; () for one that does not count, a DataError for one that cannot be read.
    nothing: what to say where no item counts; the first such error goes with it.
  """
  shapes: dict[int, tuple[int, ...]] = {}
  problem = ""
  for i, item in enumerate(items):
    try:
      if found := shape(item):
        shapes[i] = found
    except DataError as error:
      problem = problem or f" (first: {first_line(error)})"
  if not shapes:
    raise DataError(f"{nothing}{problem}")
  most = majority(shapes.values())
  return [items[i] for i, found in shapes.items() if found == most]
