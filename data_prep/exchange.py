"""What the formats that people exchange have in common: options, and facts found in names."""

import argparse
import pathlib
import re
import reprlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from data_prep import normalise, ntu
from mstgcn_jax import skeletons
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.skeletons import Skeleton

_MAX_CLASSES = 10_000
_SPLIT = re.compile(r"(?P<protocol>.*?)[_-]?(?P<part>train|val|test)[_-]?(?P<number>\d*)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """--skeleton and --classes."""
  parser.add_argument(
    "--skeleton",
    metavar="NAME",
    help=f"joint layout: {', '.join(skeletons.names())} or a .json file (default: by joint count)",
  )
  parser.add_argument(
    "--classes", type=pathlib.Path, metavar="FILE", help="class names, one a line, in label order"
  )


def add_as_is(parser: argparse.ArgumentParser) -> None:
  """--as-is."""
  parser.add_argument(
    "--as-is",
    action="store_true",
    help="take 3-D coordinates as they are: neither turned upright nor centred",
  )


def score_warnings(clip: np.ndarray, skeleton: Skeleton) -> list[str]:
  """A line to print where a clip [..., 3] to be turned or centred seems to hold x, y, score."""
  third = clip[..., 2]
  moved = normalise.turns(skeleton) or skeleton.center is not None
  if not (moved and third.any() and third.min() >= 0 and third.max() <= 1):
    return []
  return [
    "the third channel lies between 0 and 1, as a score does, but is turned or centred as a "
    "coordinate; if it is none, prepare again with --as-is --overwrite"
  ]


def skeleton_for(args: argparse.Namespace, num_joints: int) -> Skeleton:
  """The layout asked for, or the only one with so many joints.

  Raises:
    ConfigError: none or several have so many joints, or there is no such layout.
    DataError: the layout asked for has another number of joints.
  """
  if args.skeleton is None:
    fitting = [name for name in skeletons.names() if skeletons.get(name).num_joints == num_joints]
    if len(fitting) == 1:
      return skeletons.get(fitting[0])
    found = f"fits {' and '.join(fitting)}" if fitting else "fits no known layout"
    raise ConfigError(
      f"the clips have {num_joints} joints, which {found}; say which with --skeleton NAME, or "
      "--skeleton FILE.json for a layout of your own, such as "
      '{"name": "arm", "joints": ["shoulder", "elbow", "hand"], "inward": [["elbow", "shoulder"], '
      '["hand", "elbow"]]}, where inward pairs every joint with the one it hangs on'
    )
  skeleton = skeletons.resolve(args.skeleton)
  if skeleton.num_joints != num_joints:
    raise DataError(
      f"the clips have {num_joints} joints, skeleton {skeleton.name} has {skeleton.num_joints}; "
      "choose another with --skeleton"
    )
  return skeleton


def class_names(args: argparse.Namespace, labels: Iterable[int]) -> tuple[str, ...]:
  """Names from --classes, which must be enough for the labels; else the labels' numbers."""
  highest = max(labels, default=-1)
  if highest < 0:
    raise DataError("no recording has a label of 0 or more")
  if args.classes is None:
    if highest >= _MAX_CLASSES:
      raise DataError(f"label {highest} is beyond the {_MAX_CLASSES:,} classes allowed for")
    return tuple(str(label) for label in range(highest + 1))
  try:
    lines = args.classes.read_text(encoding="utf-8-sig").splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise ConfigError(f"--classes {args.classes} cannot be read: {error}") from error
  names = tuple(line.strip() for line in lines if line.strip())
  if len(names) <= highest or len(set(names)) < len(names):
    raise ConfigError(
      f"--classes {args.classes} has {len(names)} names, {len(set(names))} of them different; the "
      f"labels go up to {highest}, so {highest + 1} different ones are needed"
    )
  return names


def map_npy(path: pathlib.Path) -> np.ndarray:
  """A .npy file of numbers, mapped and not read; DataError where it is none or truncated."""
  try:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
  except OSError as error:
    raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
  except Exception as error:  # numpy raises many kinds on damaged headers
    raise DataError(f"{path} is not a .npy array, or a truncated one ({error})") from error
  if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":  # an .npz, renamed
    raise DataError(f"{path} holds no array of numbers")
  return array


def shown(value: Any) -> str:
  """A stranger's value as messages show it: shortened, and never all of it spelled out first."""
  try:
    return reprlib.repr(value)
  except (ValueError, RecursionError):  # a number of thousands of digits
    return type(value).__name__


def is_label(value: Any) -> bool:
  """Whether this is a class number, not a truth value, a text or a number without end."""
  return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31


def is_name(value: Any) -> bool:
  """Whether this is a text that can name a clip: not empty, and printable."""
  return isinstance(value, str) and value != "" and value.isprintable()


def as_float32(array: np.ndarray) -> np.ndarray:
  """The numbers as float32; DataError if one is not finite."""
  with np.errstate(over="ignore"):
    array = array.astype(np.float32)
  if not np.isfinite(array).all():
    raise DataError("a coordinate is not a finite number")
  return array


def ntu_facts(names: Collection[str]) -> list[dict[str, int]]:
  """Setup, camera, subject and replication of every clip, if all have names as NTU's; else none."""
  matches = [ntu.NAME.match(name) for name in names]
  if not all(matches):
    return [{} for _ in names]
  fields = ("setup", "camera", "subject", "replication")
  return [dict(zip(fields, map(int, match.groups()), strict=False)) for match in matches if match]


def split_warnings(strange: Iterable[str]) -> list[str]:
  """A line to print for every split that `split_columns` did not understand."""
  return [f"the split {key!r} is left out: not a train, val or test part" for key in strange]


def split_columns(
  splits: Mapping[str, Collection[str]],
) -> tuple[dict[str, dict[str, str]], list[str]]:
  """Columns of the clip table from given splits, {"xsub_train": names, "xsub_val": names, …}.

  `train`, `val` become column 'split', `NAME_train`, `NAME_val` column 'split_NAME', with values
  'train' and 'val'. A test part is the 'val' of its column; if there is a validation part beside
  it, of a further column that ends in 'test'.

  Returns:
    Column -> clip name -> value; and the splits that could not be understood.
  Raises:
    DataError: a clip is in both parts of a split.
  """
  parts: dict[tuple[str, str], set[str]] = {}
  strange = []
  for key, names in splits.items():
    match = _SPLIT.fullmatch(key.lower())
    if match is None:
      strange.append(key)
      continue
    protocol = re.sub(r"[^a-z0-9]+", "_", match["protocol"] + match["number"]).strip("_")
    parts.setdefault((protocol, match["part"]), set()).update(names)

  columns: dict[str, dict[str, str]] = {}
  for protocol in dict.fromkeys(protocol for protocol, _ in parts):
    held_out = [part for part in ("val", "test") if (protocol, part) in parts]
    for part in held_out or ["val"]:
      extra = part if part == "test" and len(held_out) > 1 else ""
      train, val = parts.get((protocol, "train"), set()), parts.get((protocol, part), set())
      both = sorted(train & val)
      if both:
        raise DataError(f"{both[0]} is in both parts of the split {protocol or part!r}")
      column = "_".join(filter(None, ("split", protocol, extra)))
      columns[column] = dict.fromkeys(train, "train") | dict.fromkeys(val, "val")
  return columns, strange
