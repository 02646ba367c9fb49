"""Evaluates a trained run: mstgcn evaluate runs/ntu_joint

Top-1, top-5 and mean-class accuracy with bootstrap intervals, the expected calibration error, a
table per class, the most confused pairs, confusion matrix and scores, below
WORKDIR/evaluation_CHECKPOINT (and _PROTOCOL, or _DATA_PROTOCOL, where these are others than in
training).
"""

import argparse
import pathlib
import re

from mstgcn_jax import files, words
from mstgcn_jax.commands import process
from mstgcn_jax.evaluation import calibration, fusion, metrics, plots, report
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.use.evaluate import Evaluation, evaluate, evaluate_fresh


def main(argv: list[str]) -> int:
  parser = process.parser("evaluate", __doc__)
  what = parser.add_mutually_exclusive_group(required=True)
  what.add_argument("run", nargs="?", type=pathlib.Path, help="workdir of a trained run")
  what.add_argument("--workdir", type=pathlib.Path, help="the same")
  what.add_argument("--config", help="a config's network, with fresh weights")
  parser.add_argument("--checkpoint", default="newest", help="newest (default), best, or a step")
  parser.add_argument("--data", help="folder of the prepared data sets; default as in training")
  parser.add_argument("--data-name", help="data set in that folder; default as in training")
  parser.add_argument("--protocol", help="default as in training")
  parser.add_argument(
    "--calibrate",
    action="store_true",
    help="fit temperatures on held-out training subjects, into WORKDIR/calibration.json",
  )
  parser.add_argument("--trust", action="store_true", help="import layers that the run names")
  args = parser.parse_args(argv)
  if args.calibrate and args.config:
    parser.error("--calibrate takes a trained run")
  if args.checkpoint != "newest" and args.config:
    parser.error("--checkpoint takes a trained run")
  process.start()
  workdir = args.run or args.workdir
  if workdir is None:
    config = config_lib.load(args.config)
    evaluation = evaluate_fresh(config, protocol=args.protocol, data_set=_folder(config, args))
    print(_text(evaluation)[0])
    return 0
  facts = workdir_lib.read(workdir)
  trained = config_lib.read(workdir / "config.json")
  evaluation = evaluate(
    workdir,
    checkpoint=args.checkpoint,
    protocol=args.protocol,
    data_set=_folder(trained, args),
    trust=args.trust,
  )
  for note in evaluation.notes:
    print(f"warning: {note}")
  text, shown = _text(evaluation)
  print(shown)
  data = trained.data
  trained_on = facts.data_name or data.name  # of which the folder may have another name
  names = [evaluation.data_name] if evaluation.data_name != trained_on else []
  names += [evaluation.protocol] if names or evaluation.protocol != data.protocol else []
  what = "_".join(["evaluation", args.checkpoint, *names])
  out = workdir / re.sub(r"[^\w.-]+", "_", what)
  _write(evaluation, text, out)
  print(f"in {out}: report.txt, scores.npz, confusion_matrix.png")
  if args.calibrate:
    _calibrate(evaluation, workdir)
  return 0


def _calibrate(evaluation: Evaluation, workdir: pathlib.Path) -> None:
  """Writes the temperatures, and prints what they change on the evaluation clips."""
  fitted = evaluation.calibrate()
  fitted.save(workdir)
  print(f"{workdir / calibration.FILE}: temperatures fitted on {fitted.fitted_on}")
  for name, temperature in fitted.temperatures.items():
    scores = evaluation.scores[name]
    before, after = (
      calibration.expected_calibration_error(scores.logits / t, scores.labels)
      for t in (1, temperature)
    )
    print(
      f"{name}: temperature {temperature:.3g}, calibration error on the evaluation clips "
      f"{100 * before:.2f} % before, {100 * after:.2f} % with it"
    )


def _folder(config, args: argparse.Namespace) -> pathlib.Path | None:
  """The folder of the data set that the flags name; None where they name none."""
  if not (args.data or args.data_name):
    return None
  return pathlib.Path(args.data or config.data.dir) / (args.data_name or config.data.name)


def _text(evaluation: Evaluation) -> tuple[str, str]:
  """An evaluation as text, whole and as a screen shows it (`report.as_text`)."""
  e, whole, shown = evaluation, [], []
  without_copies = e.figures_without_copies if e.copies else {}
  for name, scores in e.scores.items():
    at = "fresh weights" if e.step is None else f"step {e.step}"
    selected = f" (selected on {e.selected_on})" if e.selected_on else ""
    were = "was" if e.trained_on == 1 else "were"
    seen = f" ({e.trained_on} of {len(scores.labels)} clips {were} trained on)"
    title = f"== {name}, {e.protocol}, {at}{selected}{seen if e.trained_on else ''}"
    copies = _copies(len(e.copies), len(scores.labels), without_copies.get(name))
    ends = [copies, ""] if e.copies else [""]
    for lines, text in zip((whole, shown), report.as_text(scores, e.class_names), strict=True):
      lines += [title, text, *ends]
  return "\n".join(whole), "\n".join(shown)


def _copies(copies: int, clips: int, others: dict[str, float] | None) -> str:
  line = f"\n{words.counted(copies, 'clip')} of {clips:,} have the frames of training clips"
  if others:
    line += f"; of the other {clips - copies:,} {100 * others['top1']:.2f} % are right"
  return line


def _write(evaluation: Evaluation, text: str, out: pathlib.Path) -> None:
  """Scores, confusion matrices and the text of an evaluation, into the folder `out`."""
  e = evaluation
  out.mkdir(exist_ok=True)
  for name, scores in e.scores.items():
    suffix = fusion.suffix(name, e.scores)
    scores.save(out / f"scores{suffix}.npz", step=e.step)
    plots.confusion_matrix(
      metrics.confusion_matrix(scores.logits, scores.labels),
      e.class_names,
      out / f"confusion_matrix{suffix}.png",
      title=f"{e.data_name}, {e.protocol}, {name}, step {e.step}",
    )
  with files.written_whole(out / "report.txt") as aside:
    aside.write_text(text, encoding="utf-8")
