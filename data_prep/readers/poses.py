"""The output of pose estimators: a folder with a file or folder per clip, in folders by class.

    raw/wave/anna_1/anna_1_000000000000_keypoints.json …    OpenPose: one file per frame
    raw/wave/anna_1.json                                    AlphaPose, COCO, MMPose, MediaPipe
    raw/clips.csv                                           name,label,subject,… instead of classes

Which estimator it was is seen from the files, and said; `--format` decides. People are followed
through the frames (`linking`), and those who move most are kept. Key points in a picture become
fractions of it about its middle, y up, with their scores; world coordinates are turned upright as
far as the layout says how. A key point that is NaN, at 0, 0 or has a score of 0 is untracked.
"""

import argparse
import collections
import dataclasses
import functools
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from data_prep import layouts, linking, raw_files, raw_values
from data_prep.decode import formats, mediapipe, people
from data_prep.decode.people import Poses
from data_prep.readers import exchange, tables
from data_prep.readers.interface import FRACTIONS, Clip, Coordinates, Recordings
from mstgcn_jax import words
from mstgcn_jax.data import normalise
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.skeletons import Skeleton

_LOOKED_AT = 30  # clips that say what layout and picture the recordings have
_WHOLE_BODIES = {133: 17, 136: 26}  # key points of which the first are the body's
_PICTURES = ((640, 480), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160))


@dataclasses.dataclass(frozen=True)
class _Recording:
  """A clip's files, and what is known of it besides; `name` is its path below the class."""

  name: str
  paths: tuple[pathlib.Path, ...]
  label: int = -1
  facts: Mapping[str, int | str] = dataclasses.field(default_factory=dict)
  picture: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class _How:
  """What all clips have in common: how they are read; `as_is`, too, where they lie in the plane."""

  format: str
  skeleton: Skeleton
  dimensions: int
  picture: tuple[float, float] | None
  picture_asked: bool
  coordinates: str
  hands: bool
  max_gap: int
  persons: int
  keep: str
  as_is: bool
  up: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """--format, --labels, --image-size, --part, --coordinates, --persons, --keep, --max-gap, …"""
  exchange.add_turning_arguments(parser)
  parser.add_argument(
    "--format",
    choices=tuple(formats.FORMATS),
    help="what the files are (default: seen from them, and said)",
  )
  parser.add_argument(
    "--labels",
    type=pathlib.Path,
    metavar="FILE",
    help="CSV of name,label and further columns (default: the one in --raw; else folder names)",
  )
  parser.add_argument(
    "--image-size",
    type=_size,
    metavar="WIDTHxHEIGHT",
    help="of the pictures in pixels (default: as the files say, else the usual one that holds all "
    "key points, said)",
  )
  parser.set_defaults(usual_picture=None)  # a run's, for recordings that it is to label
  parser.add_argument(
    "--part", choices=("body", "hands"), default="body", help="of OpenPose or MediaPipe Holistic"
  )
  parser.add_argument(
    "--coordinates", choices=("image", "world"), default="", help="of MediaPipe (default: image)"
  )
  parser.add_argument(
    "--persons", type=_whole, default=2, metavar="N", help="people kept of a clip (default 2)"
  )
  parser.add_argument(
    "--keep",
    choices=linking.KEEP,
    default="motion",
    help="who is kept: those who move most, or score highest (default motion)",
  )
  parser.add_argument(
    "--max-gap",
    type=_whole,
    default=linking.MAX_GAP,
    metavar="FRAMES",
    help=f"people not found for longer are others afterwards (default {linking.MAX_GAP})",
  )


def _size(text: str) -> tuple[float, float]:
  match = re.fullmatch(r"([1-9]\d{0,5})[xX×]([1-9]\d{0,5})", text)
  if match is None:
    raise argparse.ArgumentTypeError(f"{text:.40} is no size; expected such as 1920x1080")
  return float(match[1]), float(match[2])


def _whole(text: str) -> int:
  if not text.isdecimal():
    raise argparse.ArgumentTypeError(f"{text} is no whole number of 0 or more")
  return int(text)


