"""The errors a user of this project can meet; every command turns them into one line."""


class DataError(Exception):
  """Input data is missing, damaged or of the wrong kind; commands exit with 1."""


class RunError(Exception):
  """A run cannot go on (loss not finite, disk full); commands exit with 1."""


class ConfigError(ValueError):
  """A configuration field, flag or argument is wrong; commands exit with 2."""


def first_line(error: Exception) -> str:
  """What a library's error says first, for a message of one line; its middle may be left out."""
  line = (str(error).strip().splitlines() or [repr(error)])[0]
  return line if len(line) <= 300 else f"{line[:140]} … {line[-140:]}"
