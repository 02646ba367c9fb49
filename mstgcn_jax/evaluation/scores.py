"""scores.npz: what a run says of each clip of a split."""

import dataclasses
import pathlib
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np

from mstgcn_jax import files
from mstgcn_jax.errors import DataError, of_numpy


@dataclasses.dataclass(frozen=True)
class Scores:
  """What a run says of the clips of a split.

  Attributes:
    names: [clip] recording names.
    labels: int [clip].
    logits: float [clip, class]; of fused scores, log probabilities.
  """

  names: np.ndarray
  labels: np.ndarray
  logits: np.ndarray

  def without(self, names: Collection[str]) -> "Scores":
    """The clips of other names."""
    kept = ~np.isin(self.names, list(names))
    return Scores(self.names[kept], self.labels[kept], self.logits[kept])

  def save(self, path: pathlib.Path, **facts: Any) -> None:
    """Writes a scores.npz, whole or not at all."""
    with files.written_whole(path) as aside, open(aside, "wb") as file:
      # Not compressed: scores shrink by a seventh, which takes twenty times as long.
      np.savez(file, names=self.names.astype(str), labels=self.labels, logits=self.logits, **facts)

  @classmethod
  def load(cls, path: pathlib.Path) -> "Scores":
    """Reads a scores.npz; DataError names the file and what is wrong with it."""
    try:
      with np.load(path, allow_pickle=False) as file:
        scores = cls(file["names"], file["labels"], file["logits"])
    except FileNotFoundError:
      raise DataError(
        f"{path} does not exist; a run writes it when it ends, and imported weights have one "
        "(evaluation_newest/scores.npz) after mstgcn evaluate"
      ) from None
    except Exception as error:
      reason = "" if path.is_file() and not zipfile.is_zipfile(path) else of_numpy(error)
      expected = "expected the .npz of names, labels and logits that a run writes"
      raise DataError(f"{path} is not a scores file; {expected}{reason}") from error
    n = scores.names.size
    if not scores.names.shape == scores.labels.shape == scores.logits.shape[:-1] == (n,):
      raise DataError(f"{path}: names, labels and logits differ in length")
    labels, classes = scores.labels, scores.logits.shape[1]
    if not n or labels.dtype.kind not in "iu" or scores.logits.dtype.kind not in "fiu":
      raise DataError(f"{path} holds no clips, or labels or logits that are no numbers")
    if not np.isfinite(scores.logits).all():
      raise DataError(f"{path} holds scores that are not finite: the run's training diverged")
    if not 0 <= labels.min() <= labels.max() < classes:
      raise DataError(
        f"{path} has {classes} classes and labels from {labels.min()} to {labels.max()}; they "
        "count from 0"
      )
    return dataclasses.replace(scores, labels=labels.astype(np.int64))

  @staticmethod
  def step(path: pathlib.Path) -> int:
    """The training step that a scores.npz of a run is of; DataError where it does not say."""
    try:
      with np.load(path, allow_pickle=False) as file:
        return int(file["step"])
    except Exception as error:
      raise DataError(f"{path} does not say of which step it is") from error
