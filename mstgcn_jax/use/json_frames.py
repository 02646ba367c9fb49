"""Frames as JSON lines, from a pipe or a socket."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from data_prep import raw_values
from mstgcn_jax.errors import DataError

_MAX_LINE = 10_000_000  # bytes of a frame in JSON; more is no frame
_MAX_NUMBERS = 1_000_000  # of a frame, where what is null counts as well


def lines_of(pipe: BinaryIO) -> Iterator[bytes]:
  """The lines that come in; no more is held of one without end than `parse_frame` refuses."""
  return iter(lambda: pipe.readline(_MAX_LINE + 1), b"")


def frames_of(lines: Iterable[bytes]) -> Iterator[np.ndarray]:
  """The frames of JSON lines; DataError names the line. Empty lines do not count."""
  for number, line in enumerate(lines, 1):
    if line.strip():
      try:
        yield parse_frame(line)
      except DataError as error:
        raise DataError(f"line {number}: {error}") from error


def parse_frame(line: bytes) -> np.ndarray:
  """A frame from JSON: float32 [person, joint, channel]; [0, 0, 0] where nobody is seen.

  `[[x, y, z], …]` is one person, `[[[x, y, z], …], …]` several, each always at the same place; a
  person who is not there is null, a joint that is not tracked is null, NaN or 0 in all channels,
  and a frame without anybody is `[]`.
  """
  expected = "expected [[x, y, z], …] of one person, or a list of such"
  if len(line) > _MAX_LINE:
    raise DataError(f"is longer than {_MAX_LINE:,} bytes; {expected}")
  try:
    value = json.loads(line)
  except (ValueError, RecursionError) as error:
    raise DataError(f"is not JSON ({error}); {expected}") from error
  try:
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite, later
      return _frame(value)
  except (TypeError, ValueError, OverflowError) as error:
    raise DataError(f"is {raw_values.shown(value)} ({error}); {expected}") from error


def _frame(value: Any) -> np.ndarray:
  """`parse_frame` of parsed JSON; raises one of many errors where it is something else."""
  depth = _depth(value)
  if not isinstance(value, list) or not (depth in (2, 3) or not any(value)):
    raise ValueError(f"its lists are {depth} deep")
  persons = [value] if depth == 2 else value
  size = next((len(person) for person in persons if person), 0)
  channels = next((len(joint) for person in persons for joint in person or () if joint), 0)
  if len(persons) * size * channels > _MAX_NUMBERS:
    raise ValueError(f"{len(persons)} persons of {size} joints of {channels} channels are too many")
  frame = np.zeros((len(persons), size, channels), np.float32)
  for i, person in enumerate(persons):
    if person is not None and len(person) not in (0, size):
      raise ValueError(f"a person has {len(person)} joints, the first {size}")
    for k, joint in enumerate(person or ()):
      if joint is not None:
        frame[i, k] = _numbers(joint, channels)
  return raw_values.without_nan(frame)


def _depth(value: Any) -> int:
  """How many lists lie within each other, by the first things that are neither null nor []."""
  depth = 0
  while isinstance(value, list):
    depth += 1
    value = next((item for item in value if item not in (None, [])), None)
  return depth


def _numbers(joint: Any, channels: int) -> list[float]:
  numbers = isinstance(joint, list) and all(type(number) in (int, float) for number in joint)
  if not numbers or len(joint) != channels:
    raise ValueError(f"a joint is {raw_values.shown(joint)}")
  return joint


def stack_frames(frames: Sequence[np.ndarray]) -> np.ndarray:
  """Frames of any number of persons as one array [person, frame, joint, channel].

  DataError where they differ in joints or channels.
  """
  shapes = {frame.shape[1:] for frame in frames if frame.size}
  if len(shapes) > 1:
    some = " and ".join(f"{joints} joints of {c} channels" for joints, c in sorted(shapes)[:2])
    raise DataError(f"the frames have {some}; expected the same in all")
  joints, channels = next(iter(shapes), (1, 1))
  persons = max(1, *(len(frame) for frame in frames))
  out = np.zeros((persons, len(frames), joints, channels), np.float32)
  for t, frame in enumerate(frames):
    if frame.size:
      out[: len(frame), t] = frame
  return out
