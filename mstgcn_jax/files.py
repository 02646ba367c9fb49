"""Files written whole or not at all, read with a clear error, and their sums."""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from mstgcn_jax.errors import DataError


@contextlib.contextmanager
def written_whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """A path beside `path` to write to, which takes its place when the block ends well."""
  aside = path.with_name(path.name + ".partial")
  yield aside
  with open(aside, "rb") as file:
    os.fsync(file.fileno())
  aside.replace(path)


@contextlib.contextmanager
def only_writer(folder: pathlib.Path) -> Iterator[None]:
  """Makes a folder and holds its lock, which the system lets go of however the process ends.

  A folder that is still empty in the end is removed.

  Raises:
    DataError: another process holds the lock.
  """
  folder.mkdir(parents=True, exist_ok=True)
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise DataError(f"another command is writing into {folder}; wait for it") from None
    except OSError:  # a file system without locks
      pass
    yield
  finally:
    os.close(descriptor)
    with contextlib.suppress(OSError):
      folder.rmdir()


def sha256(path: pathlib.Path) -> str:
  """The file's SHA-256, in hexadecimal digits."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a value as indented JSON."""
  with written_whole(path) as aside:
    aside.write_text(json.dumps(value, indent=2) + "\n")


def read_json(path: pathlib.Path) -> Any:
  """Reads JSON; DataError names a file that is missing or is none."""
  try:
    return json.loads(path.read_text())
  except FileNotFoundError:
    raise DataError(f"{path} does not exist") from None
  except (OSError, ValueError) as error:
    raise DataError(f"{path} cannot be read ({error})") from error
