"""Files written whole or not at all, read with a clear error, and their sums."""

import contextlib
import hashlib
import json
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterator
from typing import Any

from mstgcn_jax.errors import DataError

LOCK = ".lock"


@contextlib.contextmanager
def written_whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """A path beside `path` for a file or folder, which takes its place when the block ends well.

  Nobody else who writes the same file at that time has it.
  """
  aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
  try:
    yield aside
    if aside.is_file():
      with open(aside, "rb") as file:
        os.fsync(file.fileno())
    aside.replace(path)
  except BaseException as error:
    # Writing to an open file doesn't say which, and nobody asked for the one beside.
    if isinstance(error, OSError) and str(error.filename or aside) == str(aside):
      error.filename = str(path)
    with contextlib.suppress(OSError):
      shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
    raise


@contextlib.contextmanager
def only_writer(folder: pathlib.Path) -> Iterator[None]:
  """Makes a folder and holds its lock, which the system lets go of however the process ends.

  The lock is a file `LOCK` in it while the block runs. A folder that is still empty in the end is
  removed.

  Raises:
    DataError: another process holds the lock.
  """
  import filelock  # here: what reads weights does without

  folder.mkdir(parents=True, exist_ok=True)
  path = folder / LOCK
  lock = filelock.FileLock(path, timeout=0)
  try:
    lock.acquire()
  except filelock.Timeout:
    raise DataError(f"another command is writing into {folder}; wait for it") from None
  except (OSError, NotImplementedError):
    if not os.access(folder, os.W_OK):
      raise  # a file system without locks is no reason to refuse
  try:
    yield
  finally:
    try:
      with contextlib.suppress(OSError):
        path.unlink()  # while it is held: whoever waits for it then looks again
    finally:
      lock.release()
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


def check_is_text(path: pathlib.Path) -> None:
  """Raises DataError where a path has bytes that are no UTF-8, which few libraries can open."""
  try:
    str(path).encode()
  except UnicodeEncodeError:
    raise DataError(f"the path {str(path)!a} is no text in UTF-8; take another folder") from None


def check_is_file(path: pathlib.Path) -> None:
  """Raises DataError where a file is missing, or a folder has its name."""
  if not path.is_file():
    found = "is a folder; a file is needed" if path.is_dir() else "does not exist"
    raise DataError(f"{path} {found}")


def read_json(path: pathlib.Path) -> Any:
  """Reads JSON; DataError names a file that is missing or is none."""
  try:
    return json.loads(path.read_text(encoding="utf-8"))
  except FileNotFoundError:
    raise DataError(f"{path} does not exist") from None
  except (OSError, ValueError, RecursionError) as error:
    raise DataError(f"{path} cannot be read ({error})") from error
