"""Finding and reading the files of a source."""

import os
import pathlib
from collections.abc import Iterator

import numpy as np

from mstgcn_jax.errors import DataError, of_numpy

_POINTER = b"version https://git-lfs.github.com/"
_POINTER_BYTES = 1024  # a pointer has some 130
_PULL = "`git lfs pull` fetches the file"
_POINTERS = "are Git LFS pointers, which stand for files not fetched; `git lfs pull` fetches them"
_LABELS = pathlib.Path(__file__).parent / "labels"


def walk(raw: pathlib.Path) -> Iterator[pathlib.Path]:
  """The files below the folder `raw`, those in linked folders, too, and every folder once.

  Passed over is what systems leave beside recordings: names that begin with a dot (macOS writes
  `._NAME` with every NAME), the folder `__MACOSX` of its archives, Office's locks `~$NAME`.
  """
  seen = set()
  for folder, folders, names in os.walk(raw, followlinks=True):
    real = os.path.realpath(folder)
    if real in seen:  # links may run in a circle
      folders.clear()
      continue
    seen.add(real)
    folders[:] = sorted(name for name in folders if not is_hidden(name))
    yield from (pathlib.Path(folder, name) for name in sorted(names) if not is_hidden(name))


def is_hidden(name: str) -> bool:
  """Whether systems leave files of this name beside recordings."""
  return name.startswith((".", "~$")) or name == "__MACOSX"


def find(raw: pathlib.Path, ending: str) -> tuple[list[pathlib.Path], list[str]]:
  """Files below the folder `raw` with this ending (in small letters), sorted by name.

  Links to files count, too. Git LFS pointers do not: they stand for files that were not fetched.

  Returns:
    The files, and lines to print before the preparation starts.
  Raises:
    DataError: where there is no such folder, or no such file in it.
  """
  if not raw.is_dir():
    raise DataError(f"--raw {raw} is not a folder; expected one that holds {ending} files")
  found = [path for path in walk(raw) if path.name.lower().endswith(ending)]
  if not found:
    raise DataError(f"--raw {raw} holds no {ending} file; is it the folder of the recordings?")
  paths = [path for path in found if not is_pointer(path)]
  if not paths:
    raise DataError(f"all {len(found)} {ending} files in {raw} {_POINTERS}")
  missing = len(found) - len(paths)
  warnings = [f"{missing:,} of {len(found):,} {ending} files {_POINTERS}"] if missing else []
  return sorted(paths, key=lambda path: (path.name, str(path))), warnings


def is_pointer(path: pathlib.Path) -> bool:
  """Whether a Git LFS pointer lies there: a few lines that stand for a file not fetched."""
  try:
    return path.stat().st_size <= _POINTER_BYTES and path.read_bytes().startswith(_POINTER)
  except OSError:
    return False


def pointer_hint(path: pathlib.Path) -> str:
  """What to add to the message that `path` cannot be read; '' where it is no Git LFS pointer."""
  return f": it is a Git LFS pointer, and {_PULL}" if is_pointer(path) else ""


def read(path: pathlib.Path) -> bytes:
  """The file's content; DataError where it cannot be read."""
  try:
    data = path.read_bytes()
  except OSError as error:
    raise DataError(f"cannot be read: {error.strerror}") from error
  if data.startswith(_POINTER):
    raise DataError(f"is a Git LFS pointer, not the recording; {_PULL}")
  return data


def map_npy(path: pathlib.Path) -> np.ndarray:
  """A .npy file of numbers, mapped and not read; DataError where it is none or truncated."""
  try:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
  except OSError as error:
    raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
  except Exception as error:  # numpy raises many kinds on damaged headers
    hint = pointer_hint(path) or of_numpy(error)
    raise DataError(f"{path} is not a .npy array, or a truncated one{hint}") from error
  if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":  # an .npz, renamed
    raise DataError(f"{path} holds no array of numbers")
  return array


def labels(name: str) -> tuple[str, ...]:
  """Class names of labels/NAME.txt, whose lines are a number from 1 and a name."""
  lines = (_LABELS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
  return tuple(line.split("\t", 1)[1].strip() for line in lines)
