"""The formats of pose estimators: which one a folder is of, which files are a clip, reading it."""

import collections
import dataclasses
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from data_prep import raw_files
from data_prep.decode import coco, mediapipe, mmpose, openpose, people, ultralytics
from data_prep.decode.people import Frames, Poses
from mstgcn_jax.errors import ConfigError, DataError

_SOME = 20  # files that say which estimator it was
_FRAME_FILE = re.compile(r"(?P<clip>.*?)[_-]?(?P<number>\d+)(_keypoints)?\.(json|txt)", re.I)
_ENDINGS = (".json", ".jsonl", ".txt", ".csv", ".npz", ".npy")
_VIDEO = "a video; run a pose estimator on it first (docs/data.md names some)"
_OTHERS = {
  ".skeleton": "NTU RGB+D's; the sources ntu60 and ntu120 read it",
  ".mat": "MATLAB's; the source utd_mhad reads UTD-MHAD's",
  ".pkl": "a pickle; the source pyskl reads annotations",
  **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".webm"), _VIDEO),
}
_GENERIC = ("alphapose-results", "predictions", "results", "keypoints", "labels", "json")


@dataclasses.dataclass(frozen=True)
class Format:
  """How an estimator writes: `decode` reads a recording, or `decode_frame` one of its frames."""

  called: str
  decode: Callable[..., Poses] | None = None
  decode_frame: Callable[..., list[people.Person]] | None = None
  units: str = "pixels"  # of formats by frame
  layouts: Mapping[int, str] = dataclasses.field(default_factory=dict)


_BODIES = {17: "", 26: "halpe26", 133: "coco", 136: "halpe26"}  # of 17: COCO's, or Human3.6M's
FORMATS = {
  "openpose": Format(
    "OpenPose",
    decode_frame=openpose.decode,
    layouts={25: "body_25", 18: "kinetics", 21: "hand21"},
  ),
  "alphapose": Format("AlphaPose", coco.decode, layouts=_BODIES | {17: "coco", 18: "kinetics"}),
  "coco": Format("COCO key points", coco.decode, layouts=_BODIES),
  "mmpose": Format("MMPose or RTMPose", mmpose.decode, layouts=_BODIES),
  "mmpose_frames": Format(
    "MMPose or RTMPose, one file per frame", decode_frame=mmpose.decode_frame, layouts=_BODIES
  ),
  "ultralytics": Format(
    "Ultralytics' text",
    decode_frame=ultralytics.decode,
    units="image fractions",
    layouts={17: "coco"},
  ),
  "mediapipe": Format("MediaPipe", mediapipe.decode, layouts={33: "mediapipe", 21: "hand21"}),
}


def files(raw: pathlib.Path, table: pathlib.Path | None) -> list[pathlib.Path]:
  """The files below a folder that an estimator may have written, without the table of labels."""
  found = [path for path in raw_files.walk(raw) if path != table]
  paths = [path for path in found if path.suffix.lower() in _ENDINGS]
  if paths:
    return sorted(paths)
  others = [path for path in found if path.suffix.lower() in _OTHERS]
  hint = f", but {others[0].name}: {_OTHERS[others[0].suffix.lower()]}" if others else ""
  raise DataError(
    f"--raw {raw} holds no file that a pose estimator writes ({', '.join(_ENDINGS)}){hint}"
  )


