"""Labels of recordings: mstgcn predict runs/ntu_joint clip.skeleton

FILE is a recording that a reader of `mstgcn prepare` takes (.skeleton of NTU RGB+D, .mat of
UTD-MHAD, .npy of your own joints as [frame, joint, channel] or [person, frame, joint, channel],
.json of Kinetics-skeleton, .pkl of PYSKL, a pose estimator's files, and what --source NAME reads),
a folder of them, or - for standard input: a .npy array, or one JSON line per frame, [[x, y, z], …]
or a list of these, one per person. Several may be given. No label is needed. What the source itself
takes goes behind a --:

  mstgcn predict runs/coco annotations.pkl --source pyskl -- --skeleton coco

Without --window-seconds a recording is one clip, seen as in evaluation.
"""

import argparse
import contextlib
import csv
import dataclasses
import json
import pathlib
import sys
from collections.abc import Iterable, Iterator

from data_prep.look import show
from mstgcn_jax.commands import process
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.training import workdir
from mstgcn_jax.use import drawing, recordings
from mstgcn_jax.use.predict import Naming, Prediction, Predictor, Windows
from mstgcn_jax.use.recordings import Recording

Predicted = tuple[Recording, list[Prediction]]


def main(argv: list[str]) -> int:
  argv, options = process.source_options(argv)
  args = _parser().parse_args(argv)
  process.check_label_arguments(args)
  windows = _windows(args)
  if args.show:
    show.check_ending("--show", args.show)
  process.start()
  bad: list[str] = []
  facts = workdir.read(args.run)
  with contextlib.ExitStack() as stack:
    found = _found(args, options, facts, stack)
    for note in found.notes:
      print(note, file=sys.stderr)
    if args.show and len(found.read) != 1:
      said = f"{' and '.join(args.recordings)}: {len(found.read)} recordings"
      raise ConfigError(f"--show draws one recording, not {said}")
    predictor = Predictor(
      args.run, checkpoint=args.checkpoint, stream=args.stream, trust=args.trust
    )
    naming = Naming(predictor.class_names, args.unknown_below)
    print(predictor.calibrated, file=sys.stderr)
    predicted = _predictions(found, predictor, naming, windows, args.per_person, bad)
    if args.show:
      predicted = list(predicted)  # one, or none; of several each is printed as it comes
    write = {"text": _print_text, "csv": _print_csv, "json": _print_json}[args.format]
    write(predicted, naming, args)
    if args.show:
      for recording, predictions in predicted:
        _show(recording, predictions, predictor, naming, args)
  if len(bad) == len(found.read):
    raise DataError(bad[0] if len(bad) == 1 else f"none of {len(bad)} recordings; {bad[0]}")
  return 1 if bad else 0


def _parser() -> argparse.ArgumentParser:
  parser = process.parser("predict", __doc__)
  parser.add_argument("run", type=pathlib.Path, help="workdir of a trained run")
  parser.add_argument("recordings", nargs="+", metavar="FILE|FOLDER|-")
  parser.add_argument("--source", metavar="NAME", help="who reads it; default by its ending")
  parser.add_argument(
    "--format", choices=("text", "csv", "json"), default="text", help="default text"
  )
  process.add_label_arguments(parser)
  parser.add_argument("--per-person", action="store_true", help="everybody alone")
  parser.add_argument(
    "--show", type=pathlib.Path, metavar="OUT", help=".gif, .png or .mp4 with the label"
  )
  long = parser.add_argument_group("long recordings, cut into segments")
  long.add_argument("--window-seconds", type=float, metavar="S", help="what is seen at once")
  long.add_argument("--stride", type=float, metavar="S", help="default half of the window")
  long.add_argument("--fps", type=float, default=30.0, help="frames per second; default 30")
  process.add_checkpoint_arguments(parser, "all, fused")
  return parser


def _found(
  args: argparse.Namespace,
  options: list[str],
  facts: workdir.RunFacts,
  stack: contextlib.ExitStack,
) -> recordings.Found:
  """The recordings of all paths, to be read until `stack` ends."""
  stdin = process.standard_input() if "-" in args.recordings else None
  how = args.source, options, stdin, facts.picture, facts.reading
  found = [stack.enter_context(recordings.find(path, *how)) for path in args.recordings]
  notes = dict.fromkeys(note for one in found for note in one.notes)
  return recordings.Found([read for one in found for read in one.read], tuple(notes))


