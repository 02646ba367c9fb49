"""Evaluates a trained run: python -m mstgcn_jax.evaluate --workdir runs/ntu_joint

Top-1, top-5 and mean-class accuracy with bootstrap intervals, a table by class, the most confused
pairs, confusion matrix and scores, below WORKDIR/evaluation_CHECKPOINT.
"""

import argparse
import pathlib

import numpy as np

from mstgcn_jax import command

command.quiet_libraries()

from mstgcn_jax import checkpoints, evaluation, metrics, plots, train_step  # noqa: E402
from mstgcn_jax import config as config_lib  # noqa: E402
from mstgcn_jax.errors import ConfigError  # noqa: E402
from mstgcn_jax.experiment import set_up  # noqa: E402


def report(scores: evaluation.Scores, class_names: list[str]) -> str:
  """The figures of scores as text: accuracies with 95 % intervals, classes, confusions."""
  logits, labels = scores.logits, scores.labels
  rank = metrics.ranks(logits, labels)
  lines = []
  for name, right in (("top-1", rank < 1), ("top-5", rank < 5)):
    low, high = metrics.bootstrap_interval(right.astype(np.float64))
    lines.append(
      f"{name:10}  {100 * right.mean():6.2f} %  (95 % interval over clips "
      f"{100 * low:.2f} to {100 * high:.2f})"
    )
  per_class = metrics.per_class(logits, labels)
  low, high = metrics.bootstrap_mean_class(logits, labels)
  lines.append(
    f"{'mean class':10}  {100 * np.nanmean(per_class):6.2f} %  (95 % interval over clips "
    f"{100 * low:.2f} to {100 * high:.2f})"
  )
  lines.append("\nclass                                      clips   top-1")
  counts = np.bincount(labels, minlength=len(class_names))
  for i in np.argsort(per_class, kind="stable"):
    figure = f"{100 * per_class[i]:6.1f} %" if counts[i] else "       –"
    lines.append(f"{class_names[i][:40]:40}  {counts[i]:6d}  {figure}")
  confused = metrics.most_confused(metrics.confusion_matrix(logits, labels))
  lines.append("\nmost confused" if confused else "\nno clip is confused")
  for true, predicted, clips in confused:
    share = 100 * clips / counts[true]
    lines.append(
      f"{class_names[true]} taken for {class_names[predicted]}: {clips} clips ({share:.0f} %)"
    )
  return "\n".join(lines)


def main() -> None:
  parser = argparse.ArgumentParser(prog="python -m mstgcn_jax.evaluate", description=__doc__)
  parser.add_argument("--workdir", required=True, type=pathlib.Path)
  parser.add_argument("--checkpoint", default="newest", help="newest (default), best, or a step")
  parser.add_argument("--data", help="folder of the prepared data sets; default as in training")
  parser.add_argument("--trust", action="store_true", help="import layers that the run names")
  args = parser.parse_args()
  command.use_compilation_cache()

  facts = checkpoints.read_model_facts(args.workdir)
  checkpoints.read_model_config(facts, trust=args.trust)
  config = config_lib.read(args.workdir / "config.json")
  if args.data:
    config.data.dir = args.data
  run = set_up(config)
  if run.facts()["data"] != facts["data"]:
    raise ConfigError(
      f"{args.workdir} was trained on {facts['data']}, {run.data_set.path} is "
      f"{run.facts()['data']}; --data names another folder"
    )
  tree, step = checkpoints.load_variables(args.workdir, args.checkpoint)
  variables = {
    name: train_step.replicate(mesh, train_step.saved_eval_variables(tree[name]))
    for name, mesh in run.meshes.items()
  }
  logits = evaluation.with_fused(evaluation.predict(run, variables, run.split.eval))
  out = args.workdir / f"evaluation_{args.checkpoint}"
  out.mkdir(exist_ok=True)
  rows, table = run.split.eval, run.data_set.table
  selected = " (selected on this very split)" if args.checkpoint == "best" else ""
  text = []
  for name, values in logits.items():
    scores = evaluation.Scores(table["name"][rows], table["label"][rows], values)
    text.append(f"== {name}, {config.data.protocol}, step {step}{selected}")
    text.append(report(scores, run.data_set.class_names) + "\n")
    suffix = "" if name == evaluation.headline_name(logits) else f"_{name}"
    scores.save(out / f"scores{suffix}.npz", step=step)
    plots.confusion_matrix(
      metrics.confusion_matrix(values, scores.labels),
      run.data_set.class_names,
      out / f"confusion_matrix{suffix}.png",
      title=f"{run.data_set.name}, {config.data.protocol}, {name}, step {step}",
    )
  (out / "report.txt").write_text("\n".join(text))
  print("\n".join(text))
  print(f"in {out}: report.txt, scores.npz, confusion_matrix.png")


if __name__ == "__main__":
  with command.errors_in_one_line():
    main()
