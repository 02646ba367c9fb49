"""MediaPipe's pose (33 landmarks) and hands (21), which has no format of its own: what people save.

JSON: a list of frames, {"frames": […]}, or an object per line. A frame is a list of landmarks
{"x", "y", "z", "visibility"} or [x, y, z, visibility], a list of people of such, or an object with
them under the names that MediaPipe uses ("landmarks", "pose_landmarks", "handLandmarks",
"worldLandmarks", …). CSV, one row per frame: x0, y0, z0, v0, x1, … or NOSE_x, …; or per landmark:
frame, person, landmark, x, y, z, visibility. npz or npy: [frame, landmark, 2 to 5] or
[frame, person, landmark, 2 to 5].

Image coordinates are shares of the picture, y down; world coordinates metres from the middle of the
hips (or of the hand), y down, the camera at negative z.
"""

import csv
import io
import pathlib
import re
from typing import Any

import numpy as np

from data_prep import raw_files
from data_prep.decode import people
from data_prep.decode.people import Frames, Person, Poses
from mstgcn_jax.errors import DataError, of_numpy

NUM_LANDMARKS = (33, 21)
_HIPS = [23, 24]
_CENTRED = 0.02  # metres of the middle of the hips, or a hand, from 0 in world coordinates
_FRAME = ("frame", "frame_id", "frame_index", "frame_number", "frameindex")
_PERSON = ("person", "person_id", "hand", "handedness", "pose")
_LANDMARK = ("landmark", "landmark_id", "landmark_index", "joint", "keypoint", "id", "index")
_COLUMN = re.compile(r"(?:(.*)[_. ]([xyzv]|visibility)|([xyzv])_?(\d+)|(\d+)_?([xyzv]))", re.I)

# Of every frame and person: [landmark, 4] of x, y, z, visibility, and the person's number.
Some = list[tuple[np.ndarray, int | None]]
Landmarks = list[Some]
Found = dict[str, Landmarks]  # of 'image' or 'world' coordinates, or '' where it is not said


def recognise(content: Any) -> bool:
  """Whether this, from JSON, is a recording of MediaPipe's."""
  try:
    found = _from_json(content)
  except people.DAMAGE:
    return False
  return bool(found)


def recognise_table(path: pathlib.Path) -> bool:
  """Whether this CSV's columns are landmarks."""
  try:
    return _columns(next(csv.reader(io.StringIO(_text(path))))) is not None
  except (StopIteration, csv.Error, DataError):
    return False


def decode(path: pathlib.Path, coordinates: str = "", *, hands: bool = False) -> Poses:
  """A recording of bodies, or of hands where there is no body or `hands` are asked for.

  `coordinates` are 'image' or 'world', or '' for what there is, image first.
  """
  with people.taken_for(path, "a recording of MediaPipe's"):
    ending = path.suffix.lower()
    if ending in (".npz", ".npy"):
      found = _from_arrays(path)
    elif ending == ".csv":
      found = {"": _from_table(path)}
    else:
      found = _from_json(people.load_json(path), whole=True)
    if not found:
      raise ValueError("no frame has 33 or 21 landmarks")
    found = {kind: _of_one_kind(frames, hands) for kind, frames in found.items()}
    return _chosen(found, coordinates)


def _of_one_kind(frames: Landmarks, hands: bool) -> Landmarks:
  """Bodies or hands only: a file of MediaPipe Holistic's has both."""
  counts = {len(points) for frame in frames for points, _ in frame}
  if len(counts) < 2:
    return frames
  count = min(counts) if hands else max(counts)
  return [[one for one in frame if len(one[0]) == count] for frame in frames]


def _chosen(found: Found, coordinates: str) -> Poses:
  """Image or world coordinates: as asked, as named in the file, or as the numbers are."""
  if "" in found:  # the file does not say
    found = {coordinates or ("world" if _is_centred(found[""]) else "image"): found[""]}
  kind = coordinates or ("image" if "image" in found else "world")
  if kind not in found:
    raise ValueError(f"there are no {kind} coordinates, but {' and '.join(found)} ones")
  frames = found[kind]
  scored = any((points[:, 3] > 0).any() for frame in frames for points, _ in frame)
  dimensions = 3 if kind == "world" else 2
  people_: Frames = [
    people.tracked(
      people.person(points[:, :dimensions], points[:, 3] if scored else None, number)
      for points, number in frame
    )
    for frame in frames
  ]
  if kind == "world":
    return Poses([[_turned(one) for one in frame] for frame in people_], "metres", "y")
  return Poses(people_, "image fractions")


