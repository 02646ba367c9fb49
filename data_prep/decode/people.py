"""What every decoder of a pose estimator's output gives: frames of people."""

import contextlib
import csv
import dataclasses
import json
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_prep import raw_files, raw_values
from mstgcn_jax.errors import DataError

_MOST_FRAMES = 200_000  # two hours at 30 frames per second; a number beyond is damage


@dataclasses.dataclass(frozen=True, eq=False)
class Person:
  """Somebody in one frame, as an estimator found them.

  Attributes:
    points: float64 [joint, 2 or 3]; 0 where the joint was not found.
    scores: float64 [joint]; 0 where the joint was not found.
    number: the estimator's own number of the person, where it follows people; else None.
  """

  points: np.ndarray
  scores: np.ndarray
  number: int | None = None


Frames = list[list[Person]]  # frame t's people, in the order in which the estimator lists them


@dataclasses.dataclass(frozen=True)
class Poses:
  """A recording as an estimator's files have it.

  Attributes:
    frames: the people of every frame.
    units: of the points: 'pixels' or 'image fractions' (0 to 1) with y down, 'metres'.
    up: the axis that points up, for 'metres': '-y' or 'z'.
    picture: (width, height) in pixels, where the files say it.
    layout: what the files say of the layout of the joints, where they do: its name here.
  """

  frames: Frames
  units: str = "pixels"
  up: str = "-y"
  picture: tuple[float, float] | None = None
  layout: str = ""


def person(points: np.ndarray, scores: np.ndarray | None, number: int | None = None) -> Person:
  """A person whose missing joints (NaN, all 0, or a score of 0) are 0 in points and scores.

  Args:
    points: [joint, 2 or 3], of any numbers.
    scores: [joint]; None where the estimator gives none, which counts as 1.
  Raises:
    DataError: a coordinate or a score is infinite or beyond reason, or there are no such axes.
  """
  points = np.array(points, np.float64)
  scores = np.ones(len(points)) if scores is None else np.array(scores, np.float64)
  if points.ndim != 2 or scores.shape != points.shape[:1]:
    raise DataError(f"a person has points {points.shape} and scores {scores.shape}")
  found = np.isfinite(points).all(axis=1) & points.any(axis=1) & (scores > 0)
  found |= np.isinf(points).any(axis=1)  # not missing, but damage
  points[~found] = 0
  scores[~found] = 0
  raw_values.check_finite(np.column_stack([points, scores])[None])
  return Person(points, scores, number)


def tracked(people: Iterable[Person]) -> list[Person]:
  """Those of whom any joint was found."""
  return [person for person in people if person.scores.any()]


def by_number(found: Mapping[int, list[Any]]) -> list[list[Any]]:
  """Frames from people by frame number; frames without anybody are there, and empty.

  Numbers may start anywhere, and count every second, third, … frame of the video: where at least
  half of the frames with people are followed at that distance by the next, and all by multiples of
  it. Otherwise people are merely missing in between.
  """
  if not found:
    return []
  numbers = np.array(sorted(found))
  apart = np.diff(numbers)
  step = int(np.gcd.reduce(apart)) if len(apart) else 1
  if 2 * (apart == step).sum() < len(apart):
    step = 1
  places = (numbers - numbers[0]) // step
  if places[-1] >= _MOST_FRAMES:
    raise DataError(
      f"the frames are numbered from {numbers[0]} to {numbers[-1]}; expected at most "
      f"{_MOST_FRAMES:,} of them"
    )
  frames: list[list[Any]] = [[] for _ in range(int(places[-1]) + 1)]
  for place, number in zip(places.tolist(), numbers.tolist(), strict=True):
    frames[place] = found[number]
  return frames


def triples(values: Any) -> tuple[np.ndarray, np.ndarray]:
  """Points [joint, 2] and scores of a flat list x, y, score, x, y, score, …"""
  numbers = np.array(values, np.float64)
  if numbers.ndim != 1 or not len(numbers) or len(numbers) % 3:
    raise DataError(
      f"a person has key points of the shape {numbers.shape}; expected x, y, score of every joint "
      "in one list"
    )
  numbers = numbers.reshape(-1, 3)
  return numbers[:, :2], numbers[:, 2]


# What reading raises where a file is not of its format.
DAMAGE = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, csv.Error)


def load_json(path: pathlib.Path) -> Any:
  """The content of a JSON file, or of one object per line; DataError where it is none."""
  data = raw_files.read(path)
  try:
    try:
      return json.loads(data)
    except ValueError:
      lines = [line for line in data.splitlines() if line.strip()]
      if len(lines) < 2:
        raise
      return [json.loads(line) for line in lines]
  except (ValueError, RecursionError) as error:
    raise DataError(f"{path.name} is not JSON ({error})") from error


@contextlib.contextmanager
def taken_for(path: pathlib.Path, what: str) -> Iterator[None]:
  """DataError where the file is not `what` the block takes it for."""
  try:
    yield
  except DAMAGE as error:
    raise DataError(f"{path.name} is not {what} ({error!r:.200})") from error


def trailing_numbers(names: Sequence[str]) -> list[int] | None:
  """The numbers at the end of names such as 'video_000012.jpg'; None unless all have their own."""
  matches = [re.search(r"(\d{1,15})\D*$", pathlib.PurePath(name).stem) for name in names]
  numbers = [int(match[1]) for match in matches if match]
  return numbers if len(set(numbers)) == len(names) else None
