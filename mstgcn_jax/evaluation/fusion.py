"""Fusing the scores of several streams or runs: softmax, weighted mean, clips matched by name."""

import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from mstgcn_jax import words
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.evaluation import metrics
from mstgcn_jax.evaluation.scores import Scores

# Names of fused results beside the streams' own; a third says its weights, such as fused_2211.
EQUAL, FITTED = "fused_equal", "fused_fitted"
_Result = TypeVar("_Result")


def stream_weights(names: Iterable[str]) -> list[int]:
  """The weights of the literature: motion streams count half, 2:2:1:1 of all four."""
  return [1 if "motion" in name else 2 for name in names]


def weighted_name(names: Iterable[str]) -> str:
  """What these streams' fusion by `stream_weights` is called: fused_21 of a joint and its motion.

  Equal weights are `EQUAL`.
  """
  weights = stream_weights(names)
  return "fused_" + "".join(map(str, weights)) if len(set(weights)) > 1 else EQUAL


def with_fused(
  logits: Mapping[str, np.ndarray], fitted: np.ndarray | None = None
) -> dict[str, np.ndarray]:
  """The streams' logits [clip, class] and, where there are several streams, their fusions.

  Args:
    fitted: weights of `metrics.fit_weights`, one per stream.
  """
  result = dict(logits)
  if len(logits) > 1:
    values = list(logits.values())
    result[EQUAL] = metrics.fuse(values)
    result[weighted_name(logits)] = metrics.fuse(values, stream_weights(logits))
    if fitted is not None:
      result[FITTED] = metrics.fuse(values, fitted)
  return result


def headline_name(results: Mapping[str, object]) -> str:
  """The result that a run is judged by: its only stream, or the fusion by `stream_weights`."""
  streams = [name for name in results if not name.startswith("fused_")]
  return streams[0] if len(streams) == 1 else weighted_name(streams)


def headline(results: Mapping[str, _Result]) -> _Result:
  """Of several results the one that a run is judged by."""
  return results[headline_name(results)]


def suffix(name: str, results: Mapping[str, object]) -> str:
  """What the names of a result's files end in: nothing for the headline's."""
  return "" if name == headline_name(results) else f"_{name}"


def fuse_runs(paths: Sequence[pathlib.Path], weights: Sequence[float] | None = None) -> Scores:
  """Fused scores of several runs over the same clips, in the order of the first.

  Args:
    paths: workdirs (their scores.npz, from the last epoch; of imported weights, what evaluate
      wrote) or scores files.
    weights: one per run; equal by default.
  Raises:
    DataError: clips, labels or classes of the files differ.
    ConfigError: not one weight per file, none above 0, or a file that is named twice.
  """
  if weights is not None and len(weights) != len(paths):
    given, runs = words.counted(len(weights), "weight"), words.counted(len(paths), "run")
    raise ConfigError(f"{given} for {runs}; give one per run")
  if weights is not None and not (min(weights) >= 0 and 0 < sum(weights) < math.inf):
    raise ConfigError(f"weights {weights}: expected finite numbers from 0, and one above 0")
  files = [scores_file(path) for path in paths]
  if len({file.resolve() for file in files}) < len(files):
    raise ConfigError("a run is named twice; to let one count more, give weights")
  first, *others = [Scores.load(file) for file in files]
  if len(np.unique(first.names)) != len(first.names):
    raise DataError(f"{files[0]}: clip names repeat, so clips cannot be matched by name")
  matched = [
    _in_order_of(first, files[0], scores, file)
    for file, scores in zip(files[1:], others, strict=True)
  ]
  return Scores(first.names, first.labels, metrics.fuse([first.logits, *matched], weights))


def _in_order_of(
  first: Scores, first_file: pathlib.Path, scores: Scores, file: pathlib.Path
) -> np.ndarray:
  """The logits of `scores` by the names of `first`; DataError where these are of other clips."""
  mine, order = (np.argsort(s.names, kind="stable") for s in (scores, first))
  if not np.array_equal(scores.names[mine], first.names[order]):
    extra = set(scores.names.tolist()) ^ set(first.names.tolist())
    raise DataError(
      f"{file} and {first_file} do not hold the same clips: {len(extra)} in only one of them "
      f"(such as {sorted(extra)[0]!r})"
      if extra
      else f"{file}: clip names repeat"
    )
  if scores.logits.shape[1] != first.logits.shape[1]:
    raise DataError(
      f"{file} has {scores.logits.shape[1]} classes, {first_file} has {first.logits.shape[1]}"
    )
  if not np.array_equal(scores.labels[mine], first.labels[order]):
    raise DataError(f"{file} and {first_file} give the same clips different labels")
  return scores.logits[mine[np.argsort(order)]]


def scores_file(path: pathlib.Path) -> pathlib.Path:
  """The scores.npz of a run, or of imported weights' evaluation; a file is taken as it is."""
  if not path.is_dir():
    return path
  own, evaluated = path / "scores.npz", path / "evaluation_newest" / "scores.npz"
  imported = not own.exists() and not (path / "metrics.csv").exists()
  return evaluated if imported and evaluated.exists() else own
