"""How messages put things: counted nouns, mistyped names, unknown flags; and where they may go."""

import argparse
import difflib
import io
import os
import sys
from collections.abc import Iterable, Sequence


def ready_output() -> None:
  """Has standard output and error take any text; to be called before a file is opened.

  Letters that their encoding lacks become '?'. Where a command was started without them (`>&-`)
  they are the null device: the first file opened, a run's metrics.csv, would get what libraries
  write there.
  """
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:
      os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
  for name in ("stdout", "stderr"):
    if getattr(sys, name) is None:
      setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (to the end)
    if isinstance(getattr(sys, name), io.TextIOWrapper):
      getattr(sys, name).reconfigure(errors="replace")


def counted(count: int, noun: str) -> str:
  """A number and its noun, of one word or several: '1 training clip', '1,200 training clips'."""
  plural = noun + ("es" if noun.endswith(("s", "x", "ch")) else "s")
  return f"{count:,} {noun if count == 1 else plural}"


def listed(values: Sequence[object], most: int = 20, between: str = ", ") -> str:
  """'a, b, c', or the first `most` of them and '…'."""
  return between.join([*map(str, values[:most]), *["…"] * (len(values) > most)])


def did_you_mean(name: str, known: Iterable[str]) -> str:
  """'; did you mean a, b?' of the known dotted names most like `name`, or '' where none is.

  Names are alike as a whole or in their last part, whose initials count, too: 'lr' is like
  'optimizer.learning_rate'.
  """
  known = list(known)
  last = {full: full.rpartition(".")[2] for full in known}
  mine = name.rpartition(".")[2]
  initials = {
    full: "".join(word[0] for word in part.split("_") if word) for full, part in last.items()
  }
  found = [full for full in known if mine == last[full] or mine == initials[full] != last[full]]
  found += difflib.get_close_matches(name, known, n=2, cutoff=0.75)
  alike = difflib.get_close_matches(mine, set(last.values()), n=2, cutoff=0.75)
  found += [full for full in known if last[full] in alike]
  found = list(dict.fromkeys(found))[:3]
  return f"; did you mean {', '.join(found)}?" if found else ""


class Subcommand(argparse.ArgumentParser):
  """A parser below another, such as that of `mstgcn weights import`, that names its own flags.

  By itself argparse says of one that is unknown how the command above is used.
  """

  def parse_known_args(self, args=None, namespace=None):
    found, unknown = super().parse_known_args(args, namespace)
    if unknown:
      self.error(f"unrecognized arguments: {' '.join(unknown)}")
    return found, unknown
