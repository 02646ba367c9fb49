"""Evaluates a trained run: python -m mstgcn_jax.commands.evaluate --workdir runs/ntu_joint

Top-1, top-5 and mean-class accuracy with bootstrap intervals, a table by class, the most confused
pairs, confusion matrix and scores, below WORKDIR/evaluation_CHECKPOINT (and _PROTOCOL, if that is
another than in training).
"""

import argparse
import pathlib
import re

import jax
import numpy as np
from ml_collections import ConfigDict

from mstgcn_jax.commands import process

process.quiet_libraries()

from mstgcn_jax import words  # noqa: E402
from mstgcn_jax.errors import ConfigError  # noqa: E402
from mstgcn_jax.evaluation import metrics, plots  # noqa: E402
from mstgcn_jax.evaluation.scores import Scores  # noqa: E402
from mstgcn_jax.training import checkpoints, devices, predict, train_step  # noqa: E402
from mstgcn_jax.training import config as config_lib  # noqa: E402
from mstgcn_jax.training.experiment import (  # noqa: E402
  UNKNOWN_DATA,
  Experiment,
  data_differences,
  make_split,
  set_up,
)


def report(scores: Scores, class_names: list[str]) -> str:
  """The figures of scores as text: accuracies with 95 % intervals, classes, confusions."""
  logits, labels = scores.logits, scores.labels
  rank = metrics.ranks(logits, labels)
  lines = []
  shown = [("top-1", rank < 1), ("top-5", rank < 5)]
  for name, right in shown if metrics.top5_tells(logits.shape[1]) else shown[:1]:
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
      f"{class_names[true]} taken for {class_names[predicted]}: "
      f"{words.counted(clips, 'clip')} ({share:.0f} %)"
    )
  return "\n".join(lines)


def evaluate_workdir(args: argparse.Namespace) -> None:
  """Reports on a run's checkpoint and writes scores and pictures into its workdir."""
  facts = checkpoints.read_model_facts(args.workdir)
  config = config_lib.read(args.workdir / "config.json")
  checkpoints.check_trusted(config.model.block_type, args.trust)
  trained, run = config.data, _set_up(config, args)
  differences = [
    f"{name}: {_short(old)} in the run, {_short(here)} here"
    for name, here in run.facts()["model"].items()
    if (old := facts["model"].get(name)) != here
  ] + data_differences(facts, run.data_set)
  if differences == [UNKNOWN_DATA]:
    print(f"warning: whether {run.data_set.path} fits is not known: {UNKNOWN_DATA}")
    differences = []
  if differences:
    raise ConfigError(
      f"{run.data_set.path} does not fit the run in {args.workdir} ({'; '.join(differences)}); "
      "--data names another folder of data sets, --data-name another one in it"
    )
  tree, step = checkpoints.load_variables(args.workdir, args.checkpoint)
  variables = {
    name: train_step.replicate(mesh, train_step.saved_eval_variables(tree[name]))
    for name, mesh in run.meshes.items()
  }
  protocol = run.config.data.protocol
  same_split = (protocol, run.config.data.name) == (trained.protocol, trained.name)
  selected = ""
  if args.checkpoint != "newest" and step == checkpoints.best_step(args.workdir):
    on = "this very split" if same_split else f"{trained.name}, {trained.protocol}"
    on = "held-out subjects" if trained.holdout_subjects else on
    selected = f" (selected on {on})"
  seen = _trained_on(config, facts, run)
  other = "" if same_split else "_" + re.sub(r"[^\w.-]+", "_", protocol)
  out = args.workdir / f"evaluation_{args.checkpoint}{other}"
  out.mkdir(exist_ok=True)
  text = []
  found = _scores(run, variables)
  for name, scores in found.items():
    suffix = predict.suffix(name, found)
    text.append(f"== {name}, {protocol}, step {step}{selected}{seen}")
    text.append(report(scores, run.data_set.class_names) + "\n")
    scores.save(out / f"scores{suffix}.npz", step=step)
    plots.confusion_matrix(
      metrics.confusion_matrix(scores.logits, scores.labels),
      run.data_set.class_names,
      out / f"confusion_matrix{suffix}.png",
      title=f"{run.data_set.name}, {protocol}, {name}, step {step}",
    )
  (out / "report.txt").write_text("\n".join(text))
  print("\n".join(text))
  print(f"in {out}: report.txt, scores.npz, confusion_matrix.png")


def _trained_on(config: ConfigDict, facts: dict, run: Experiment) -> str:
  """How many of the evaluated clips a run of this config was trained on, where there are any."""
  if "data" not in facts:  # an imported model doesn't know its data
    return ""
  count = np.isin(run.split.eval, make_split(config, run.data_set).train).sum()
  were = "was" if count == 1 else "were"
  return f" ({count} of {len(run.split.eval)} clips {were} trained on)" if count else ""


def evaluate_fresh(args: argparse.Namespace) -> None:
  """Reports on a config's network as it is initialised: that data and network fit together."""
  run = _set_up(config_lib.load(args.config), args)
  states = run.initial_states()
  variables = {name: train_step.eval_variables(state) for name, state in states.items()}
  for name, scores in _scores(run, variables).items():
    print(f"== {name}, {run.config.data.protocol}, fresh weights")
    print(report(scores, run.data_set.class_names))


def _short(value) -> str:
  return value["name"] if isinstance(value, dict) else str(value)


def _set_up(config: ConfigDict, args: argparse.Namespace) -> Experiment:
  """The experiment of a config with the command's changes, which leave the config as it was."""
  config = config.copy_and_resolve_references()
  if args.data:
    config.data.dir = args.data
  if args.data_name:
    config.data.name = args.data_name
  if args.protocol:
    config.data.protocol = args.protocol
    config.data.holdout_subjects = ()
  # Neither changes a result, and devices may be others than in training.
  devices = jax.device_count()
  config.stream_devices = 0
  config.eval_batch_size = -(-config.eval_batch_size // devices) * devices
  return set_up(config, train=False)


def _scores(run: Experiment, variables) -> dict[str, Scores]:
  """The scores of every stream and fusion."""
  return predict.eval_scores(run, predict.predict_splits(run, variables)["eval"])


def main() -> None:
  parser = argparse.ArgumentParser(
    prog="python -m mstgcn_jax.commands.evaluate",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  what = parser.add_mutually_exclusive_group(required=True)
  what.add_argument("--workdir", type=pathlib.Path, help="a trained run")
  what.add_argument("--config", type=pathlib.Path, help="a config's network, with fresh weights")
  parser.add_argument("--checkpoint", default="newest", help="newest (default), best, or a step")
  parser.add_argument("--data", help="folder of the prepared data sets; default as in training")
  parser.add_argument("--data-name", help="data set in that folder; default as in training")
  parser.add_argument("--protocol", help="default as in training")
  parser.add_argument("--trust", action="store_true", help="import layers that the run names")
  args = parser.parse_args()
  process.fuse_elementwise_on_cpu()
  process.use_compilation_cache()
  devices.start()
  evaluate_workdir(args) if args.workdir else evaluate_fresh(args)


if __name__ == "__main__":
  with process.errors_in_one_line():
    main()
