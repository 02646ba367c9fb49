"""Logits of every clip of a split exactly once, and what is fused of them."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tqdm
from jax.experimental import multihost_utils

from mstgcn_jax.errors import RunError
from mstgcn_jax.evaluation import fusion, metrics
from mstgcn_jax.evaluation.scores import Scores
from mstgcn_jax.training import train_step
from mstgcn_jax.training.device_batches import one_ahead
from mstgcn_jax.training.experiment import Experiment
from mstgcn_jax.training.train_step import EvalVariables

_log = logging.getLogger("mstgcn_jax")


def predict(
  run: Experiment,
  variables: Mapping[str, EvalVariables],
  rows: np.ndarray,
  *,
  bar: bool = False,
  batch_done: Callable[[], None] = lambda: None,
) -> dict[str, np.ndarray]:
  """Logits [clip, class] of each stream for these rows of the clip table, in their order.

  Every clip is seen exactly once, whatever the batch size and the devices; with several views a
  clip, the result is the log of the mean of their probabilities.

  Args:
    variables: stream -> `train_step.eval_variables` on the stream's devices.
    bar: shows on a terminal how far it is.
    batch_done: called after each batch.
  """
  views = run.config.data.views
  shown = tqdm.tqdm(
    total=len(rows) * views, unit=" clips", leave=False, disable=None if bar else True
  )
  position = {int(row): i for i, row in enumerate(rows)}
  seen = np.zeros(len(rows), np.int64)
  sums = {name: np.zeros((len(rows), run.task.num_classes)) for name in variables}
  steps = {mesh: train_step.make_eval_step(run.task, mesh) for mesh in run.meshes.values()}

  def started():
    for shards in run.eval_batches(rows):
      outputs = {}
      for number, (name, mesh) in enumerate(run.meshes.items()):
        outputs[name] = steps[mesh](variables[name], shards[mesh], np.int32(number))
      yield outputs, shards[mesh]

  for outputs, batch in one_ahead(started()):
    index, valid = (train_step.local_rows(batch[name]) for name in ("index", "valid"))
    where = np.asarray([position[int(row)] for row in index[valid]], np.int64)
    for name, output in outputs.items():
      logits = train_step.local_rows(output)[valid]
      # As float64, too: to add another type takes NumPy eight times as long.
      logits = logits.astype(np.float64) if views == 1 else metrics.softmax(logits)
      np.add.at(sums[name], where, logits)
    np.add.at(seen, where, 1)
    shown.update(len(where))
    batch_done()
  shown.close()
  # Every process has seen its own clips; the sum has them all.
  seen = multihost_utils.process_allgather(seen).sum(0)
  sums = {name: multihost_utils.process_allgather(x).sum(0) for name, x in sums.items()}
  if not np.all(seen == views):
    raise RunError("evaluation did not see every clip exactly once; please report this")
  if views > 1:
    sums = {name: np.log(np.maximum(total / views, 1e-30)) for name, total in sums.items()}
  return {name: total.astype(np.float32) for name, total in sums.items()}


def predict_splits(
  run: Experiment, variables: Mapping[str, EvalVariables], **shows: Any
) -> dict[str, Any]:
  """Logits of every split and, in it, of every stream and fusion: {'eval': …, 'holdout': …}.

  'holdout' is there where the config holds subjects out of training; fusion weights are then
  fitted on them, and used on 'eval'. Other arguments are those of `predict`.
  """
  splits, fitted = {}, None
  if len(rows := run.split.holdout):
    held = predict(run, variables, rows, **shows)
    if len(held) > 1:
      fitted = metrics.fit_weights(list(held.values()), run.data_set.table["label"][rows])
      weights = ", ".join(f"{name} {w:g}" for name, w in zip(held, fitted, strict=True))
      _log.info("fusion weights fitted on held-out subjects: %s", weights)
    splits["holdout"] = fusion.with_fused(held)
  splits["eval"] = fusion.with_fused(predict(run, variables, run.split.eval, **shows), fitted)
  return splits


def scores(run: Experiment, split: str, logits: Mapping[str, np.ndarray]) -> dict[str, Scores]:
  """Logits of a split ('eval', 'holdout'), each with the names and labels of its clips."""
  rows, table = getattr(run.split, split), run.data_set.table
  return {
    name: Scores(table["name"][rows], table["label"][rows], values)
    for name, values in logits.items()
  }
