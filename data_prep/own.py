"""One's own recordings: a folder of `.npy` clips, a CSV that describes them, maybe a skeleton.

clips.csv          name,label,subject,…     one line a clip; any further columns
wave_anna_1.npy    [frame, joint, channel] or [person, frame, joint, channel]
skeleton.json      joint layout, if it is none of the known ones (skeletons.load)
"""

import argparse
import csv
import dataclasses
import functools
import io
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from data_prep import exchange, files, normalise
from data_prep.source import Clip, Recordings
from mstgcn_jax import skeletons
from mstgcn_jax.errors import DataError
from mstgcn_jax.skeletons import Skeleton

_SKELETON = "skeleton.json"
_WRITTEN = ("persons", "frames")  # columns of the clip table that the preparation fills
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


@dataclasses.dataclass(frozen=True)
class _Line:
  """A line of the CSV."""

  name: str
  label: int
  path: pathlib.Path
  facts: Mapping[str, int | str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """--skeleton, --classes, --as-is."""
  exchange.add_arguments(parser)
  exchange.add_as_is(parser)


def open_raw(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """The clips that the folder's CSV lists."""
  table = _the_table(raw)
  columns = _read_table(table)
  labels, names = _labels(columns.pop("label"), args)
  names_of_clips = columns.pop("name")
  facts = {column: _whole_if_all_are(values) for column, values in columns.items()}
  if "split" in columns:
    facts |= _splits(table, names_of_clips, columns["split"])
  lines = []
  for i, name in enumerate(names_of_clips):
    name = name.removesuffix(".npy")
    fact = {column: values[i] for column, values in facts.items()}
    lines.append(_Line(name, labels[i], raw / f"{name}.npy", fact))
  first = _first_clip(lines)
  *_, joints, channels = first.shape
  skeleton = _skeleton(raw, args, joints)
  # A rotation needs three coordinates; three channels are taken for such unless --as-is.
  as_is = args.as_is or channels != 3
  unlisted = {path.stem for path in files.find(raw, ".npy")} - {line.path.stem for line in lines}
  warnings = [] if as_is else exchange.score_warnings(first, skeleton)
  if unlisted:
    some = f"{len(unlisted):,} .npy files are not in {table.name}, such as {min(unlisted)}.npy"
    warnings.append(some)
  unused = sorted(set(range(len(names))) - set(labels))
  if unused and args.classes is None:
    some = f"{len(unused)} of {len(names)} classes have no clip, such as {names[unused[0]]}"
    warnings.append(f"{some}: labels that are numbers count from 0")
  return Recordings(
    keys=lines,
    read=functools.partial(read_clip, skeleton=skeleton, channels=channels, as_is=as_is),
    skeleton=skeleton,
    class_names=names,
    channels=channels,
    fill="loop",
    center=None if as_is else skeleton.center,
    rotated=not as_is and normalise.turns(skeleton),
    warnings=tuple(warnings),
  )


def read_clip(line: _Line, *, skeleton: Skeleton, channels: int, as_is: bool) -> Clip:
  """One clip, upright unless `as_is`."""
  if line.label < 0:
    raise DataError("the CSV gives it no label; expected a name, or a number from 0")
  array = _load(line)
  if array.ndim == 3:
    array = array[None]
  expected = (skeleton.num_joints, channels)
  if array.shape[2:] != expected:
    raise DataError(
      f"the clip has the shape {array.shape}; expected [person, frame, {expected[0]} joints of "
      f"{skeleton.name}, {channels} channels] as in the first clip"
    )
  persons = list(exchange.as_float32(array[...]))
  if as_is:
    persons = normalise.cut_together(persons)
  else:
    persons = normalise.normalise(persons, skeleton, by_sum=False)
  return Clip(line.name, line.label, persons, line.facts)


def _load(line: _Line) -> np.ndarray:
  name, path = pathlib.PurePath(line.name), line.path
  if not exchange.is_name(line.name) or name.is_absolute() or ".." in name.parts:
    raise DataError(f"{line.name!r} is not the name of a clip below --raw")
  array = exchange.map_npy(path)
  if array.ndim not in (3, 4) or 0 in array.shape:
    raise DataError(
      f"{path} has the shape {array.shape}; expected [frame, joint, channel] or "
      "[person, frame, joint, channel]"
    )
  return array


def _first_clip(lines: Sequence[_Line]) -> np.ndarray:
  problem = None
  for line in lines:
    try:
      return _load(line)
    except DataError as error:
      problem = problem or error
  raise DataError(f"no clip can be read (first: {problem})")


def _skeleton(raw: pathlib.Path, args: argparse.Namespace, num_joints: int) -> Skeleton:
  if args.skeleton is None and (raw / _SKELETON).exists():
    skeleton = skeletons.load(raw / _SKELETON)
    if skeleton.num_joints != num_joints:
      raise DataError(
        f"the clips have {num_joints} joints, {raw / _SKELETON} has {skeleton.num_joints}"
      )
    return skeleton
  return exchange.skeleton_for(args, num_joints)


def _the_table(raw: pathlib.Path) -> pathlib.Path:
  if not raw.is_dir():
    raise DataError(f"--raw {raw} is not a folder; expected one with a CSV and .npy clips")
  tables = sorted(raw.glob("*.csv"))
  if len(tables) != 1:
    found = ", ".join(path.name for path in tables) or "none"
    raise DataError(f"--raw {raw} needs one CSV with the columns name and label; found: {found}")
  return tables[0]


def _read_table(path: pathlib.Path) -> dict[str, list[str]]:
  """Column -> its texts; commas, semicolons or tabs separate."""
  try:
    text = path.read_bytes().decode("utf-8-sig")
  except OSError as error:
    raise DataError(f"{path} cannot be read: {error.strerror}") from error
  except UnicodeDecodeError as error:
    raise DataError(f"{path} is not UTF-8 text ({error}); save it as CSV UTF-8") from error
  first = text.partition("\n")[0]
  delimiter = max(",;\t", key=first.count)
  try:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows, numbers = [], []
    for row in reader:
      if any(map(str.strip, row)):
        rows.append([cell.strip() for cell in row])
        numbers.append(reader.line_num)
  except csv.Error as error:
    raise DataError(f"{path} is not a CSV ({error})") from error
  header = rows[0] if rows else []
  for column in ("name", "label"):
    if column not in header:
      raise DataError(
        f"{path} has no column {column!r}; its first line is {','.join(header)!r:.80}"
      )
  for i, column in enumerate(header):
    if not column or not column.isprintable() or column in header[:i]:
      raise DataError(f"{path}: column {i + 1} is called {column!r}, which is empty or there twice")
    if column in _WRITTEN:
      raise DataError(f"{path}: column {column!r} is filled by the preparation; rename it")
  for number, row in zip(numbers[1:], rows[1:], strict=True):
    if len(row) != len(header):
      raise DataError(f"{path}: line {number} has {len(row)} fields, the first {len(header)}")
  if len(rows) < 2:
    raise DataError(f"{path} lists no clip")
  return {column: [row[i] for row in rows[1:]] for i, column in enumerate(header)}


def _labels(texts: list[str], args: argparse.Namespace) -> tuple[list[int], tuple[str, ...]]:
  """Class numbers and names: labels are numbers from 0, or names (in alphabetical order)."""
  values = _whole_if_all_are([text or "-1" for text in texts])  # no label: a bad recording
  if isinstance(values[0], int):
    return values, exchange.class_names(args, values)
  if args.classes is not None:
    names = exchange.class_names(args, [0])
    unknown = sorted(set(texts) - set(names))
    if unknown:
      raise DataError(f"label {unknown[0]!r} is not among the names of {args.classes}")
  else:
    names = tuple(sorted(set(texts) - {""}))
    if not all(map(exchange.is_name, names)):
      raise DataError("a label is not printable text")
  numbers = {name: i for i, name in enumerate(names)} | {"": -1}
  return [numbers[text] for text in texts], names


def _splits(table: pathlib.Path, names: list[str], texts: list[str]) -> dict[str, list[str]]:
  """The columns of the split (exchange.split_columns), from train, val, test or nothing."""
  members: dict[str, list[str]] = {}
  for name, text in zip(names, texts, strict=True):
    if text.lower() not in ("train", "val", "test", ""):
      raise DataError(f"{table}: split {text!r} is none of train, val, test")
    if text:
      members.setdefault(text.lower(), []).append(name)
  columns, _ = exchange.split_columns(members)
  return {column: [of.get(name, "") for name in names] for column, of in columns.items()}


def _whole_if_all_are(texts: list[str]) -> list[int] | list[str]:
  if all(_WHOLE.fullmatch(text) for text in texts):
    return [int(text) for text in texts]
  return texts
