"""Runs as one page to open in a browser and to send: `write`.

What the page shows is gathered here, from the workdirs alone and, for the skeletons, the data set;
page.js draws it. The page needs no network, and forbids itself any.
"""

import base64
import dataclasses
import functools
import html
import json
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from data_prep.look import scene
from mstgcn_jax import files, skeletons
from mstgcn_jax.data.data_set import DataSet, open_data_set
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.evaluation import fusion, metrics, plots
from mstgcn_jax.evaluation.calibration import reliability
from mstgcn_jax.evaluation.scores import Scores
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import run_log
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.use import explain
from mstgcn_jax.use.report import decided

_MOVING = 24  # clips of a page that are drawn, of all its runs together
_FRAMES = 60  # of a drawn clip; a longer one shows every second, third, … frame
_POINTS = 300  # of a curve
_LISTED = 5000  # right clips of a run that are listed by name; wrong ones are all
_PAIRS = 12  # of classes, that are most confused
_UNTRACKED = -32768


def write(
  workdirs: Sequence[str | pathlib.Path],
  out: str | pathlib.Path,
  *,
  data_set: str | pathlib.Path | None = None,
  trust: bool = False,
) -> list[str]:
  """Writes the page of some finished runs; what it lacks, one line each.

  Args:
    data_set: folder of the prepared data set that the clips are drawn from; by default each run's
      own, where it is found.
    trust: import layers that a run names, to say what decided.
  Raises:
    DataError: a workdir is none, or lacks its scores.
    ConfigError: `out` has another ending than .html, or two runs are the same.
  """
  out, paths = pathlib.Path(out), [pathlib.Path(workdir) for workdir in workdirs]
  if out.suffix not in (".html", ".htm"):
    raise ConfigError(f"--out {out} must end in .html")
  if len({path.resolve() for path in paths}) < len(paths):
    raise ConfigError("a run is named twice")
  notes, runs = [], []
  for path, name in zip(paths, _names(paths), strict=True):
    drawn = max(1, _MOVING // len(paths))
    run, missing = gather(path, name, drawn=drawn, data_set=data_set, trust=trust)
    runs.append(run)
    notes += [f"{name}: {note}" for note in missing]
  out.parent.mkdir(parents=True, exist_ok=True)
  with files.written_whole(out) as aside:
    aside.write_text(page(runs), encoding="utf-8")
  return notes


def page(runs: Sequence[Mapping[str, Any]]) -> str:
  """The page of what `gather` gave."""
  read = lambda name: resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
  # Names of classes, clips and runs are data: in the script they cannot end it, and page.js never
  # makes markup of them.
  content = json.dumps(runs, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
  title = "Report of " + ", ".join(run["name"] for run in runs)
  parts = {"title": html.escape(title), "style": read("page.css"), "script": read("page.js")}
  text = read("page.html")
  for name, value in (*parts.items(), ("content", content)):
    text = text.replace(f"<!--{name}-->", value, 1)
  return text


def gather(
  workdir: pathlib.Path,
  name: str,
  *,
  drawn: int,
  data_set: str | pathlib.Path | None = None,
  trust: bool = False,
) -> tuple[dict[str, Any], list[str]]:
  """What the page shows of a run, for JSON, and what is missing.

  Args:
    drawn: how many clips move.
  """
  facts = workdir_lib.read(workdir)
  scores_file = fusion.scores_file(workdir)
  scores = Scores.load(scores_file)
  classes, logits, labels = facts.class_names, scores.logits, scores.labels
  if logits.shape[1] != len(classes):
    raise DataError(
      f"{scores_file} is of {logits.shape[1]} classes, model.json of the run of {len(classes)}"
    )
  config = _config(workdir / "config.json")
  predicted = metrics.predictions(logits, labels)
  right = predicted == labels
  sure = metrics.softmax(logits)[np.arange(len(labels)), predicted]
  curves, notes = _curves(workdir / "metrics.csv")
  worst = worst_first(right, sure)
  confusion = metrics.confusion_matrix(logits, labels)
  pairs = most_confused(confusion, labels, predicted, worst)
  look = _worth_a_look(pairs, worst, drawn)
  targets = dict(zip(scores.names[look].tolist(), predicted[look].tolist(), strict=True))
  moving, missing = _moving(workdir, config, data_set, targets, trust)
  entry = functools.partial(_entry, scores, predicted, sure)
  figures = metrics.summarize(logits, labels)
  if not metrics.top5_tells(len(classes)):
    del figures["top5"]
  bins, error = calibration(sure, right)
  return {
    "name": name,
    "data": facts.data_name or "unknown data",
    "protocol": str(config.get("data", {}).get("protocol", "")),
    "streams": list(facts.streams),
    "network": facts.model.network,
    "classes": list(classes),
    "figures": figures | {"calibration": error},
    "interval": list(metrics.bootstrap_interval(right)),
    "settings": {
      name: json.dumps(value, ensure_ascii=False)
      for name, value in config_lib.flatten(config).items()
    },
    "curves": curves,
    "confusion": confusion.tolist(),
    "pairs": [_pair(pair, entry) for pair in pairs],
    "bins": bins,
    "clips": [entry(i) for i in worst[: (~right).sum() + _LISTED].tolist()],
    "counted": len(labels),
    "moving": moving,
  }, notes + missing


def _config(path: pathlib.Path) -> Mapping[str, Any]:
  """A run's config, of whatever version."""
  config = files.read_json(path)
  if not isinstance(config, Mapping) or not isinstance(config.get("data", {}), Mapping):
    raise DataError(f"{path} is damaged; expected the fields of a config, and of its data")
  return config


def worst_first(right: np.ndarray, sure: np.ndarray) -> np.ndarray:
  """Numbers of the clips: mistakes, the surest first, then right answers, the least sure first."""
  return np.lexsort((np.where(right, sure, -sure), right))


def calibration(sure: np.ndarray, right: np.ndarray) -> tuple[list[dict[str, float]], float]:
  """Bins with 'clips', 'sure' and 'right' (means), and the expected error (`reliability`)."""
  found = reliability(sure, right)
  rows = zip(found.count.tolist(), found.confidence.tolist(), found.accuracy.tolist(), strict=True)
  return [{"clips": n, "sure": s, "right": r} for n, s, r in rows], found.error


def _names(paths: Sequence[pathlib.Path]) -> list[str]:
  """What runs are called: their folders' names, or whole paths where these are alike."""
  names = [path.resolve().name for path in paths]
  return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _curves(path: pathlib.Path) -> tuple[list[dict[str, Any]], list[str]]:
  """Loss and top-1 over epochs in training and evaluation, of each stream of a metrics.csv."""
  if not path.exists():
    return [], [f"no curves, {path.name} is not there"]
  found = run_log.read_curves(path)
  curves = []
  for (split, stream), curve in found.items():
    if split == "holdout":  # as in learning_curves.png
      continue
    epochs = plots.epochs(found, curve["step"])
    columns = {"epoch": epochs, "loss": curve["loss"], "top1": curve["top1"]}
    if split == "train":
      columns = {name: _thinned(values) for name, values in columns.items()}
    numbers = {name: _numbers(values) for name, values in columns.items()}
    curves.append({"split": split, "stream": stream} | numbers)
  return curves, []


def _thinned(values: np.ndarray) -> np.ndarray:
  """Means of successive values, at most `_POINTS` of them."""
  return np.array([piece.mean() for piece in np.array_split(values, min(_POINTS, len(values)))])


def _numbers(values: Iterable[float]) -> list[float | None]:
  return [float(f"{v:.5g}") if math.isfinite(v) else None for v in values]


@dataclasses.dataclass(frozen=True)
class Pair:
  """A class that is taken for another.

  Attributes:
    label, said: the classes.
    times: how many clips.
    wrong: number of the one of them that was surest.
    right: number of the surest right clip of class `said`; None where there is none.
  """

  label: int
  said: int
  times: int
  wrong: int
  right: int | None


def most_confused(
  confusion: np.ndarray, labels: np.ndarray, predicted: np.ndarray, worst: np.ndarray
) -> list[Pair]:
  """The pairs of classes that are confused most often, at most `_PAIRS`.

  Args:
    confusion: [true, said] clips.
    worst: numbers of the clips, as `worst_first` gives.
  """
  pairs = []
  for label, said, times in metrics.most_confused(confusion, _PAIRS):
    clips = worst[predicted[worst] == said]
    wrong, right = clips[labels[clips] == label], clips[labels[clips] == said]
    pairs.append(Pair(label, said, times, int(wrong[0]), int(right[-1]) if len(right) else None))
  return pairs


def _worth_a_look(pairs: Sequence[Pair], worst: np.ndarray, count: int) -> list[int]:
  """Numbers of the clips to draw: of the first pairs, a quarter of `count`, then the worst."""
  both = [(pair.wrong, pair.right) for pair in pairs[: max(1, count // 4)]]
  found = [clip for pair in both for clip in pair if clip is not None]
  return list(dict.fromkeys([*found, *worst.tolist()]))[:count]


def _entry(scores: Scores, predicted: np.ndarray, sure: np.ndarray, i: int) -> list[Any]:
  """[name, label, predicted, probability] of a clip, as the page lists it."""
  name, label = scores.names[i], scores.labels[i]
  return [str(name), int(label), int(predicted[i]), round(float(sure[i]), 4)]


def _pair(pair: Pair, entry: Callable[[int], list[Any]]) -> dict[str, Any]:
  clips = {"wrong": entry(pair.wrong)}
  if pair.right is not None:
    clips["right"] = entry(pair.right)
  return {"label": pair.label, "said": pair.said, "times": pair.times} | clips


def _moving(
  workdir: pathlib.Path, config: Mapping[str, Any], folder, targets: Mapping[str, int], trust: bool
) -> tuple[dict[str, Any], list[str]]:
  """The skeleton and these clips, for the page, and what is missing of them.

  Args:
    targets: clip's name -> class that was said.
  """
  data = config.get("data", {})
  path = folder or pathlib.Path(str(data.get("dir", ""))) / str(data.get("name", ""))
  try:
    data_set = open_data_set(path)
    rows = {name: row for row, name in enumerate(data_set.table["name"].tolist())}
    names = [name for name in targets if name in rows]
    clips = {name: drawing(data_set, rows[name]) for name in names}
  except DataError as error:
    if folder is not None:  # asked for by name
      raise
    return {}, [f"no moving skeletons, its data set is not here ({error})"]
  if not clips:
    return {}, [f"no moving skeletons, {path} has other clips"]
  skeleton = data_set.skeleton
  right = {b for _, b in skeleton.mirror or ()}
  sides = [i in right for i in range(skeleton.num_joints)]
  bones = [list(bone) for bone in skeleton.inward]
  moving = {"bones": bones, "right": sides, "clips": clips}
  try:
    step = Scores.step(fusion.scores_file(workdir))
    of = [rows[name] for name in names], [targets[name] for name in names]
    weights = decided.of_clips(workdir, data_set, *of, step=step, trust=trust)
  except (ConfigError, DataError) as error:
    return moving | {"undecided": True}, [f"nothing of what decided the clips ({error})"]
  for clip, of_clip in zip(clips.values(), weights, strict=True):
    some = np.round(255 * of_clip[:, :: clip["step"]]).astype(np.uint8)
    clip["weights"] = base64.b64encode(some.tobytes()).decode()
    clip["decided"] = explain.in_words(of_clip, skeleton, 3)
  return moving, []


def drawing(data_set: DataSet, row: int) -> dict[str, Any]:
  """A clip for the page: how many persons, frames, joints, and base64 of int16 x, y, z of each.

  x to the right, y up, z towards who looks, from -30000 to 30000; `_UNTRACKED` where nothing is.
  """
  clip = scene.padded(data_set.read([row])[0])
  seen = skeletons.tracked(clip, data_set.stored_joint_at_zero)
  points, flat = scene.upright(clip, seen, data_set.skeleton, data_set.coordinates)
  # Of all frames: in those that are shown nobody may be.
  low, high = (np.percentile(points[seen], q, axis=0) for q in (0.3, 99.7))
  middle, size = (low + high) / 2, max(float((high - low).max()), 1e-6)
  scaled = np.clip((points - middle) / size * 30000, -32000, 32000)
  step = -(-clip.shape[1] // _FRAMES)
  scaled = np.where(seen[..., None], scaled, _UNTRACKED).astype("<i2")[:, ::step]
  return {
    "shape": list(scaled.shape[:3]),
    "flat": flat,
    "step": step,
    "points": base64.b64encode(scaled.tobytes()).decode(),
  }
