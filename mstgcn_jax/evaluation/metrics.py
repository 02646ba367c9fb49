"""Figures of merit from logits and labels, in NumPy: [clip, class] and [clip]."""

import itertools
from collections.abc import Sequence

import numpy as np

FIGURES = ("loss", "top1", "top5", "mean_class")  # of `summarize`


def softmax(logits: np.ndarray) -> np.ndarray:
  """Class probabilities, float64 [clip, class]."""
  e = np.subtract(logits, logits.max(-1, keepdims=True), dtype=np.float64)
  np.exp(e, out=e)  # in place: large arrays cost more than what is done with them
  e /= e.sum(-1, keepdims=True)
  return e


def ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """How many classes score above the right one; a tie counts half against it, rounded up.

  So a model that gives every class the same score isn't counted as right.
  """
  right = np.take_along_axis(logits, labels[:, None], 1)
  above = (~(logits <= right)).sum(1)  # a score that is not a number counts against it
  equal = (logits == right).sum(1)  # itself among them, where it is a number
  return above + equal // 2


def predictions(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """The class of highest score, int64 [clip]; by `ranks`' rule the right one only where it leads.

  Where the right class shares the highest score with others, the first of these is the answer: so
  what is counted as right here is what `top_k` counts.
  """
  others = logits.astype(np.float64)
  np.put_along_axis(others, labels[:, None], -np.inf, 1)
  return np.where(ranks(logits, labels) > 0, others.argmax(1), labels)


def top_k(logits: np.ndarray, labels: np.ndarray, k: int = 1) -> float:
  """Share of clips whose right class is among the k of highest score."""
  return float(np.mean(ranks(logits, labels) < k))


def per_class(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Top-1 accuracy of each class, float64 [class]; nan where a class has no clip."""
  num_classes = logits.shape[1]
  count = np.bincount(labels, minlength=num_classes)
  right = np.bincount(labels[ranks(logits, labels) == 0], minlength=num_classes)
  return np.where(count > 0, right / np.maximum(count, 1), np.nan)


def loss(logits: np.ndarray, labels: np.ndarray) -> float:
  """Mean cross-entropy in nats."""
  shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
  log_sum = np.log(np.exp(shifted).sum(-1))
  return float(np.mean(log_sum - np.take_along_axis(shifted, labels[:, None], 1)[:, 0]))


def top5_tells(num_classes: int) -> bool:
  """Whether top-5 says anything: of five classes or fewer it is always 100 %."""
  return num_classes > 5


def in_words(figures: dict[str, float], num_classes: int) -> str:
  """top-1, top-5 (where it tells something) and mean class, in percent."""
  names = {"top-1": "top1", "top-5": "top5", "mean class": "mean_class"}
  if not top5_tells(num_classes):
    del names["top-5"]
  return ", ".join(f"{name} {100 * figures[key]:.2f} %" for name, key in names.items())


def summarize(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
  """`FIGURES` by name; mean_class is the mean of the per-class accuracies."""
  return {
    "loss": loss(logits, labels),
    "top1": top_k(logits, labels, 1),
    "top5": top_k(logits, labels, 5),
    "mean_class": float(np.nanmean(per_class(logits, labels))),
  }


def confusion_matrix(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Counts, int64 [true class, predicted class]."""
  num_classes = logits.shape[1]
  cells = labels * num_classes + predictions(logits, labels)
  return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def most_confused(matrix: np.ndarray, count: int = 10) -> list[tuple[int, int, int]]:
  """The off-diagonal cells with the most clips, as (true, predicted, clips), largest first."""
  errors = matrix - np.diag(np.diag(matrix))
  order = np.argsort(-errors, axis=None, kind="stable")[:count]
  cells = [(*map(int, np.unravel_index(i, matrix.shape)), int(errors.flat[i])) for i in order]
  return [cell for cell in cells if cell[2] > 0]


def bootstrap_interval(
  values: np.ndarray, *, level: float = 0.95, resamples: int = 2000
) -> tuple[float, float]:
  """Percentile bootstrap interval of the mean of `values` over clips.

  It holds for other clips like these; it does not cover retraining with another seed. Equal values
  give equal intervals.
  """
  # How often each value is drawn, of which there are few: a clip is right or wrong.
  values, count = np.unique(np.asarray(values, np.float64), return_counts=True)
  rng, clips = np.random.default_rng(0), count.sum()
  drawn = rng.multinomial(clips, count / clips, resamples)
  return _middle(drawn @ values / clips, level)


def bootstrap_mean_class(
  logits: np.ndarray, labels: np.ndarray, *, level: float = 0.95, resamples: int = 2000
) -> tuple[float, float]:
  """As `bootstrap_interval`, of the mean-class accuracy; a class that is not drawn doesn't count.

  Clips are drawn from all classes together: within a class of one clip there is nothing to draw.
  """
  rng = np.random.default_rng(0)
  count = np.bincount(labels)
  share = np.nan_to_num(per_class(logits, labels)[: len(count)])
  # Of n resampled clips of a class of which a share p is right, Binomial(n, p) are right.
  drawn = rng.multinomial(len(labels), count / len(labels), resamples)
  right = rng.binomial(drawn, share)
  means = np.nanmean(np.where(drawn > 0, right / np.maximum(drawn, 1), np.nan), axis=1)
  return _middle(means, level)


def _middle(values: np.ndarray, level: float) -> tuple[float, float]:
  """The ends between which this share of the values lies, as many below as above."""
  low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
  return float(low), float(high)


def fuse(
  logits: Sequence[np.ndarray], weights: Sequence[float] | np.ndarray | None = None
) -> np.ndarray:
  """Fused scores of several streams as log of the weighted mean of their softmax scores."""
  weights = np.ones(len(logits)) if weights is None else weights
  if len(weights) != len(logits):
    raise ValueError(f"{len(weights)} weights for {len(logits)} streams")
  # One stream after the other: of a quarter of a million clips each takes a gigabyte.
  total = sum(w * softmax(x) for w, x in zip(weights, logits, strict=True))
  return np.log(np.maximum(total / np.sum(weights), 1e-300))


def fit_weights(logits: Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
  """Fusion weights, multiples of 1/8 that sum to 1, with the highest top-1 accuracy.

  Ties go to the lower cross-entropy. Use clips that were neither trained on nor are reported on.
  """
  parts, probabilities = 8, np.array([softmax(x) for x in logits])

  def merit(weights: np.ndarray) -> tuple[float, float]:
    # The probabilities themselves: of four streams there are 165 ways, and logs take longest.
    fused = np.tensordot(weights / parts, probabilities, 1)
    right = np.take_along_axis(fused, labels[:, None], 1)
    return top_k(fused, labels), float(np.log(np.maximum(right, 1e-300)).mean())

  # All ways to share the parts out, as places of bars between them.
  end = parts + len(logits) - 1
  bars = itertools.combinations(range(end), len(logits) - 1)
  return max((np.diff((-1, *places, end)) - 1 for places in bars), key=merit) / parts