def recognise(raw: pathlib.Path, paths: Sequence[pathlib.Path]) -> str:
  """The one format that the files are of; ConfigError where there is none, or several."""
  found = collections.Counter(_format_of(path) for path in paths[:: -(-len(paths) // _SOME)])
  unknown = found.pop("", 0)
  if len(found) == 1:
    return next(iter(found))
  if found:
    several = " and ".join(FORMATS[name].called for name in sorted(found))
    raise ConfigError(f"--raw {raw} holds files of {several}; say which to read with --format")
  raise ConfigError(
    f"--raw {raw} holds files of no pose estimator that is known here (looked at {unknown}, the "
    f"first is {paths[0].relative_to(raw)}); known are "
    f"{'; '.join(one.called for one in FORMATS.values())}. docs/data.md shows how each writes; the "
    "source own reads arrays"
  )


def _format_of(path: pathlib.Path) -> str:
  """What a file is of, by its content; '' where that is not known."""
  ending = path.suffix.lower()
  if ending == ".txt":
    return "ultralytics" if ultralytics.recognise(path) else ""
  if ending == ".csv":
    return "mediapipe" if mediapipe.recognise_table(path) else ""
  try:
    if ending in (".npz", ".npy"):
      mediapipe.decode(path)
      return "mediapipe"
    content = people.load_json(path)
  except DataError:
    return ""
  if openpose.recognise(content):
    return "openpose"
  found = coco.recognise(content) or mmpose.recognise(content)
  return found or ("mediapipe" if mediapipe.recognise(content) else "")


def clips(
  raw: pathlib.Path, paths: Sequence[pathlib.Path], name: str
) -> dict[str, tuple[pathlib.Path, ...]]:
  """Clip (its path below --raw, without endings and what tools always write) -> its files.

  Raises:
    DataError: there is none.
  """
  by_frame = FORMATS[name].decode_frame is not None
  several = {"ultralytics": (".txt",), "mediapipe": (".json", ".jsonl", ".csv", ".npz", ".npy")}
  endings = several.get(name, (".json",))
  paths = [path for path in paths if path.suffix.lower() in endings]
  found: dict[str, list[pathlib.Path]] = {}
  for path in paths:
    below = path.relative_to(raw)
    if by_frame:
      match = _FRAME_FILE.fullmatch(path.name)
      if match is None:
        continue
      stem = match["clip"].strip("_-. ")
    else:
      stem = below.stem
    found.setdefault((below.parent / stem if stem else below.parent).as_posix(), []).append(path)
  if not found:
    numbered = " that ends in the number of its frame" if by_frame else ""
    raise DataError(
      f"--raw {raw}, read as the output of {FORMATS[name].called}, holds no {' or '.join(endings)} "
      f"file{numbered}"
    )
  return _short({clip: tuple(files) for clip, files in found.items()})


def _short(clips: dict[str, tuple[pathlib.Path, ...]]) -> dict[str, tuple[pathlib.Path, ...]]:
  """The clips without parts that say nothing (`alphapose-results`, or the folder again)."""
  short = {}
  for clip, files in clips.items():
    first, *parts = clip.split("/")
    said = [part for part in parts if part.lower() not in _GENERIC] or parts[:1]
    if len(said) > 1 and said[-1] == said[-2]:
      said.pop()
    short["/".join((first, *said))] = files
  return short if len(short) == len(clips) else clips


def decode(
  paths: Sequence[pathlib.Path], name: str, coordinates: str = "", *, hands: bool = False
) -> Poses:
  """A recording of one file, or of one file per frame, in the format of this name."""
  kind = FORMATS[name]
  if kind.decode is not None:
    path, *others = paths
    if others:
      raise DataError(
        f"{path.name} and {others[0].name} are of one clip; expected one file per clip: move one "
        "away, or rename it"
      )
    if name == "mediapipe":
      return mediapipe.decode(path, coordinates, hands=hands)
    return kind.decode(path)
  options = {"hands": hands} if name == "openpose" else {}
  by_number: dict[int, pathlib.Path] = {}
  for path in paths:
    other = by_number.setdefault(int(_FRAME_FILE.fullmatch(path.name)["number"]), path)
    if other is not path:
      raise DataError(f"{other.name} and {path.name} are of one frame of one clip; rename one")
  frames = people.by_number(
    {number: kind.decode_frame(path, **options) for number, path in by_number.items()}
  )
  return Poses(frames, kind.units if kind.units != "pixels" else _units(frames))


def _units(frames: Frames) -> str:
  """OpenPose's --keypoint_scale 3 writes shares of the picture; anything larger is pixels."""
  points = [person.points for frame in frames for person in frame]
  inside = bool(points) and max(np.abs(one).max() for one in points) <= 2
  return "image fractions" if inside else "pixels"
