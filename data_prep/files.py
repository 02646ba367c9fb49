"""Finding and reading the files of a source."""

import pathlib

import numpy as np

from mstgcn_jax.errors import DataError

_LARGEST = 1e9  # metres or pixels; beyond, squares and sums of them leave float32
_LABELS = pathlib.Path(__file__).parent / "labels"


def find(raw: pathlib.Path, ending: str) -> list[pathlib.Path]:
  """Files below the folder `raw` with this ending, sorted by name; links to files count, too.

  Raises:
    DataError: where there is no such folder, or no such file in it.
  """
  if not raw.is_dir():
    raise DataError(f"--raw {raw} is not a folder; expected one that holds {ending} files")
  paths = [path for path in raw.rglob(f"*{ending}") if not path.is_dir()]
  if not paths:
    raise DataError(f"--raw {raw} holds no {ending} file; is it the folder of the recordings?")
  return sorted(paths, key=lambda path: (path.name, str(path)))


def read(path: pathlib.Path) -> bytes:
  """The file's content; DataError where it cannot be read."""
  try:
    return path.read_bytes()
  except OSError as error:
    raise DataError(f"cannot be read: {error.strerror}") from error


def check_finite(person: np.ndarray) -> None:
  """DataError where a coordinate of [frame, joint, channel] is no number, or beyond reason."""
  finite = np.abs(person) <= _LARGEST  # false for NaN
  if not finite.all():
    frame = int(np.argmin(finite.all(axis=(1, 2))))
    value = person[frame][~finite[frame]][0]
    raise DataError(f"frame {frame} has the coordinate {value:g}; expected at most {_LARGEST:g}")


def labels(name: str) -> tuple[str, ...]:
  """Class names of labels/NAME.txt, whose lines are a number from 1 and a name."""
  lines = (_LABELS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
  return tuple(line.split("\t", 1)[1].strip() for line in lines)
