"""One's own recordings: a folder of `.npy` clips, a CSV that describes them, maybe a skeleton.

clips.csv          name,label,subject,…     one line per clip; any further columns
wave_anna_1.npy    [frame, joint, channel] or [person, frame, joint, channel]
skeleton.json      joint layout, if it is none of the known ones (skeletons.load)
"""

import argparse
import dataclasses
import functools
import os
import pathlib
import re
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

from data_prep import layouts, raw_files, raw_values
from data_prep.readers import exchange, tables
from data_prep.readers.interface import Clip, Coordinates, Recordings
from mstgcn_jax import skeletons, words
from mstgcn_jax.errors import DataError
from mstgcn_jax.skeletons import Skeleton

_SKELETON = "skeleton.json"
_LOOKED_AT = 1000  # clips that say how many joints and channels they have
_FEW = 50  # of these, clips that say what layout


@dataclasses.dataclass(frozen=True)
class _Line:
  """A line of the CSV."""

  name: str
  label: int
  path: pathlib.Path
  facts: Mapping[str, int | str]


def open_raw(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """The clips that the folder's CSV lists."""
  table = _the_table(raw)
  columns = tables.read_table(table)
  labels, names = tables.labels(columns.pop("label"), args)
  names_of_clips = columns.pop("name")
  facts, warnings = tables.facts(table, columns, names_of_clips)
  files = [path for path in raw_files.walk(raw) if path.suffix.lower() == ".npy"]
  spelt = _by_spelling(raw, files)
  lines = []
  for name, label, fact in zip(names_of_clips, labels, facts, strict=True):
    name = re.sub(r"\.npy$", "", name, flags=re.I).removeprefix("./")
    lines.append(_Line(name, label, _path(raw, name, spelt), fact))
  clips = _usual(lines)
  doubts = layouts.check_axes([clip.shape for clip in clips])
  warnings += doubts
  channels = clips[0].shape[-1]
  skeleton, notes = _skeleton(raw, args, clips, doubts)
  # A rotation needs three coordinates. Where the layout says how to turn or centre clips, three
  # channels are taken for such unless --as-is; elsewhere the third may be a score.
  as_is = args.as_is or channels != 3 or not layouts.moves(skeleton)
  warnings += [] if as_is else layouts.score_warnings(clips, skeleton)
  coordinates, more = _coordinates(clips, skeleton, as_is)
  if coordinates.channels and "z" not in coordinates.channels:
    warnings += layouts.corner_warnings(clips)
  warnings += _unlisted_warnings(raw, table, lines, files)
  unused = sorted(set(range(len(names))) - set(labels))
  if unused and args.classes is None:
    some = f"{len(unused)} of {len(names)} classes have no clip, such as {names[unused[0]]}"
    warnings.append(f"{some}: labels that are numbers count from 0")
  return Recordings(
    keys=lines,
    read=functools.partial(
      read_clip,
      skeleton=skeleton,
      channels=channels,
      as_is=as_is,
      scored="score" in coordinates.channels,
    ),
    skeleton=skeleton,
    class_names=names,
    channels=channels,
    **exchange.turning(skeleton, as_is),
    coordinates=coordinates,
    notes=(*notes, *more),
    warnings=tuple(warnings),
  )


def read_clip(
  line: _Line, *, skeleton: Skeleton, channels: int, as_is: bool, scored: bool = False
) -> Clip:
  """One clip, upright unless `as_is`; a joint is untracked where it is NaN or `scored` 0."""
  array = _load(line)
  if array.ndim == 3:
    array = array[None]
  expected = (skeleton.num_joints, channels)
  if array.shape[2:] != expected:
    raise DataError(
      f"the clip has the shape {array.shape}; expected [person, frame, {expected[0]} joints of "
      f"{skeleton.name}, {channels} channels] as most clips have"
    )
  array = raw_values.as_float32(raw_values.without_nan(array[...]))
  if scored:
    array = skeletons.without_unscored(array)
  persons = exchange.turn(list(array), skeleton, as_is)
  return Clip(line.name, line.label, persons, line.facts)


def _by_spelling(raw: pathlib.Path, files: Sequence[pathlib.Path]) -> dict[str, list[pathlib.Path]]:
  """Files below --raw by `_folded` name."""
  found: dict[str, list[pathlib.Path]] = {}
  for path in files:
    found.setdefault(_folded(path.relative_to(raw).with_suffix("").as_posix()), []).append(path)
  return found


def _folded(name: str) -> str:
  """A name without case, and with one spelling of its accents, of which macOS uses another."""
  return unicodedata.normalize("NFC", name).casefold()


def _path(
  raw: pathlib.Path, name: str, spelt: Mapping[str, Sequence[pathlib.Path]]
) -> pathlib.Path:
  """The clip's file: the only one of this name, however it is spelt, or the one spelt just so."""
  alike = spelt.get(_folded(name), ())
  return alike[0] if len(alike) == 1 else raw / f"{name}.npy"


def _load(line: _Line) -> np.ndarray:
  name, path = pathlib.PurePath(line.name), line.path
  if not raw_values.is_name(line.name) or name.is_absolute() or ".." in name.parts:
    raise DataError(f"{line.name!r} is not the name of a clip below --raw")
  array = raw_files.map_npy(path)
  if array.ndim not in (3, 4) or 0 in array.shape:
    raise DataError(
      f"{path} has the shape {array.shape}; expected [frame, joint, channel] or "
      "[person, frame, joint, channel]"
    )
  return array


def _usual(lines: Sequence[_Line]) -> list[np.ndarray]:
  """Of some clips, a few of the joints and channels that most have."""
  some = raw_values.some(lines, _LOOKED_AT)
  alike = raw_values.alike(some, lambda line: _load(line).shape[-2:], "no clip can be read")
  return [raw_values.plausible(_load(line)) for line in raw_values.some(alike, _FEW)]


def _skeleton(
  raw: pathlib.Path,
  args: argparse.Namespace,
  clips: Sequence[np.ndarray],
  doubts: Sequence[str],
) -> tuple[Skeleton, tuple[str, ...]]:
  if args.skeleton is None and (raw / _SKELETON).exists():
    skeleton = skeletons.load(raw / _SKELETON)
    num_joints = clips[0].shape[-2]
    if skeleton.num_joints != num_joints:
      raise DataError(
        f"the clips have {num_joints} joints, {raw / _SKELETON} has {skeleton.num_joints}"
      )
    return skeleton, ()
  return layouts.skeleton_for(args.skeleton, clips, doubts)


def _coordinates(
  clips: Sequence[np.ndarray], skeleton: Skeleton, as_is: bool
) -> tuple[Coordinates, tuple[str, ...]]:
  """What can be said of coordinates that nobody describes, and lines to print."""
  if not as_is:
    return layouts.turned(skeleton), ()
  names = layouts.channel_names(clips)
  if not names or "z" in names:
    return Coordinates(names), ()
  said = "the third channel lies between 0 and 1: taken for a score; " if "score" in names else ""
  for up, other in (("-y", "y"), ("y", "-y")):
    if raw_values.majority(layouts.upside_down(clip, skeleton, other) for clip in clips):
      return Coordinates(names, up=up), (f"{said}heads lie towards {up}: it is taken to point up",)
  return Coordinates(names), (said.removesuffix("; "),) if said else ()


def _unlisted_warnings(
  raw: pathlib.Path, table: pathlib.Path, lines: Sequence[_Line], files: Sequence[pathlib.Path]
) -> list[str]:
  """A line to print where there are clips that the table does not list."""
  listed = {os.path.normpath(line.path) for line in lines}
  unlisted = [path for path in files if os.path.normpath(path) not in listed]
  unlisted = [path for path in unlisted if not raw_files.is_pointer(path)]
  if not unlisted:
    return []
  first = min(unlisted, key=lambda path: (path.name, str(path))).relative_to(raw)
  return [f"{len(unlisted):,} .npy files are not in {table.name}, such as {first}"]


def _the_table(raw: pathlib.Path) -> pathlib.Path:
  if not raw.is_dir():
    raise DataError(f"--raw {raw} is not a folder; expected one with a CSV and .npy clips")
  tables = sorted(
    path
    for path in raw.iterdir()
    if path.suffix.lower() == ".csv" and not raw_files.is_hidden(path.name)
  )
  if len(tables) != 1:
    found, hint = words.listed([path.name for path in tables], 5) or "none", ""
    if not tables and any(path.suffix.lower() == ".json" for path in raw_files.walk(raw)):
      hint = "; if a pose estimator wrote the .json files there, the source poses reads them"
    elif len(tables) > 2:
      hint = "; clips are .npy files here; as .csv of MediaPipe the source poses reads them"
    raise DataError(
      f"--raw {raw} needs one CSV with the columns name and label; found: {found}{hint}"
    )
  return tables[0]