def open_raw(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """The clips below a folder, with their labels."""
  if not raw.is_dir():
    raise DataError(f"--raw {raw} is not a folder; expected one with a folder per class")
  if args.persons < 1:
    raise ConfigError("--persons 0 keeps nobody; expected 1 or more")
  table = _the_table(raw, args)
  paths = formats.files(raw, table)
  name = args.format or formats.recognise(raw, paths)
  notes = [f"read as the output of {formats.FORMATS[name].called}; --format decides otherwise"]
  clips = formats.clips(raw, paths, name)
  recordings, class_names, warnings = (
    _by_folder(clips, args) if table is None else _by_table(table, clips, args)
  )
  how, more, coordinates = _look(recordings, name, args)
  kept = {"motion": "who move most", "score": "who score highest"}[how.keep]
  notes.append(
    f"people are followed from frame to frame, over gaps of up to {how.max_gap} frames; of a clip "
    f"the {words.counted(how.persons, 'person')} {kept} are kept"
  )
  return Recordings(
    keys=recordings,
    read=functools.partial(read_recording, how=how),
    skeleton=how.skeleton,
    class_names=class_names,
    channels=3,
    **exchange.turning(how.skeleton, how.as_is),
    upward="" if how.as_is else how.up,
    coordinates=coordinates,
    reading={"poses": _options(args, how.dimensions)},
    notes=(*notes, *more),
    warnings=tuple(warnings),
  )


def read_recording(recording: _Recording, *, how: _How) -> Clip:
  """One clip: fractions of the picture and scores, or metres turned upright."""
  if not recording.paths:
    raise DataError("there are no key points for it below --raw")
  poses = formats.decode(recording.paths, how.format, how.coordinates, hands=how.hands)
  frames = [[_body(person) for person in frame] for frame in poses.frames]
  for person in (person for frame in frames for person in frame):
    if person.points.shape != (how.skeleton.num_joints, how.dimensions):
      raise DataError(
        f"a person has {len(person.points)} joints of {person.points.shape[1]} coordinates; as "
        f"most have, {how.skeleton.num_joints} of {how.dimensions} were expected"
      )
  tracks = linking.link(frames, how.max_gap)
  persons = linking.keep(tracks, len(frames), how.persons, how.keep)
  if how.dimensions == 2:
    said = None if how.picture_asked else recording.picture or poses.picture
    picture = said or how.picture
    persons = [_fractions(person, poses.units, picture) for person in persons]
  else:
    persons = [person[..., :3] for person in persons]
  persons = exchange.turn(persons, how.skeleton, how.as_is, poses.up)
  return Clip(recording.name, recording.label, persons, recording.facts)


def _options(args: argparse.Namespace, dimensions: int) -> list[str]:
  """What has to be asked for, so that others are read as these."""
  kept = ["--persons", str(args.persons), "--keep", args.keep, "--max-gap", str(args.max_gap)]
  coordinates = "world" if dimensions == 3 else "image"
  turning = exchange.turning_options(args)
  return [*kept, "--part", args.part, "--coordinates", coordinates, *turning]


def _body(person: people.Person) -> people.Person:
  """Of a whole body's 133 or 136 key points the body's."""
  count = _WHOLE_BODIES.get(len(person.points))
  if count is None:
    return person
  return people.Person(person.points[:count], person.scores[:count], person.number)


def _fractions(person: np.ndarray, units: str, picture: tuple[float, float] | None) -> np.ndarray:
  """x, y, score [frame, joint, 3] as x/width - 0.5, 0.5 - y/height, score; 0 where untracked."""
  size = (1.0, 1.0) if units == "image fractions" else picture or (1.0, 1.0)
  out = normalise.fractions(person.astype(np.float64), size)
  return (out * (person[..., 2:] > 0)).astype(np.float32)


# --- labels


def _the_table(raw: pathlib.Path, args: argparse.Namespace) -> pathlib.Path | None:
  """--labels, or the one CSV in --raw that is no recording; DataError where it lists no labels."""
  if args.labels is not None:
    if not args.labels.is_file():
      raise DataError(f"--labels {args.labels} is no file")
    return args.labels
  found = [
    path
    for path in sorted(raw.iterdir())
    if path.suffix.lower() == ".csv" and path.is_file() and not raw_files.is_hidden(path.name)
    if not mediapipe.recognise_table(path)
  ]
  if len(found) > 1:
    raise DataError(
      f"--raw {raw} holds several tables ({found[0].name}, {found[1].name}); name that of labels "
      "with --labels"
    )
  for path in found:
    try:
      tables.read_table(path)
    except DataError as error:
      raise DataError(
        f"{error}. It is taken for the table of labels; mend it, name another with --labels, or "
        "move it away"
      ) from error
  return found[0] if found else None


def _by_folder(
  clips: Mapping[str, tuple[pathlib.Path, ...]], args: argparse.Namespace
) -> tuple[list[_Recording], tuple[str, ...], list[str]]:
  """Recordings labelled by their first folder, or the second below train, val and test."""
  parts = {clip: clip.split("/") for clip in clips}
  given = {clip: exchange.part_of(first) for clip, (first, *_) in parts.items()}
  split = all(given.values()) and all(len(path) > 2 for path in parts.values())
  if not split and any(len(path) < 2 for path in parts.values()):
    first = next(clip for clip, path in parts.items() if len(path) < 2)
    raise DataError(
      f"{first!r} is in no folder that says its class: put the clips into one folder per class, or "
      "give a CSV of name,label with --labels"
    )
  classes = {clip: path[1 if split else 0] for clip, path in parts.items()}
  members: dict[str, list[str]] = {}
  for clip, path in parts.items() if split else ():
    members.setdefault(path[0], []).append(clip)
  facts, warnings = exchange.clip_facts(members, list(clips), [path[-1] for path in parts.values()])
  names = tuple(sorted(set(classes.values())))
  if len(names) == 1:
    warnings.append(f"all clips are of the one class {names[0]!r}: is --raw the folder of classes?")
  elif len(names) == len(clips):
    warnings.append(f"each clip is a class, such as {names[0]!r}: is --raw the folder of classes?")
  if args.classes is not None:
    names = exchange.class_names(args, range(len(names)))
    if unknown := sorted(set(classes.values()) - set(names)):
      raise DataError(f"the folder {unknown[0]!r} is not among the names of {args.classes}")
  recordings = [
    _Recording(clip, files, names.index(classes[clip]), fact)
    for (clip, files), fact in zip(clips.items(), facts, strict=True)
  ]
  return recordings, names, warnings


def _by_table(
  table: pathlib.Path, clips: Mapping[str, tuple[pathlib.Path, ...]], args: argparse.Namespace
) -> tuple[list[_Recording], tuple[str, ...], list[str]]:
  """Recordings labelled by a CSV, whose names are paths below --raw or their last parts."""
  columns = tables.read_table(table)
  labels, class_names = tables.labels(columns.pop("label"), args)
  names = columns.pop("name")
  sizes = [columns.pop(side, None) for side in ("width", "height")]
  facts, warnings = tables.facts(table, columns, names)
  last = collections.Counter(clip.rsplit("/", 1)[-1] for clip in clips)
  short = {clip.rsplit("/", 1)[-1]: clip for clip in clips}
  recordings, used = [], set()
  for i, name in enumerate(names):
    if name not in clips and last[name] != 1:  # maybe a file's, with its ending
      path = pathlib.PurePosixPath(name)
      name = (path.parent / path.stem).as_posix()
    clip = name if name in clips else short.get(name) if last[name] == 1 else None
    used.add(clip)
    picture = None
    if all(sizes):
      try:
        picture = _size("x".join(re.sub(r"[.,]0*$", "", side[i]) for side in sizes))
      except argparse.ArgumentTypeError as error:
        raise DataError(f"{table}: width and height of {name}: {error}") from error
    recordings.append(_Recording(name, clips.get(clip or "", ()), labels[i], facts[i], picture))
  unlisted = [clip for clip in clips if clip not in used]
  if len(unlisted) == len(clips):
    raise DataError(
      f"{table} names no clip that is there: its first is {names[0]!r:.80}, below --raw there is "
      f"{unlisted[0]!r}"
    )
  if unlisted:
    some = words.counted(len(unlisted), "clip")
    warnings.append(f"{some} not in {table.name}, such as {unlisted[0]}")
  return recordings, class_names, warnings


# --- what the recordings have in common


def _look(
  recordings: Sequence[_Recording], name: str, args: argparse.Namespace
) -> tuple[_How, list[str], Coordinates]:
  """How to read the recordings, lines to print that say why, and what coordinates come out."""
  hands = args.part == "hands"
  some, problem = [], ""
  for recording in raw_values.some([one for one in recordings if one.paths], _LOOKED_AT):
    try:
      poses = formats.decode(recording.paths, name, args.coordinates, hands=hands)
      if any(poses.frames):
        some.append((recording, poses))
    except DataError as error:
      problem = problem or f" (first: {recording.name}: {error})"
  if not some:
    raise DataError(f"no clip shows anybody{problem}")
  shapes = [one.points.shape for _, poses in some for frame in poses.frames for one in frame]
  usual = raw_values.majority(shapes)
  alike = [
    (recording, poses)
    for recording, poses in some
    if any(one.points.shape == usual for frame in poses.frames for one in frame)
  ]
  clips = [_all_of(poses, usual) for _, poses in alike]
  up = alike[0][1].up if usual[1] == 3 else "-y"
  said = alike[0][1].layout or formats.FORMATS[name].layouts.get(usual[0], "")
  skeleton, notes = _skeleton(args, clips, said, up)
  lines = list(notes)
  if usual[1] == 3:
    lines.append(f"world coordinates in metres, {up} up: no scores are kept")
    as_is = Coordinates(("x", "y", "z"), "metres", up)
    coordinates = as_is if args.as_is else layouts.turned(skeleton, "metres")
    if not args.as_is and not coordinates.up:
      coordinates = dataclasses.replace(coordinates, up=up)
    picture = None
  else:
    picture, more = _picture(alike, args)
    lines += more
    coordinates = dataclasses.replace(FRACTIONS, picture=picture or ())
  how = _How(
    format=name,
    skeleton=skeleton,
    dimensions=usual[1],
    picture=picture,
    picture_asked=args.image_size is not None,
    coordinates=args.coordinates,
    hands=hands,
    max_gap=args.max_gap,
    persons=args.persons,
    keep=args.keep,
    as_is=args.as_is or usual[1] == 2,
    up=up,
  )
  return how, lines, coordinates


def _all_of(poses: Poses, shape: tuple[int, int]) -> np.ndarray:
  """Everybody of this shape in a clip, [person, joint, coordinate], the body of a whole one."""
  found = [one for frame in poses.frames for one in frame if one.points.shape == shape]
  return np.stack([_body(one).points for one in found])


def _skeleton(
  args: argparse.Namespace, clips: Sequence[np.ndarray], said: str, up: str
) -> tuple[Skeleton, tuple[str, ...]]:
  """The layout that the format says, that is asked for, or that fits; refused where no body."""
  if args.skeleton is not None or not said:
    return layouts.skeleton_for(args.skeleton, clips, up=up)
  skeleton, _ = layouts.skeleton_for(said, clips)
  if reason := layouts.implausible(skeleton, clips, clips[0].shape[-1], up):
    raise ConfigError(
      f"the format's layout is {said}, but {reason}; say which layout it is with --skeleton NAME"
    )
  return skeleton, (f"{skeleton.num_joints} joints: {said}, the format's",)


def _picture(
  some: Sequence[tuple[_Recording, Poses]], args: argparse.Namespace
) -> tuple[tuple[float, float] | None, list[str]]:
  """The pictures' size in pixels, if needed, and lines to print that say where it is from."""
  if args.image_size is not None:
    return args.image_size, []
  if all(poses.units == "image fractions" for _, poses in some):
    return None, ["coordinates are shares of the picture"]
  sizes = {recording.picture or poses.picture for recording, poses in some}
  if None not in sizes:
    (size,) = sizes if len(sizes) == 1 else (None,)
    said = "of several sizes" if size is None else f"{size[0]:g}x{size[1]:g}"
    return size, [f"pictures {said}, as the files say"]
  points = np.concatenate(
    [one.points[one.scores > 0] for _, poses in some for frame in poses.frames for one in frame]
  )
  width, height = np.percentile(points, 99.9, axis=0).tolist()
  if (size := args.usual_picture) and width <= size[0] and height <= size[1]:
    return size, [f"pictures of {size[0]:g}x{size[1]:g}, as those that the run was trained on"]
  usual = [turned for size in _PICTURES for turned in (size, size[::-1])]  # ascending
  size = next((s for s in usual if width <= s[0] and height <= s[1]), (width, height))
  size = (float(size[0]), float(size[1]))
  return size, [
    f"pixels up to {width:.0f}, {height:.0f}: the picture is taken to be {size[0]:g}x{size[1]:g}, "
    "the smallest usual one that holds them; --image-size WIDTHxHEIGHT gives another"
  ]
