"""The one door: mstgcn COMMAND …, or python -m mstgcn_jax COMMAND …"""

import importlib
import sys
from collections.abc import Sequence

from mstgcn_jax import __version__, words
from mstgcn_jax.errors import Preempted

# Command -> function of `commands` that takes its arguments and returns the status; what it does.
COMMANDS = {
  "prepare": ("data.prepare", "recordings -> a prepared data set"),
  "info": ("data.info", "counts by class, subject and protocol of a data set"),
  "show": ("data.show", "draws a clip of a data set"),
  "train": ("train.main", "trains a config's network, or goes on training"),
  "evaluate": ("evaluate.main", "accuracies, confusions and scores of a run"),
  "compare": ("compare.main", "trains several configs and lays them side by side"),
  "predict": ("predict.main", "labels of recordings: files, folders, a pipe"),
  "stream": ("stream.main", "labels while the frames come in, from a pipe or a socket"),
  "explain": ("explain.main", "which joints and frames decided"),
  "embed": ("embed.main", "features of a data set, for TensorBoard's projector, too"),
  "ensemble": ("ensemble.main", "fuses the scores of runs"),
  "summary": ("summary.main", "layers, shapes, parameters and FLOPs of a config's network"),
  "export": ("export.main", "a run as a StableHLO, SavedModel, ONNX or TFLite file"),
  "report": ("report.main", "one page of runs, to open in a browser and to send"),
  "weights": ("weights.main", "published PyTorch checkpoints in and out"),
}


def usage() -> str:
  """What there is, one line per command."""
  lines = ["usage: mstgcn COMMAND …", "", "commands:"]
  lines += [f"  {name:10} {line}" for name, (_, line) in COMMANDS.items()]
  return "\n".join([*lines, "", "mstgcn COMMAND --help says what a command takes."])


def main(argv: Sequence[str] | None = None) -> int:
  """Runs a command; its exit status.

  0, 1 after bad data or a failed run, 2 after wrong usage, 75 after a run that was asked to end.
  """
  name, *rest = (sys.argv[1:] if argv is None else argv) or [""]
  words.ready_output()
  from mstgcn_jax.commands import process

  with process.errors_in_one_line(trains=name in ("train", "compare")):
    if name in ("-h", "--help"):
      print(usage())
      return 0
    if name == "--version":
      print(f"mstgcn-jax {__version__}")
      return 0
    if name not in COMMANDS:
      if name:
        print(f"error: no command {name!r}{words.did_you_mean(name, COMMANDS)}", file=sys.stderr)
      print(usage(), file=sys.stderr)
      return 2
    module, function = COMMANDS[name][0].split(".")
    with process.interrupted_at_once():
      process.quiet_libraries()
      command = getattr(importlib.import_module(f"mstgcn_jax.commands.{module}"), function)
    try:
      return command(rest)
    except Preempted as reason:
      print(reason)
      return 75  # sysexits' EX_TEMPFAIL, "try again later"


if __name__ == "__main__":
  sys.exit(main())
