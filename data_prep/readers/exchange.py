"""What the formats that people exchange have in common: options, given splits, facts in names."""

import argparse
import pathlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_prep.readers import ntu
from mstgcn_jax import skeletons
from mstgcn_jax.data import normalise
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.skeletons import Skeleton

_MAX_CLASSES = 10_000
_SPLIT = re.compile(
  r"(?P<protocol>.*?)[_-]?(?P<part>train[_-]?val(id|idation)?|train(ing)?|val(id|idation)?"
  r"|eval(uation)?|dev|test(ing)?)[_-]?(split|fold)?[_-]?(?P<number>\d*)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """--skeleton and --classes."""
  parser.add_argument(
    "--skeleton",
    metavar="NAME",
    help=f"joint layout: {', '.join(skeletons.names())} or a .json file (default: by joint count)",
  )
  parser.add_argument(
    "--classes", type=pathlib.Path, metavar="FILE", help="class names, one per line, in label order"
  )


def add_turning_arguments(parser: argparse.ArgumentParser) -> None:
  """--skeleton, --classes and --as-is: of clips that may be turned."""
  add_arguments(parser)
  parser.add_argument(
    "--as-is",
    action="store_true",
    help="take 3-D coordinates as they are: neither turned upright nor centred",
  )


def turning_options(args: argparse.Namespace) -> list[str]:
  """--skeleton and --as-is as asked for, to read others so; the layout of a file stays here."""
  named = ["--skeleton", args.skeleton] if args.skeleton in skeletons.names() else []
  return [*(["--as-is"] if args.as_is else []), *named]


def turn(
  persons: Sequence[np.ndarray], skeleton: Skeleton, as_is: bool, upward: str = ""
) -> list[np.ndarray]:
  """A clip's persons turned and cut by `normalise.normalise`; with `as_is` cut alone."""
  if as_is:
    return normalise.cut_together(persons)
  return normalise.normalise(persons, skeleton, by_sum=False, upward=upward)


def turning(skeleton: Skeleton, as_is: bool) -> dict[str, Any]:
  """What `Recordings` have to say of clips that `turn` makes."""
  return {} if as_is else {"center": skeleton.center, "rotated": normalise.turns(skeleton)}


def class_names(args: argparse.Namespace, labels: Iterable[int]) -> tuple[str, ...]:
  """Names from --classes, which must be enough for the labels; else the labels' numbers."""
  highest = max(labels, default=-1)
  if highest < 0:
    raise DataError("no recording has a class number of 0 or more as its label")
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


def ntu_facts(names: Collection[str]) -> list[dict[str, int]]:
  """Setup, camera, subject and replication of every clip, if all have names as NTU's; else none."""
  matches = [ntu.NAME.match(name) for name in names]
  if not all(matches):
    return [{} for _ in names]
  fields = ("setup", "camera", "subject", "replication")
  return [dict(zip(fields, map(int, match.groups()), strict=False)) for match in matches if match]


def clip_facts(
  splits: Mapping[str, Collection[str]], names: Sequence[str], called: Sequence[str] | None = None
) -> tuple[list[dict[str, int | str]], list[str]]:
  """Facts of every clip: `ntu_facts` of what it is `called`, by default its name, and its part in
  each of the `split_columns`, whose lines to print are the second thing returned."""
  columns, warnings = split_columns(splits, names)
  facts = zip(names, ntu_facts(called or names), strict=True)
  parts = lambda name: {column: of.get(name, "") for column, of in columns.items()}
  return [fact | parts(name) for name, fact in facts], warnings


def part_of(name: str) -> tuple[str, str] | None:
  """Protocol and part ('train', 'trainval', 'val' or 'test') that a split's name says, if any."""
  match = _SPLIT.fullmatch(name.lower())
  if match is None:
    return None
  protocol = re.sub(r"[^a-z0-9]+", "_", match["protocol"] + match["number"]).strip("_")
  part = re.sub("[^a-z]|(ing|id|idation)$", "", match["part"])
  return protocol, "val" if part in ("evaluation", "eval", "dev") else part


def split_columns(
  splits: Mapping[str, Collection[str]], names: Collection[str]
) -> tuple[dict[str, dict[str, str]], list[str]]:
  """Columns of the clip table from given splits, {"xsub_train": names, "xsub_val": names, …}.

  `train`, `val` become column 'split', `NAME_train`, `NAME_val` column 'split_NAME', with values
  'train' and 'val'. A test part is the 'val' of its column; if there is a validation part beside
  it, of a further column that ends in 'test'. A part `trainval` is what trains where `test` tests.

  Args:
    splits: with capitals or not.
    names: of the clips that there are.
  Returns:
    Column -> clip name -> value, without columns that no clip is in; and lines to print.
  Raises:
    DataError: a clip is in both parts of a split.
  """
  parts: dict[tuple[str, str], set[str]] = {}
  known = set(names)
  warnings = []
  for key, members in splits.items():
    place = part_of(key)
    if place is None:
      warnings.append(f"the split {key!r} is left out: not a train, val or test part")
      continue
    absent = set(members) - known
    if absent:
      warnings.append(
        f"the split {key!r} names {len(absent):,} clips (of {len(set(members)):,}) that are not "
        f"there, such as {min(absent)!r}; one that is there is called {min(known, default='')!r}"
      )
    parts.setdefault(place, set()).update(set(members) & known)

  columns: dict[str, dict[str, str]] = {}
  for protocol in dict.fromkeys(protocol for protocol, _ in parts):
    for suffix, train, val in _trials({part: parts[p, part] for p, part in parts if p == protocol}):
      both = sorted(train & val)
      if both:
        raise DataError(f"{both[0]} is in both parts of the split {protocol or suffix or 'val'!r}")
      column = "_".join(filter(None, ("split", protocol, suffix)))
      if train or val:
        columns[column] = dict.fromkeys(train, "train") | dict.fromkeys(val, "val")
      warnings += _empty_part_warnings(column, train, val)
  return columns, warnings


def _trials(parts: Mapping[str, set[str]]) -> Iterator[tuple[str, set[str], set[str]]]:
  """What trains and what evaluates, with a suffix for the column, from the parts of a protocol."""
  empty: set[str] = set()
  train, both = parts.get("train", empty), parts.get("trainval", empty)
  if "val" in parts or "test" not in parts:
    yield "", train or both - parts.get("val", empty), parts.get("val", empty)
  if "test" in parts:
    yield "test" if "val" in parts else "", both or train, parts["test"]


def _empty_part_warnings(column: str, train: set[str], val: set[str]) -> list[str]:
  if not train and not val:
    return [f"the column {column!r} is left out: none of the clips of its parts is there"]
  if not train or not val:
    return [f"the column {column!r} has no clip that {'evaluates' if train else 'trains'}"]
  return []
