"""Fuses the scores of runs: mstgcn ensemble runs/joint runs/bone --weights 2 1

Adds the runs' softmax scores, clips matched by name. Each argument is a workdir (its scores.npz,
from the last epoch) or a scores file.
"""

import argparse
import math
import pathlib

import numpy as np

from mstgcn_jax import words
from mstgcn_jax.commands import process
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.evaluation import metrics
from mstgcn_jax.evaluation.scores import Scores


def fuse(paths: list[pathlib.Path], weights: list[float] | None = None) -> Scores:
  """Fused scores of several files over the same clips, in the order of the first.

  Raises:
    DataError: clips, labels or classes of the files differ.
    ConfigError: not one weight a file, or none above 0.
  """
  if weights is not None and len(weights) != len(paths):
    raise ConfigError(f"{len(weights)} weights for {len(paths)} runs; give one a run")
  if weights is not None and not (min(weights) >= 0 and 0 < sum(weights) < math.inf):
    raise ConfigError(f"weights {weights}: expected finite numbers from 0, and one above 0")
  files = [_scores_file(path) for path in paths]
  first, *others = [Scores.load(file) for file in files]
  matched = [first.logits]
  order = np.argsort(first.names, kind="stable")
  if len(np.unique(first.names)) != len(first.names):
    raise DataError(f"{files[0]}: clip names repeat, so clips cannot be matched by name")
  for file, scores in zip(files[1:], others, strict=True):
    mine = np.argsort(scores.names, kind="stable")
    if not np.array_equal(scores.names[mine], first.names[order]):
      extra = set(scores.names.tolist()) ^ set(first.names.tolist())
      raise DataError(
        f"{file} and {files[0]} do not hold the same clips: {len(extra)} in only one of them "
        f"(such as {sorted(extra)[0]!r})"
        if extra
        else f"{file}: clip names repeat"
      )
    if scores.logits.shape[1] != first.logits.shape[1]:
      raise DataError(
        f"{file} has {scores.logits.shape[1]} classes, {files[0]} has {first.logits.shape[1]}"
      )
    if not np.array_equal(scores.labels[mine], first.labels[order]):
      raise DataError(f"{file} and {files[0]} give the same clips different labels")
    logits = np.empty_like(scores.logits)
    logits[order] = scores.logits[mine]
    matched.append(logits)
  return Scores(first.names, first.labels, metrics.fuse(matched, weights))


def _scores_file(path: pathlib.Path) -> pathlib.Path:
  return path / "scores.npz" if path.is_dir() else path


def main() -> None:
  parser = argparse.ArgumentParser(
    prog="python -m mstgcn_jax.commands.ensemble", description=__doc__
  )
  parser.add_argument("runs", nargs="+", type=pathlib.Path, help="workdirs or scores files")
  parser.add_argument("--weights", nargs="+", type=float, help="one a run; default equal")
  parser.add_argument("--out", type=pathlib.Path, help="write the fused scores to this .npz")
  args = parser.parse_args()
  if args.out and args.out.suffix != ".npz":
    raise ConfigError(f"--out {args.out} must end in .npz")
  scores = fuse(args.runs, args.weights)
  for path in args.runs:
    single = Scores.load(_scores_file(path))
    print(f"{path}: top-1 {100 * metrics.top_k(single.logits, single.labels):.2f} %")
  figures = metrics.summarize(scores.logits, scores.labels)
  low, high = metrics.bootstrap_interval(metrics.ranks(scores.logits, scores.labels) < 1)
  print(
    f"fused: {metrics.in_words(figures, scores.logits.shape[1])}, "
    f"{words.counted(len(scores.labels), 'clip')} (95 % "
    f"interval of top-1 over clips {100 * low:.2f} to {100 * high:.2f})"
  )
  if args.out:
    args.out.parent.mkdir(parents=True, exist_ok=True)
    scores.save(args.out)


if __name__ == "__main__":
  with process.errors_in_one_line():
    main()