def _turned(one: Person) -> Person:
  """World coordinates as Kinect has them: x to the camera's left, y up, z away from it.

  Who faces the camera then has the right shoulder at larger x, as `normalise.normalise` wants it:
  nobody is turned by half a turn, of which nothing would say about which axis.
  """
  return Person(one.points * (-1, -1, 1), one.scores, one.number)


def _is_centred(frames: Landmarks) -> bool:
  """Whether hips (or hands) are in the middle of the coordinates, as world ones are."""
  middles = [
    (points[_HIPS] if len(points) == NUM_LANDMARKS[0] else points)[:, :2].mean(axis=0)
    for frame in frames
    for points, _ in frame
  ]
  return bool(middles) and bool(np.median(np.abs(middles), axis=0).max() < _CENTRED)


# --- JSON


def _from_json(content: Any, *, whole: bool = False) -> Found:
  """Kind ('image', 'world', or '') -> frames; {} where it is something else.

  With `whole` a ValueError where landmarks of other frames are something else in one.
  """
  if isinstance(content, dict):
    content = content.get("frames", content)
  frames = list(content) if isinstance(content, list) else [content]
  if _landmarks(frames) is not None:  # one frame
    frames = [frames]
  numbered: dict[str, dict[int, Any]] = {}
  read, unread = set(), {}  # fields that were landmarks, and where they were not
  for i, frame in enumerate(frames):
    number, said, fields = i, {}, {"": frame}
    if isinstance(frame, dict):
      named = [frame[key] for key in frame if key.lower() in _FRAME]
      number, said = int(named[0]) if named else i, frame
      fields = {key: value for key, value in frame.items() if "landmark" in key.lower()}
    for key, value in fields.items():
      found = _people(value)
      if found is None:
        unread[key] = number
        continue
      if found:
        read.add(key)
      kind = key and ("world" if "world" in key.lower() else "image")
      numbered.setdefault(kind, {}).setdefault(number, []).extend(_numbered(found, said))
  if whole and (damaged := read & unread.keys()):
    raise ValueError(f"frame {unread[min(damaged)]} has no 33 or 21 landmarks, as others have")
  result = {kind: people.by_number(found) for kind, found in numbered.items()}
  return {kind: frames for kind, frames in result.items() if any(frames)}


def _numbered(found: list[np.ndarray], frame: dict[str, Any]) -> Some:
  """People with the hand's side for a number (left 0, right 1), where the frame says it."""
  sides = frame.get("handedness") or frame.get("handednesses") or []
  numbers: list[int | None] = [None] * len(found)
  if isinstance(sides, list) and len(sides) == len(found):
    for i, side in enumerate(sides):
      said = str(side).lower()
      numbers[i] = 0 if "left" in said else 1 if "right" in said else None
  return list(zip(found, numbers, strict=True))


def _people(value: Any) -> list[np.ndarray] | None:
  """The people of a frame, [landmark, 4] each; [] where there is none, None where it is else."""
  if not value or value in ({"landmark": []}, {"landmarks": []}):
    return []
  one = _landmarks(value)
  if one is not None:
    return [one]
  if isinstance(value, list):
    found = [_landmarks(item) for item in value]
    if all(points is not None for points in found):
      return found
  return None


def _landmarks(value: Any) -> np.ndarray | None:
  """[landmark, 4] of a list of 33 or 21 landmarks; None where it is something else."""
  if isinstance(value, dict):
    value = value.get("landmark", value.get("landmarks"))
  if not isinstance(value, list) or len(value) not in NUM_LANDMARKS:
    return None
  rows = [_landmark(item) for item in value]
  return np.array(rows, np.float64) if all(row is not None for row in rows) else None


def _landmark(item: Any) -> list[float] | None:
  if isinstance(item, dict) and "x" in item and "y" in item:
    visibility = item.get("visibility")
    return [item["x"], item["y"], item.get("z", 0), 1 if visibility is None else visibility]
  if isinstance(item, list) and 2 <= len(item) <= 5 and not isinstance(item[0], (list, dict)):
    return [*item[:2], item[2] if len(item) > 2 else 0, item[3] if len(item) > 3 else 1]
  return None


# --- tables and arrays


def _text(path: pathlib.Path) -> str:
  try:
    return raw_files.read(path).decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise DataError(f"{path.name} is not UTF-8 text") from error


