"""Count what a prepared data set holds, and draw how long its clips are."""

import argparse
import csv
import pathlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tqdm

from data_prep.look import show
from mstgcn_jax import files, skeletons, words
from mstgcn_jax.data import protocols
from mstgcn_jax.data.data_set import REPORT, DataSet, open_data_set, say_copies
from mstgcn_jax.errors import ConfigError, DataError

_CHUNK = 256  # clips read at a time
_MANY = 40  # rows of a list that are all printed
_BAR = 24  # characters


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """DATA_SET, --out."""
  parser.add_argument("data_set", type=pathlib.Path, metavar="DATA_SET", help="such as data/ntu60")
  parser.add_argument(
    "--out",
    type=pathlib.Path,
    metavar="FILE",
    help="the histogram, a .png (default: histogram.png in the data set's folder)",
  )


def run(args: argparse.Namespace) -> None:
  """Prints the counts and writes the histogram."""
  if args.out is not None and args.out.suffix.lower() != ".png":
    raise ConfigError(f"--out {args.out} must end in .png")
  data = open_data_set(args.data_set)
  print("\n".join(describe(data)))
  path = args.out or data.path / "histogram.png"
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    histogram(data, path)
  except OSError as error:
    raise DataError(f"{path} cannot be written: {error.strerror}; choose another --out") from error
  print(f"\nhistogram: {path}")


def describe(data: DataSet) -> Iterator[str]:
  """The printed lines."""
  skeleton, table = data.skeleton, data.table
  size = sum(shard["bytes"] for shard in data.shards) / 1e6
  yield f"{data.name} {data.version}: {data.path}"
  clips, classes = words.counted(len(data), "clip"), words.counted(len(data.class_names), "class")
  yield (
    f"  {clips} of {classes}, {size:,.1f} MB; "
    f"{skeleton.num_joints} joints ({skeleton.name}), {data.channels} channels"
  )
  beyond = "loops" if data.fill == "loop" else "is untracked"
  yield f"  beyond its end a person {beyond}; {_normalised(data)}"
  yield f"  coordinates: {_coordinates(data)}"
  if not len(data):
    return
  frames = table["frames"]
  low, median, high = np.percentile(frames, [0, 50, 100]).astype(int)
  yield f"  frames: {low} to {high}, median {median}, mean {frames.mean():.1f}"
  persons = _counts(table["persons"])
  yield "  persons: " + ", ".join(
    f"{n} in {words.counted(count, 'clip')}" for n, count in persons.items()
  )
  empty, joints = missing(data)
  yield f"  missing: {empty:.2%} of a person's frames, {joints:.2%} of the joints in the rest"
  left_out = _left_out(data)
  if left_out:
    yield f"  left out: {left_out:,} recordings, listed in {data.path / REPORT}"
  if data.copies:
    said = say_copies(data.copies, data.column("name"))
    yield f"  copies: {words.counted(len(data.copies), 'clip')} of earlier ones ({said})"
  if data.missing_facts:
    yield f"  not known of these clips: {', '.join(data.missing_facts)}"

  counts = np.bincount(table["label"], minlength=len(data.class_names))
  numbered = [f"{i:>{len(str(len(counts)))}} {name}" for i, name in enumerate(data.class_names)]
  yield from _block("class", dict(zip(numbered, counts.tolist(), strict=True)))
  for column in ("subject", "camera", "setup"):
    if column in table:
      yield from _block(column, _counts(table[column]))
  yield from _protocols(data)


def missing(data: DataSet) -> tuple[float, float]:
  """Shares of untracked frames in the persons' spans, and of untracked joints in the rest."""
  frames = empty = joints = lost = 0
  starts = range(0, len(data), _CHUNK)
  for start in tqdm.tqdm(starts, desc="reading", leave=False, disable=None):
    for persons in data.read(range(start, min(start + _CHUNK, len(data)))):
      for i, person in enumerate(persons):
        (seen,) = skeletons.tracked(person[None], None if i else data.stored_joint_at_zero)
        some = seen.any(axis=-1)
        frames += some.size
        empty += int(some.size - some.sum())
        joints += int(some.sum()) * seen.shape[-1]
        lost += int((~seen[some]).sum())
  return empty / max(frames, 1), lost / max(joints, 1)


def _normalised(data: DataSet) -> str:
  if data.rotated is None:
    return "turned and centred as the arrays were"
  joint = "" if data.center is None else data.skeleton.joints[data.center]
  center = f"centred on {joint}" if joint else "not centred"
  if not data.rotated:
    return f"{center}; not turned"
  way = "turned upright" if data.skeleton.vertical is not None else "turned to the front"
  return f"{center}; {way}"


