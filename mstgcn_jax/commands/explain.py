"""Which joints and frames decided: mstgcn explain runs/ntu_joint clip.skeleton --out why.png

WHAT is a recording as `mstgcn predict` takes it, with its source's options behind a --, or a
prepared data set with a ROW of its clip table, or a clip's name. In the picture joints are the
larger and redder, the more the class owes to them: by occlusion (a joint is left out for an eighth
of the window) and by gradient × input. The class is the likeliest, or that of --class: why not it?

--deletion leaves out more and more of a data set's evaluation clips, the most important joints
first or at random, and says and draws what becomes of the probability.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from data_prep import raw_values
from data_prep.look import show
from mstgcn_jax import words
from mstgcn_jax.commands import process
from mstgcn_jax.data.data_set import DataSet, is_data_set, open_data_set
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.evaluation import plots
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import experiment
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.use import drawing, explain, recordings
from mstgcn_jax.use.predict import Predictor


def main(argv: list[str]) -> int:
  argv, options = process.source_options(argv)
  args = _parser().parse_args(argv)
  out = args.out or pathlib.Path("deletion.png" if args.deletion else "explanation.png")
  if out.suffix.lower() != ".png":
    raise ConfigError(f"--out {out} must end in .png")
  if args.deletion and (args.row is not None or args.source or options or args.of_class):
    raise ConfigError(
      "--deletion takes the clips that the run was evaluated on, each by its likeliest class; "
      "leave ROW out, --class and --source"
    )
  if args.clips < 1:
    raise ConfigError(f"--clips {args.clips} is none; expected 1 or more")
  process.start()
  facts = workdir_lib.read(args.run)
  stream = facts.stream(args.stream)
  target = None if args.of_class is None else _number(facts.class_names, args.of_class)
  predictor = Predictor(args.run, checkpoint=args.checkpoint, stream=stream, trust=args.trust)
  print(predictor.calibrated, file=sys.stderr)
  calibrated = explain.Calibrated(predictor.classifier, predictor.temperature)
  if args.deletion:
    _deletion(args, predictor, calibrated, out)
    return 0
  name, clip, label = _clip(args, options, predictor, facts)
  found = explain.explain(calibrated, clip, target)
  said = f"{predictor.class_names[found.target]} {100 * found.probability:.1f} %"
  if len(facts.streams) > 1:  # which fused may say something else
    said += f" by stream {stream}"
  if clip.ndim == 5:  # the mean of which may, too
    said += f" in the middle one of {len(clip)} views"
  print(f"{name}: {said}{label}")
  classify = predictor.classifier
  for method, importance in found.importance.items():
    print(f"  by {method}: {explain.in_words(importance, classify.skeleton)}")
  title = f"{name}: {said}"
  # A recording has become a clip as the run's data set stores them.
  coordinates = drawing.coordinates(args.run, stored=True)
  drawing.explanation(found, classify.skeleton, facts.joint_at_zero, title, out, coordinates)
  print(f"drawn in {out}")
  return 0


def _parser() -> argparse.ArgumentParser:
  parser = process.parser("explain", __doc__)
  parser.add_argument("run", type=pathlib.Path, help="workdir of a trained run")
  parser.add_argument("what", metavar="WHAT", type=pathlib.Path, help="a recording or a data set")
  parser.add_argument("row", metavar="ROW", nargs="?", help="of the data set, or a clip's name")
  parser.add_argument("--source", metavar="NAME", help="who reads the recording")
  parser.add_argument(
    "--class", dest="of_class", metavar="NAME", help="is explained; default the likeliest"
  )
  parser.add_argument(
    "--out",
    type=pathlib.Path,
    help=".png; default explanation.png, with --deletion deletion.png",
  )
  parser.add_argument(
    "--deletion", action="store_true", help="do these joints decide, on the whole"
  )
  parser.add_argument(
    "--clips", type=int, default=100, metavar="N", help="of --deletion, evenly spread; default 100"
  )
  process.add_checkpoint_arguments(parser)
  return parser


def _number(class_names: Sequence[str], name: str) -> int:
  if name not in class_names:
    known = words.did_you_mean(name, class_names) or f"; there are {words.listed(class_names)}"
    raise ConfigError(f"--class {name!r} is no class of the run{known}")
  return class_names.index(name)


def _clip(
  args: argparse.Namespace, options: list[str], predictor: Predictor, facts: workdir_lib.RunFacts
) -> tuple[str, np.ndarray, str]:
  """Name, clip as the network sees it, and what it is labelled as, where that is known."""
  if is_data_set(args.what) or args.row is not None:
    if args.source or options:
      raise ConfigError("--source and its options are of a recording; a data set takes none")
    data = open_data_set(args.what)
    row = _row(data, args.row)
    label = data.class_names[data.table["label"][row]]
    clip = predictor.classifier.from_data_set(data, row)
    return str(data.table["name"][row]), clip, f" (labelled {label})"
  with recordings.find(
    args.what, args.source, options, picture=facts.picture, reading=facts.reading
  ) as found:
    for note in found.notes:
      print(note, file=sys.stderr)
    if len(found.read) != 1:
      raise ConfigError(f"{args.what} holds {len(found.read)} recordings; one is explained")
    recording = found.read[0]()
    return recording.name, predictor.clip(recording), ""


def _row(data: DataSet, text: str | None) -> int:
  """The row that a clip's name or a number stands for; names may be numbers, and go first."""
  if text is None:
    raise ConfigError(
      f"{data.path} is a data set of {len(data)} clips; say which: its row, from 0, or its name"
    )
  named = text in data.table["name"]
  if not named and text.isdecimal() and int(text) < len(data):
    return int(text)
  return show.find(data, text, None)


def _deletion(
  args: argparse.Namespace,
  predictor: Predictor,
  calibrated: explain.Calibrated,
  out: pathlib.Path,
) -> None:
  """Prints and draws deletion curves of the clips that the run was evaluated on."""
  data = open_data_set(args.what)
  config = config_lib.read(args.run / "config.json")
  rows = raw_values.some(experiment.make_split(config, data).eval.tolist(), args.clips)
  clips = [predictor.classifier.from_data_set(data, row) for row in rows]
  curves = explain.deletion_curves(calibrated, clips)
  print(f"mean probability of the class of {len(clips)} evaluation clips, left out")
  names = list(curves)
  print("share  " + "  ".join(f"{name:>16}" for name in names))
  for i, share in enumerate(explain.SHARES):
    print(f"{100 * share:4.0f} %  " + "  ".join(f"{100 * curves[n][i]:14.1f} %" for n in names))
  print("area   " + "  ".join(f"{explain.area(curves[n]):16.3f}" for n in names))
  title = f"{data.name}, {config.data.protocol}, {predictor.classifier.stream}"
  out.parent.mkdir(parents=True, exist_ok=True)
  plots.deletion_curves(explain.SHARES, curves, out, title=title)
  print(f"drawn in {out}")
