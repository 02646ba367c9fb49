"""Fuses the scores of runs: mstgcn ensemble runs/joint runs/bone --weights 2 1

Adds the runs' softmax scores, clips matched by name. Each argument is a workdir (its scores.npz,
from the last epoch; of imported weights, what mstgcn evaluate wrote) or a scores file.
"""

import pathlib

from mstgcn_jax import words
from mstgcn_jax.commands import process
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.evaluation import fusion, metrics
from mstgcn_jax.evaluation.scores import Scores


def main(argv: list[str]) -> int:
  parser = process.parser("ensemble", __doc__)
  parser.add_argument("runs", nargs="+", type=pathlib.Path, help="workdirs or scores files")
  parser.add_argument("--weights", nargs="+", type=float, help="one per run; default equal")
  parser.add_argument("--out", type=pathlib.Path, help="write the fused scores to this .npz")
  args = parser.parse_args(argv)
  if args.out and args.out.suffix != ".npz":
    raise ConfigError(f"--out {args.out} must end in .npz")
  if args.out and args.out.resolve() in [fusion.scores_file(run).resolve() for run in args.runs]:
    raise ConfigError(f"--out {args.out} is one of the scores that are fused; name another file")
  scores = fusion.fuse_runs(args.runs, args.weights)
  if args.out:  # first: a disk that refuses is said before figures are
    args.out.parent.mkdir(parents=True, exist_ok=True)
    scores.save(args.out)
  for path in args.runs:
    single = Scores.load(fusion.scores_file(path))
    print(f"{path}: top-1 {100 * metrics.top_k(single.logits, single.labels):.2f} %")
  figures = metrics.summarize(scores.logits, scores.labels)
  low, high = metrics.bootstrap_interval(metrics.ranks(scores.logits, scores.labels) < 1)
  print(
    f"fused: {metrics.in_words(figures, scores.logits.shape[1])}, "
    f"{words.counted(len(scores.labels), 'clip')} (95 % "
    f"interval of top-1 over clips {100 * low:.2f} to {100 * high:.2f})"
  )
  return 0
