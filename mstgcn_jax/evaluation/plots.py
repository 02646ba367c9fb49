"""Pictures of a run: confusion matrix, learning and deletion curves, learned adjacencies."""

import pathlib
import warnings
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure  # not pyplot, which belongs to whoever imports this

from mstgcn_jax import files
from mstgcn_jax.evaluation import fusion

# (split, stream) -> column of a metrics.csv -> its values: step, epoch, loss, top1, learning_rate.
Curves = Mapping[tuple[str, str], Mapping[str, np.ndarray]]


def confusion_matrix(
  matrix: np.ndarray, class_names: Sequence[str], path: pathlib.Path, *, title: str
) -> None:
  """Draws a row-normalised confusion matrix [true, predicted] as PNG.

  Up to 30 classes carry their names and every cell above 1 % its figure; beyond, their
  numbers, from 0 as everywhere.
  """
  n = len(matrix)
  share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
  small = n <= 30
  size = 3.2 + 0.34 * n if small else 14
  fig = Figure(figsize=(size + 0.8, size), layout="constrained")
  ax = fig.subplots()
  image = ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
  ticks = np.arange(n) if small else np.arange(0, n, 5 * -(-n // 120))
  labels = list(class_names) if small else [str(i) for i in ticks]
  as_text = {"fontsize": 8, "parse_math": False}  # a $ in a name begins no formula
  ax.set_xticks(ticks, labels, rotation=90 if small else 0, **as_text)
  ax.set_yticks(ticks, labels, **as_text)
  numbered = "" if small else " (class number, from 0)"
  ax.set_xlabel(f"predicted{numbered}")
  ax.set_ylabel(f"true{numbered}")
  ax.set_title(title, fontsize=11)
  if small:
    for i, j in zip(*np.nonzero(share > 0.01), strict=True):
      color = "white" if share[i, j] > 0.5 else "black"
      ax.text(j, i, f"{share[i, j] * 100:.0f}", ha="center", va="center", fontsize=6, color=color)
  bar = fig.colorbar(image, ax=ax, fraction=0.03, pad=0.01)
  bar.ax.set_ylabel("share of the true class", fontsize=8)
  bar.ax.tick_params(labelsize=8)
  _save(fig, path)


def _of_split(curves: Curves, split: str) -> dict[str, Mapping[str, np.ndarray]]:
  """Stream or fusion -> its curve."""
  return {stream: curve for (of, stream), curve in curves.items() if of == split}


def epochs(curves: Curves, steps: np.ndarray) -> np.ndarray:
  """How many epochs steps are; the steps themselves where nothing was evaluated.

  By the next evaluation, at the end of an epoch: before a run went on with another batch size its
  epochs had other lengths.
  """
  evaluated = next(iter(_of_split(curves, "eval").values()), None)
  if evaluated is None:
    return steps
  length = evaluated["step"] / evaluated["epoch"]
  return steps / length[np.searchsorted(evaluated["step"], steps).clip(max=len(length) - 1)]


def learning_curves(curves: Curves, path: pathlib.Path, *, title: str) -> None:
  """Draws loss, top-1 accuracy and learning rate over the epochs as PNG."""
  train, evaluated = _of_split(curves, "train"), _of_split(curves, "eval")
  fig = Figure(figsize=(11, 4.2), layout="constrained")
  left, right = fig.subplots(1, 2)
  rate = left.twinx()
  for number, (stream, curve) in enumerate(train.items()):
    color, x = f"C{number}", epochs(curves, curve["step"])
    width = max(1, round(curve["step"][-1] / x[-1]))  # an epoch
    left.plot(x, _smooth(curve["loss"], width), color=color, label=stream)
    right.plot(x, 100 * _smooth(curve["top1"], width), color=color, alpha=0.4, lw=1)
    if number == 0:
      rate.plot(x, curve["learning_rate"], color="0.6", lw=1)
  for number, (stream, curve) in enumerate(evaluated.items()):
    color, x, top1 = f"C{number}", curve["epoch"], 100 * curve["top1"]
    if stream in train:
      left.plot(x, curve["loss"], color=color, ls="--", marker=".", ms=4)
    right.plot(x, top1, color=color, marker=".", ms=4, label=f"{stream}: {top1[-1]:.1f} %")
  joined = lambda losses: np.concatenate([[], *losses])
  losses = joined(curve["loss"] for (_, stream), curve in curves.items() if stream in train)
  top = _highest_shown(joined(curve["loss"] for curve in train.values()), losses)
  left.set(xlabel="epoch", ylabel="loss (line: training, dashed: evaluation)")
  left.set(xlim=(0, None), ylim=(0, top))
  if beyond := int((losses > top).sum()) if top else 0:
    text = f"{beyond} above, up to {losses.max():,.4g}"
    left.annotate(text, (0.01, 0.99), xycoords="axes fraction", va="top", fontsize=8)
  rate.set_ylim(0)  # a constant rate is no line between 0.048 and 0.052
  rate.set_ylabel("learning rate (grey)", color="0.5")
  rate.tick_params(axis="y", colors="0.5")
  right.set(xlabel="epoch", ylabel="top-1 (pale: training, dots: evaluation), %")
  right.set(xlim=(0, None), ylim=(0, 101))
  right.grid(alpha=0.3)
  right.legend(title="last evaluation", fontsize=8, loc="best")
  fig.suptitle(title, fontsize=11)
  _save(fig, path)


def curves_of_several(runs: Mapping[str, Sequence[Curves]], path: pathlib.Path) -> None:
  """Draws the evaluations of several runs over the epochs as PNG, a thin line per seed.

  Args:
    runs: name -> curves of every seed.
  """
  fig = Figure(figsize=(7, 4.2), layout="constrained")
  ax = fig.subplots()
  for number, (name, seeds) in enumerate(runs.items()):
    shown = []
    for curves in seeds:
      judged_by = fusion.headline(_of_split(curves, "eval"))
      x = judged_by["epoch"]
      shown.append(100 * judged_by["top1"])
      ax.plot(x, shown[-1], color=f"C{number}", lw=0.8, alpha=0.5)
    # A run that ended early has fewer: the mean goes as far as all do, its figure is of their ends.
    length = min(map(len, shown))
    mean = np.mean([top1[:length] for top1 in shown], axis=0)
    last = np.mean([top1[-1] for top1 in shown])
    style = {"color": f"C{number}", "lw": 1.8, "marker": ".", "ms": 4}  # one evaluation is a dot
    ax.plot(x[:length], mean, label=f"{name}: {last:.1f} %", **style)
  ax.set(xlabel="epoch", ylabel="top-1, %", xlim=(0, None), ylim=(0, 101))
  ax.grid(alpha=0.3)
  ax.legend(title="last epoch, mean over seeds", fontsize=8)
  _save(fig, path)


def deletion_curves(
  shares: Sequence[float], curves: Mapping[str, np.ndarray], path: pathlib.Path, *, title: str
) -> None:
  """Draws how probable the class stays while joint-frames are left out, one line per method."""
  fig = Figure(figsize=(6.4, 4.2), layout="constrained")
  ax = fig.subplots()
  for number, (name, curve) in enumerate(curves.items()):
    style = {"color": "0.5", "ls": "--"} if name == "random" else {"color": f"C{number}"}
    ax.plot(100 * np.asarray(shares), 100 * curve, marker=".", label=name, **style)
  ax.set(xlabel="joint-frames left out, %", ylabel="mean probability, %", ylim=(0, 101))
  ax.grid(alpha=0.3)
  ax.legend(title="left out first")
  ax.set_title(title, fontsize=11)
  _save(fig, path)


def _save(fig: Figure, path: pathlib.Path) -> None:
  with files.written_whole(path) as aside, warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Glyph")  # class names in an alphabet that the font lacks
    # "tight" is wider where a title is: few classes make a small picture.
    fig.savefig(aside, dpi=130, format="png", bbox_inches="tight")


def _highest_shown(train: np.ndarray, losses: np.ndarray) -> float | None:
  """Upper end of the axis of losses: single ones far beyond what is usual don't flatten the rest.

  Usual is what nine in ten training losses stay below, of few all but the highest; three times that
  is shown.
  """
  if not len(losses):
    return None
  usual = np.percentile(train if len(train) else losses, 90, method="lower")
  return 1.1 * float(max(losses[losses <= 3 * usual], default=usual)) or None


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
  """Mean over the last `width` values (fewer at the start)."""
  total = np.concatenate([[0.0], np.cumsum(values)])
  end = np.arange(1, len(values) + 1)
  start = np.maximum(end - width, 0)
  return (total[end] - total[start]) / (end - start)


def adjacency_image(adjacency: np.ndarray) -> np.ndarray:
  """Learned adjacencies [K, V, V] side by side as an RGB image [1, H, W, 3]; red above 0."""
  pixels = 6  # of an edge, both ways
  tiles = np.concatenate(list(np.pad(adjacency, ((0, 0), (0, 0), (0, 1)))), axis=1)
  limit = max(float(np.abs(tiles).max()), 1e-9)
  rgb = matplotlib.colormaps["RdBu_r"](0.5 + tiles / (2 * limit))[..., :3]
  return np.kron(rgb, np.ones((pixels, pixels, 1)))[None].astype(np.float32)