def _columns(header: list[str]) -> tuple[str, Any] | None:
  """('long', {role: column}) or ('wide', [landmark][x, y, z, v] -> column); None for neither."""
  names = [name.strip().lower() for name in header]
  roles = {
    role: next((names.index(name) for name in known if name in names), None)
    for role, known in (
      *(("frame", _FRAME), ("person", _PERSON), ("landmark", _LANDMARK), ("x", ("x",))),
      *(("y", ("y",)), ("z", ("z",)), ("v", ("visibility", "v", "score", "presence"))),
    )
  }
  if None not in (roles["frame"], roles["landmark"], roles["x"], roles["y"]):
    return "long", roles
  landmarks: dict[str, dict[str, int]] = {}
  for column, name in enumerate(names):
    if match := _COLUMN.fullmatch(name):
      key = match[1] if match[2] else match[4] or match[5]
      axis = (match[2] or match[3] or match[6])[0].lower()
      landmarks.setdefault(key or "", {})[axis] = column
  found = [axes for axes in landmarks.values() if {"x", "y"} <= axes.keys()]
  if len(found) not in NUM_LANDMARKS:
    return None
  return "wide", (found, roles["frame"])


def _from_table(path: pathlib.Path) -> Landmarks:
  header, *rows = csv.reader(io.StringIO(_text(path)))
  columns = _columns(header)
  if columns is None:
    raise ValueError(f"no columns of 33 or 21 landmarks, but {', '.join(header)[:80]}")
  form, where = columns
  rows = [row for row in rows if any(cell.strip() for cell in row)]
  if form == "long":
    return _from_long(rows, where)
  landmarks, frame = where
  found: dict[int, Some] = {}
  for i, row in enumerate(rows):
    points = [
      [_number(row, axes.get(axis), 1.0 if axis == "v" else 0.0) for axis in "xyzv"]
      for axes in landmarks
    ]
    number = i if frame is None else int(float(row[frame]))
    found.setdefault(number, []).append((np.array(points), None))
  return people.by_number(found)


def _from_long(rows: list[list[str]], roles: dict[str, int | None]) -> Landmarks:
  people_: dict[tuple[int, str], list[tuple[str, list[float]]]] = {}
  for row in rows:
    who = "" if roles["person"] is None else row[roles["person"]].strip().lower()
    point = [_number(row, roles[axis], 1.0 if axis == "v" else 0.0) for axis in "xyzv"]
    key = (int(float(row[roles["frame"]])), who)
    people_.setdefault(key, []).append((row[roles["landmark"]].strip(), point))
  found: dict[int, Some] = {}
  for (number, who), points in people_.items():
    if all(name.isdecimal() for name, _ in points):
      points = sorted(points, key=lambda named: int(named[0]))
    if len(points) not in NUM_LANDMARKS:
      raise ValueError(f"frame {number} has {len(points)} landmarks of a person; expected 33 or 21")
    side = {"left": 0, "right": 1}.get(who, int(who) if who.isdecimal() else None)
    found.setdefault(number, []).append((np.array([point for _, point in points]), side))
  return people.by_number(found)


def _number(row: list[str], column: int | None, default: float) -> float:
  """A cell's number; NaN, which counts as missing, where it is empty."""
  if column is None:
    return default
  return float(row[column]) if row[column].strip() else np.nan


def _from_arrays(path: pathlib.Path) -> Found:
  try:
    content = np.load(path, allow_pickle=False)
    arrays = {"": content} if isinstance(content, np.ndarray) else dict(content.items())
  except Exception as error:  # numpy raises many kinds on damaged files
    raise ValueError(f"no arrays of numbers{of_numpy(error)}") from error
  found: Found = {}
  for name, array in arrays.items():
    if array.dtype.kind not in "fiu" or array.ndim not in (3, 4):
      continue
    if array.shape[-2] not in NUM_LANDMARKS or not 2 <= array.shape[-1] <= 5:
      continue
    array = array[:, None] if array.ndim == 3 else array
    full = np.zeros((*array.shape[:3], 4))
    full[..., 3] = 1
    full[..., : array.shape[-1]] = array[..., :4]
    kind = "world" if "world" in name.lower() else "image" if len(arrays) > 1 else ""
    number = next((i for i, side in enumerate(("left", "right")) if side in name.lower()), None)
    frames = found.setdefault(kind, [[] for _ in full])
    if len(frames) != len(full):
      raise ValueError(f"{name} has {len(full)} frames, an array before it {len(frames)}")
    for people_, more in zip(frames, full, strict=True):
      people_ += [(points, number) for points in more]
  return found
