"""Recordings to a prepared data set, and a look at one.

python -m data_prep SOURCE --raw DIR --out DATA_DIR    writes DATA_DIR/NAME/VERSION
python -m data_prep show DATA_SET --out clip.gif       draws a clip
python -m data_prep info DATA_SET                      counts by class, subject and protocol
"""

import argparse
import os
import pathlib
import signal
import sys
from collections.abc import Sequence

from data_prep import prepare, shards
from data_prep.look import info, show
from data_prep.readers.interface import Source
from data_prep.sources import SOURCES
from mstgcn_jax import words
from mstgcn_jax.errors import ConfigError, DataError, of_system


def percentage(text: str) -> float:
  value = float(text)
  if not 0 <= value <= 100:
    raise argparse.ArgumentTypeError(f"{text} is not a percentage; expected 0 to 100")
  return value


def at_least_one(text: str) -> int:
  if not text.isdecimal() or int(text) < 1:
    raise argparse.ArgumentTypeError(f"{text} is no whole number of 1 or more")
  return int(text)


def _add_preparation_arguments(parser: argparse.ArgumentParser, source: Source) -> None:
  parser.add_argument(
    "--raw",
    type=pathlib.Path,
    required=True,
    metavar="DIR",
    help="the recordings: a folder, or the file where they are in one",
  )
  parser.add_argument(
    "--out",
    type=pathlib.Path,
    required=True,
    metavar="DATA_DIR",
    help=f"the data set goes to DATA_DIR/NAME/{shards.VERSION}",
  )
  parser.add_argument(
    "--name", default=source.name, help=f"data set's name (default {source.name})"
  )
  parser.add_argument("--overwrite", action="store_true", help="replace an existing data set")
  parser.add_argument(
    "--workers",
    type=at_least_one,
    default=_cpus(),
    metavar="N",
    help="processes (default: CPUs)",
  )
  parser.add_argument(
    "--max-bad",
    type=percentage,
    default=1.0,
    metavar="PERCENT",
    help="stop where more recordings than this cannot be read (default 1)",
  )
  source.add_arguments(parser)


def _cpus() -> int:
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _first_line(doc: str | None) -> str:
  return (doc or "").partition("\n")[0]  # `python -OO` leaves docstrings out


def parser(prog: str = "python -m data_prep") -> argparse.ArgumentParser:
  """The command's arguments, one sub-command per source beside `show` and `info`."""
  top = argparse.ArgumentParser(prog=prog, description=_first_line(__doc__))
  commands = top.add_subparsers(
    dest="command", required=True, metavar="COMMAND", parser_class=words.Subcommand
  )
  for source in SOURCES.values():
    command = commands.add_parser(source.name, help=source.help, description=source.help)
    _add_preparation_arguments(command, source)
    command.set_defaults(run=lambda args, source=source: prepare.prepare(source, args))
  for name, module in (("show", show), ("info", info)):
    line = _first_line(module.__doc__)
    command = commands.add_parser(name, help=line, description=line)
    module.add_arguments(command)
    command.set_defaults(run=module.run)
  return top


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m data_prep") -> int:
  """Runs the command; returns its exit status (0; 1 for bad data; 2 for wrong usage)."""
  words.ready_output()
  args = parser(prog).parse_args(argv)
  try:
    args.run(args)
    print(end="", flush=True)
  except (ConfigError, DataError) as error:
    print(f"{args.command}: {error}", file=sys.stderr)
    return 2 if isinstance(error, ConfigError) else 1
  except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE  # a preparation has not come to its end
  except OSError as error:
    print(f"{args.command}: {of_system(error)}", file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print(f"{args.command}: interrupted; run the same command again", file=sys.stderr)
    return 130
  return 0


if __name__ == "__main__":
  sys.exit(main())
