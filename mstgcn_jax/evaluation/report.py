"""The figures of scores as text, `evaluate`'s report.txt; the page of runs is `use.report`."""

from collections.abc import Sequence

import numpy as np

from mstgcn_jax import words
from mstgcn_jax.evaluation import calibration, metrics
from mstgcn_jax.evaluation.scores import Scores

_MANY = 40  # classes that are all shown on a screen
_WORST = 10  # classes shown of more


def as_text(scores: Scores, class_names: Sequence[str]) -> tuple[str, str]:
  """Accuracies with 95 % intervals, calibration, a table per class, the most confused pairs.

  Returns:
    The whole text, and the same for a screen, which shows the worst of many classes.
  """
  logits, labels = scores.logits, scores.labels
  per_class = metrics.per_class(logits, labels)
  counts = np.bincount(labels, minlength=len(class_names))
  lines = _accuracies(logits, labels, per_class)
  error = calibration.expected_calibration_error(logits, labels)
  lines.append(f"calibration {100 * error:5.2f} %  (expected error, {calibration.BINS} bins)")
  lines.append("\nclass                                      clips   top-1")
  table = []
  for i in np.argsort(per_class, kind="stable"):
    figure = f"{100 * per_class[i]:6.1f} %" if counts[i] else "       –"
    table.append(f"{class_names[i][:40]:40}  {counts[i]:6d}  {figure}")
  some = table if len(table) <= _MANY else [*table[:_WORST], "… report.txt lists all classes"]
  confused = metrics.most_confused(metrics.confusion_matrix(logits, labels))
  ends = ["\nmost confused" if confused else "\nno clip is confused"]
  for true, predicted, clips in confused:
    share = 100 * clips / counts[true]
    ends.append(
      f"{class_names[true]} taken for {class_names[predicted]}: "
      f"{words.counted(clips, 'clip')} ({share:.0f} %)"
    )
  return "\n".join([*lines, *table, *ends]), "\n".join([*lines, *some, *ends])


def _accuracies(logits: np.ndarray, labels: np.ndarray, per_class: np.ndarray) -> list[str]:
  rank = metrics.ranks(logits, labels)
  rows = [("top-1", (rank < 1).mean(), metrics.bootstrap_interval(rank < 1))]
  if metrics.top5_tells(logits.shape[1]):
    rows.append(("top-5", (rank < 5).mean(), metrics.bootstrap_interval(rank < 5)))
  interval = metrics.bootstrap_mean_class(logits, labels)
  rows.append(("mean class", np.nanmean(per_class), interval))
  return [
    f"{name:10}  {100 * share:6.2f} %  (95 % interval over clips {100 * low:.2f} to "
    f"{100 * high:.2f})"
    for name, share, (low, high) in rows
  ]