def _coordinates(data: DataSet) -> str:
  """What the numbers of a joint are, as the data set's facts have it."""
  facts = data.coordinates
  if not facts:
    return "units, direction and meaning not known to the source"
  said = [", ".join(facts.get("channels", ())) or f"{data.channels} channels"]
  said.append(f"in {facts['units']}" if facts.get("units") else "units not known")
  if facts.get("picture"):
    said[-1] += " of {:g} x {:g} pixels".format(*facts["picture"])
  up = facts.get("up")
  said.append(f"{up} points up" if up else "which way is up is not known")
  return "; ".join(said)


def _left_out(data: DataSet) -> int:
  try:
    with (data.path / REPORT).open(newline="", encoding="utf-8") as file:
      return max(0, sum(1 for _ in csv.reader(file)) - 1)
  except (OSError, ValueError, csv.Error):
    return 0


def _counts(values: np.ndarray) -> dict[Any, int]:
  unique, counts = np.unique(values, return_counts=True)
  return dict(zip(unique.tolist(), counts.tolist(), strict=True))


def _block(title: str, counts: Mapping[Any, int]) -> Iterator[str]:
  """A list of counts with bars; of a long one, the ends."""
  yield ""
  rows = list(counts.items())
  if len(rows) > _MANY:
    yield f"  {len(rows)} values of {title}; the most and the least frequent:"
    rows = sorted(rows, key=lambda row: -row[1])
    rows = [*rows[:5], None, *rows[-5:]]
  width = max(len(str(row[0])) for row in rows if row)
  most = max(counts.values()) or 1
  for row in rows:
    if row is None:
      yield f"  {'':8}  …"
      continue
    bar = "█" * round(_BAR * row[1] / most)
    yield f"  {title:8}  {row[0]!s:{width}}  {row[1]:>7,}  {bar}".rstrip()


def _protocols(data: DataSet) -> Iterator[str]:
  """How many clips each protocol that the facts allow trains and evaluates with."""
  given = [name for name in data.table if name == "split" or name.startswith("split_")]
  names = [f"given:column={name}" if name != "split" else "given" for name in given]
  numbers = {name for name, values in data.table.items() if values.dtype.kind == "i"}
  if {"subject", "camera", "setup"} <= numbers:
    names = ["xsub", "xview", "xset", *names]
  if "subject" in numbers:
    names = ["cross_subject", *names]
  if not names:
    return
  yield ""
  width = max(map(len, names))
  for name in names:
    train, evaluate = protocols.split(data, name)
    copies = len(data.copies_of(train, evaluate))
    yield (
      f"  protocol  {name:{width}}  {len(train):>7,} train  {len(evaluate):>7,} evaluate"
      + (f", {copies:,} of them copies of training clips" if copies else "")
    )


def histogram(data: DataSet, path: pathlib.Path) -> None:
  """Draws the lengths of the clips by their number of persons, and the clips of each class."""
  from matplotlib.figure import Figure

  table = data.table
  names = list(data.class_names)
  counts = np.bincount(table["label"], minlength=len(names))
  few = len(names) <= _MANY
  height = max(4.2, 1.2 + 0.2 * len(names)) if few else 4.2
  figure = Figure(figsize=(12, height), layout="constrained")
  left, right = figure.subplots(1, 2)
  persons = np.unique(table["persons"]).tolist()
  lengths = [table["frames"][table["persons"] == count] for count in persons]
  colors = [tuple(channel / 255 for channel in color) for color in show.COLORS]
  labels = [words.counted(count, "person") for count in persons]
  left.hist(
    lengths,
    bins=40,
    stacked=True,
    color=[colors[i % len(colors)] for i in range(len(persons))],
    label=labels,
  )
  left.set(xlabel="frames", ylabel="clips", title="length")
  if len(persons) > 1:
    left.legend(frameon=False)
  right.set(title="clips of each class")
  if few:
    right.barh(range(len(names)), counts, color=colors[0])
    right.set_yticks(range(len(names)), names, parse_math=False)
    right.set(xlabel="clips", ylim=(len(names) - 0.4, -0.6))
    right.tick_params(axis="y", labelsize=8, length=0)
  else:
    right.bar(range(len(names)), counts, color=colors[0], width=1)
    right.set(xlabel="class number, from 0", ylabel="clips", xlim=(-0.5, len(names) - 0.5))
  for axes, axis in ((left, left.yaxis), (right, right.xaxis if few else right.yaxis)):
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=axis.axis_name, alpha=0.3)
    axes.set_axisbelow(True)
    axis.get_major_locator().set_params(integer=True)
  left.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)  # all may be of one length
  figure.suptitle(
    f"{data.name} {data.version}: {words.counted(len(data), 'clip')}", fontweight="bold"
  )
  with files.written_whole(path) as aside, warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Glyph")  # class names in an alphabet that the font lacks
    figure.savefig(aside, dpi=130, format="png")
