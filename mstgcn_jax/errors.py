"""The errors a user of this project can meet; every command turns them into one line."""

import traceback
from collections.abc import Container


class DataError(Exception):
  """Input data is missing, damaged or of the wrong kind; commands exit with 1."""


class RunError(Exception):
  """A run cannot go on (loss not finite, disk full); commands exit with 1."""


class Preempted(Exception):
  """A run was asked to end, has saved, and goes on when started again; commands exit with 75."""


class ConfigError(ValueError):
  """A configuration field, flag or argument is wrong; commands exit with 2."""


def first_line(error: Exception | str) -> str:
  """What a library says first, for a message of one line; its middle may be left out."""
  line = (str(error).strip().splitlines() or [repr(error)])[0]
  return line if len(line) <= 300 else f"{line[:140]} … {line[-140:]}"


def of_system(error: OSError) -> str:
  """What the system refused, and of which file where it says so."""
  return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def of_numpy(error: Exception) -> str:
  """' (why)' NumPy cannot load a file; '' of pickles, as it says how to load them unsafely."""
  return "" if "allow_pickle" in str(error) else f" ({error})"


def line_in(error: Exception, files: Container[str | None]) -> str:
  """'FILE, line N': where in one of a user's files an error arose, or came through; '' for none."""
  frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
  return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