def _windows(args: argparse.Namespace) -> Windows | None:
  """The sliding window in frames; None for none. ConfigError where a number makes no sense."""
  for flag in ("window_seconds", "stride", "fps"):
    value = getattr(args, flag)
    if value is not None and not 0 < value < 1e6:
      raise ConfigError(
        f"--{flag.replace('_', '-')} is {value:g}; expected a number above 0, below a million"
      )
  if args.window_seconds is None:
    if args.stride is not None:
      raise ConfigError("--stride is of a sliding window; give --window-seconds, too")
    return None
  length = max(1, round(args.window_seconds * args.fps))
  stride = args.window_seconds / 2 if args.stride is None else args.stride
  return Windows(length, max(1, round(stride * args.fps)))


def _predictions(
  found: recordings.Found,
  predictor: Predictor,
  naming: Naming,
  windows: Windows | None,
  per_person: bool,
  bad: list[str],
) -> Iterator[Predicted]:
  """Each recording with its predictions; one that is wrong is said, and put into `bad`."""
  for read in found.read:
    try:
      recording = read()
      if windows is None:
        yield recording, predictor.whole(recording, per_person=per_person)
      else:
        yield recording, predictor.segments(recording, windows, naming, per_person=per_person)
    except (ConfigError, DataError) as error:
      if isinstance(error, ConfigError) and len(found.read) == 1:
        raise  # of several, one of another layout is no reason to leave the rest without labels
      bad.append(str(error))
      if len(found.read) > 1:
        print(f"warning: left out: {error}", file=sys.stderr)


def _show(
  recording: Recording,
  predictions: list[Prediction],
  predictor: Predictor,
  naming: Naming,
  args: argparse.Namespace,
) -> None:
  classify = predictor.classifier
  recording = dataclasses.replace(recording, recorded=classify.as_fractions(recording.recorded))
  coordinates = drawing.coordinates(args.run, stored=False)
  drawing.predictions(recording, classify.skeleton, predictions, naming, args.show, coordinates)
  print(f"drawn in {args.show}", file=sys.stderr)


def _print_text(predicted: Iterable[Predicted], naming: Naming, args: argparse.Namespace) -> None:
  """One line per prediction."""
  for recording, predictions in predicted:
    for p in predictions:
      where = f", person {p.person}" if p.person else ""
      if args.window_seconds is not None:
        where += f", {p.start / args.fps:.2f} to {p.end / args.fps:.2f} s"
      tops = naming.top(p.probabilities, args.top)
      said = ", ".join(f"{name} {100 * share:.1f} %" for name, share in tops)
      unknown = "unknown: " if naming.number(p.probabilities) < 0 else ""
      print(f"{recording.name}{where}: {unknown}{said}", flush=True)


def _print_csv(predicted: Iterable[Predicted], naming: Naming, args: argparse.Namespace) -> None:
  """One row per prediction, below a row of names."""
  out = csv.writer(sys.stdout, lineterminator="\n")
  count = min(args.top, len(naming.class_names))
  ranks = [f"{what}_{k}" for k in range(1, count + 1) for what in ("class", "probability")]
  out.writerow(["recording", "person", "start", "end", "label", "confidence", *ranks])
  for recording, predictions in predicted:
    for p in predictions:
      tops = naming.top(p.probabilities, count)
      numbers = [cell for name, share in tops for cell in (name, f"{share:.4f}")]
      seconds = [f"{p.start / args.fps:.3f}", f"{p.end / args.fps:.3f}"]
      label = naming.label(p.probabilities)
      out.writerow([recording.name, p.person or "", *seconds, label, numbers[1], *numbers])


def _print_json(predicted: Iterable[Predicted], naming: Naming, args: argparse.Namespace) -> None:
  """One list of all predictions."""
  rows = []
  for recording, predictions in predicted:
    for p in predictions:
      rows.append(
        {
          "recording": recording.name,
          "person": p.person,
          "start": round(p.start / args.fps, 3),
          "end": round(p.end / args.fps, 3),
          **naming.as_json(p.probabilities, args.top),
        }
      )
  print(json.dumps(rows, indent=2, ensure_ascii=False))
