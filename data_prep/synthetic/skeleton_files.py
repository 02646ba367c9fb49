"""Stick people before cameras: a small stand-in for real recordings, with nothing to download.

Performers of different build, tempo and handedness act out 14 classes (`stick_people`) before three
cameras. Every second class is the one before it, backwards in time (sitting down, standing up), so
that a pose, or the mean over a clip, tells seven pairs apart but not their halves; four classes
take two people. A sensor sees them from its side: with noise, worse where the trunk hides a joint,
with frames lost and people noticed late. Recordings are written as `.skeleton` files with all their
fields, so that whatever reads NTU RGB+D reads these.

Everything is a function of (seed, performer, action, repetition, camera): the same arguments give
the same bytes, and one recording does not depend on the others.
"""

import argparse
import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Sequence

import numpy as np
import tqdm

from data_prep import raw_files
from data_prep.readers import ntu
from data_prep.readers.interface import Recordings
from data_prep.synthetic import stick_people
from data_prep.synthetic.stick_people import CLASS_NAMES, DEGREE, SKELETON, UP
from mstgcn_jax.errors import ConfigError

PERFORMERS = 24
REPETITIONS = 1
CAMERAS = 3

_MANIFEST = "synthetic.json"
_FORMAT = 2  # of the recordings; raise it when the same arguments give other bytes

# metres; limbs' ends are seen worst (1 and 2 are the spine and neck, 21 to 24 tips and thumbs)
_NOISE = np.full(SKELETON.num_joints, 0.006)
_NOISE[[5, 9, 13, 17, 14, 18]] = 0.009
_NOISE[[6, 7, 10, 11, 15, 19]] = 0.014
_NOISE[[21, 22, 23, 24]] = 0.02


@dataclasses.dataclass(frozen=True)
class _Seen:
  """A recording: joints [person, frame, joint, 3] in camera coordinates, who is tracked in which
  frame [person, frame], and which joints are guessed [person, frame, joint]."""

  joints: np.ndarray
  tracked: np.ndarray
  guessed: np.ndarray


def _observe(joints: np.ndarray, camera: int, setup: int, rng: np.random.Generator) -> _Seen:
  """Camera 1 stands in front, 2 and 3 at 45 degrees to either side, as in NTU RGB+D.

  Camera coordinates as Kinect's: x to the sensor's left, y up, z away from it, in metres.
  """
  people, frames = joints.shape[:2]
  angle = (0.0, 45.0, -45.0)[(camera - 1) % 3] * DEGREE
  distance = 2.6 + 0.15 * (setup % 4)
  height = 0.9 + 0.12 * (setup % 3)
  tilt = np.arctan2(height - 0.85, distance)
  away = -np.array([np.sin(angle), 0, np.cos(angle)])
  axes = np.stack([np.cross(UP, away), UP, away], axis=1)  # columns: left, up, away
  seen = (joints - (height * UP - distance * away)) @ axes
  seen = seen @ stick_people.rotation(0.0, -tilt, 0.0).T

  trunk = seen[:, :, [0, 1, 20]].mean(axis=2, keepdims=True)
  guessed = (seen - trunk)[..., 2] > 0.1
  guessed &= np.abs(seen - trunk)[..., 0] < 0.16
  white = rng.normal(size=(people, frames + 2, SKELETON.num_joints, 3))
  noise = (0.8 * white[:, 2:] + 0.5 * white[:, 1:-1] + 0.33 * white[:, :-2]) * _NOISE[:, None]
  seen = seen + noise * (seen[..., 2:] / 3) * np.where(guessed, 2, 1)[..., None]

  tracked = np.ones((people, frames), bool)
  for person in range(people):
    if rng.random() < 0.15:  # lost for some frames
      start = int(rng.integers(2, frames - 8))
      tracked[person, start : start + int(rng.integers(1, 6))] = False
    if rng.random() < (0.3 if person else 0.06):  # noticed late, or lost before the end
      missing = int(rng.integers(1, max(frames // 8, 2)))
      tracked[person, slice(missing) if rng.random() < 0.5 else slice(-missing, None)] = False
  return _Seen(seen, tracked, guessed)


def _recordings(
  action: int,
  performer: int,
  repetition: int,
  cameras: Sequence[int],
  seed: int,
  frames: int | None,
) -> list[_Seen]:
  """One performance as each of the cameras sees it."""
  # Whom a performer meets appears with nobody else, so that no test performer is seen in training.
  people = [stick_people.performer(number, seed) for number in (performer, 1000 + performer)]
  key = (seed, performer, action, repetition)
  joints = stick_people.simulate(action, people, np.random.default_rng([2, *key]), frames)
  return [
    _observe(joints, camera, _setup(performer), np.random.default_rng([3, *key, camera]))
    for camera in cameras
  ]


def _setup(performer: int) -> int:
  return 1 + (performer - 1) // 2 % 4


def make_clip(
  action: int,
  performer: int,
  *,
  repetition: int = 1,
  camera: int = 1,
  seed: int = 0,
  frames: int | None = None,
) -> list[np.ndarray]:
  """One recording as the sensor saw it: float32 [frame, joint, 3] per person, as the camera has it.

  Zero where a person is not tracked. `generate` writes the same numbers, rounded.

  Args:
    action: label, counted from 0.
    performer, repetition, camera: numbers, counted from 1.
    seed: of the world that `performer` and all else are drawn in.
    frames: length; varies if None.
  """
  (seen,) = _recordings(action, performer, repetition, (camera,), seed, frames)
  return list((seen.joints * seen.tracked[..., None, None]).astype(np.float32))


# ---------------------------------------------------------------------------- files


def _digits(values: np.ndarray, whole: int, decimals: int) -> np.ndarray:
  """Numbers as text, uint8 [..., whole + decimals + 2]; unused places (signs, zeros) are 0.

  A recording has 30,000 numbers: formatting them one by one takes longer than everything else.
  """
  scaled = np.rint(np.asarray(values) * 10**decimals).astype(np.int32)
  rest = np.abs(scaled)
  width = 1 + whole + (decimals > 0) + decimals
  text = np.empty((*rest.shape, width), np.uint8)
  for place in range(width - 1, 0, -1):
    if decimals and place == whole + 1:
      text[..., place] = ord(".")
      continue
    tens = rest // 10
    text[..., place] = rest - 10 * tens + ord("0")
    if place < whole:  # a leading zero
      text[..., place] *= rest > 0
    rest = tens
  text[..., 0] = np.where(scaled < 0, ord("-"), 0)
  return text


def _row(*fields: np.ndarray | bytes) -> np.ndarray:
  """Joins text fields, uint8 [..., width] each or the same bytes for all, along the last axis."""
  shape = next(field.shape[:-1] for field in fields if isinstance(field, np.ndarray))
  arrays = [
    np.broadcast_to(np.frombuffer(field, np.uint8), (*shape, len(field)))
    if isinstance(field, bytes)
    else field
    for field in fields
  ]
  return np.concatenate(arrays, axis=-1)


def _skeleton_file(seen: _Seen) -> bytes:
  """The recording as a `.skeleton` file with plausible values in every field."""
  people, frames, joints = seen.guessed.shape
  x, y, z = np.moveaxis(seen.joints, -1, 0)
  # pinhole cameras as found in NTU RGB+D's files
  pixels = [_digits(c, 4, 1) for c in _project(x / z, y / z, 365.4, 262.5, 209.8)]
  pixels += [_digits(c, 4, 1) for c in _project(x / z, y / z, 1067.0, 976.0, 538.6)]
  turns = np.moveaxis(_digits(_orientations(seen.joints), 1, 4), -2, 0)
  fields = [_digits(seen.joints[..., i], 1, 5) for i in range(3)] + pixels + list(turns)
  spaced = [part for field in fields for part in (field, b" ")]
  state = np.where(seen.guessed, ord("1"), ord("2")).astype(np.uint8)[..., None]
  lines = _row(*spaced, state, b"\r\n").reshape(people, frames, -1)
  trunk = seen.joints[:, :, 20] - seen.joints[:, :, 0]
  lean = [_digits(np.clip(trunk[..., i], -1, 1), 1, 4) for i in (0, 2)]
  bodies = []
  for i in range(people):
    start = f"{72057594037927936 + 2 * i} 0 1 1 1 1 0 ".encode()
    body = _row(start, lean[0][i], b" ", lean[1][i], f" 2\r\n{joints}\r\n".encode(), lines[i])
    bodies.append(body * seen.tracked[i][:, None])
  count = _row(_digits(seen.tracked.sum(0), 1, 0), b"\r\n")
  text = np.concatenate([count, *bodies], axis=1)
  return f"{frames}\r\n".encode() + text[text != 0].tobytes()


def _project(right, up, focal, across, down):
  return across + focal * right, down - focal * up


def _orientations(joints: np.ndarray) -> np.ndarray:
  """Unit quaternions (w, x, y, z) that turn y to the bone ending in a joint; 0 for the ends."""
  bones = np.zeros_like(joints)
  inner = [(child, parent) for child, parent in SKELETON.inward if child in _INNER]
  children, parents = np.array(inner).T
  bones[..., children, :] = joints[..., children, :] - joints[..., parents, :]
  bones[..., 0, :] = joints[..., 1, :] - joints[..., 0, :]
  x, y, z = np.moveaxis(bones, -1, 0)
  length = np.sqrt(x * x + y * y + z * z)
  turn = np.stack([length + y, z, np.zeros_like(y), -x], axis=-1)
  size = np.linalg.norm(turn, axis=-1, keepdims=True)
  return np.divide(turn, size, out=np.zeros_like(turn), where=size > 1e-9)


_INNER = frozenset(parent for _, parent in SKELETON.inward) - {22, 24}  # thumbs are ends, too


def generate(
  raw_dir: str | pathlib.Path,
  *,
  performers: int = PERFORMERS,
  repetitions: int = REPETITIONS,
  cameras: int = CAMERAS,
  seed: int = 0,
  frames: int | None = None,
) -> list[pathlib.Path]:
  """Writes one `.skeleton` file per recording, named as NTU RGB+D's; returns them in order of name.

  Complete recordings of the same arguments are left as they are. Those of other arguments, or of a
  call that was interrupted, are replaced. Where one cannot be written, none is left.

  Args:
    raw_dir: folder for the recordings, made where it is missing; it should hold nothing else.
    performers, repetitions, cameras: every performer does every action `repetitions` times before
      `cameras` cameras (3 at most).
    seed: of everything.
    frames: the same length for all; varies if None.
  Raises:
    ConfigError: for arguments out of range, or a folder with recordings that are not these.
    OSError: the disk refuses; it names a path.
  """
  raw_dir = pathlib.Path(raw_dir)
  arguments = dict(
    performers=performers, repetitions=repetitions, cameras=cameras, seed=seed, frames=frames
  )
  _check(arguments)
  manifest = raw_dir / _MANIFEST
  old = _read_manifest(manifest)
  new = {"format": _FORMAT, **arguments}
  paths = _paths(raw_dir, new)
  everything = sorted(path for group in paths.values() for path in group)
  if old == {**new, "bytes": _total_size(everything)}:
    return everything
  _clear(raw_dir, old)
  raw_dir.mkdir(parents=True, exist_ok=True)
  try:
    manifest.write_text(json.dumps(new))  # without "bytes": begun, not finished
    total = 0
    with tqdm.tqdm(total=len(everything), desc="generate", unit="clip", disable=None) as progress:
      for (number, repetition, action), group in paths.items():
        numbers = range(1, cameras + 1)
        recordings = _recordings(action, number, repetition, numbers, seed, frames)
        for path, seen in zip(group, recordings, strict=True):
          total += path.write_bytes(_skeleton_file(seen))
        progress.update(cameras)
    manifest.write_text(json.dumps({**new, "bytes": total}))
  except OSError as error:  # a full disk, most often; writing to an open file doesn't say which
    error.filename = error.filename or str(raw_dir)
    with contextlib.suppress(OSError):
      _clear(raw_dir, new)
      manifest.unlink(missing_ok=True)
      raw_dir.rmdir()
    raise
  return everything


def _paths(
  raw_dir: pathlib.Path, arguments: dict[str, int]
) -> dict[tuple[int, int, int], list[pathlib.Path]]:
  """(performer, repetition, action) -> the files of its cameras, for a manifest's arguments."""
  count = lambda name: range(1, arguments.get(name, 0) + 1)
  return {
    (performer, repetition, action): [
      raw_dir / _file_name(performer, repetition, action, camera) for camera in count("cameras")
    ]
    for performer in count("performers")
    for repetition in count("repetitions")
    for action in range(len(CLASS_NAMES))
  }


def _file_name(performer: int, repetition: int, action: int, camera: int) -> str:
  return (
    f"S{_setup(performer):03d}C{camera:03d}P{performer:03d}R{repetition:03d}A{action + 1:03d}"
    ".skeleton"
  )


def _check(arguments: dict[str, int | None]) -> None:
  limits = dict(
    performers=(1, 999), repetitions=(1, 999), cameras=(1, 3), seed=(0, 2**63), frames=(24, 9999)
  )
  for name, (low, high) in limits.items():
    value = arguments[name]
    if value is not None and not low <= value <= high:
      raise ConfigError(f"{name} is {value}; expected {low} to {high}")


def _read_manifest(path: pathlib.Path) -> dict:
  try:
    manifest = json.loads(path.read_text())
  except (OSError, ValueError):
    return {}
  return manifest if isinstance(manifest, dict) and "format" in manifest else {}


def _total_size(paths: Sequence[pathlib.Path]) -> int:
  """Bytes in all files; -1 where one is missing."""
  try:
    return sum(path.stat().st_size for path in paths)
  except OSError:
    return -1


def _clear(raw_dir: pathlib.Path, old: dict) -> None:
  """Removes the recordings of an earlier manifest; ConfigError if there are others."""
  found = {path for path in raw_dir.glob("*.skeleton") if not raw_files.is_hidden(path.name)}
  ours = {path for group in _paths(raw_dir, old).values() for path in group}
  if others := sorted(found - ours):
    raise ConfigError(
      f"{raw_dir} holds {len(others)} recordings that were not generated here (first: "
      f"{others[0].name}); name an empty or a new folder"
    )
  for path in found:
    path.unlink()


# ---------------------------------------------------------------------------- source


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """--performers, --repetitions and --seed."""
  for name, default, text in (
    ("performers", PERFORMERS, "people who act"),
    ("repetitions", REPETITIONS, "how often each does every action"),
    ("seed", 0, "of all that is random"),
  ):
    parser.add_argument(
      f"--{name}", type=int, default=default, metavar="N", help=f"{text} (default {default})"
    )


def open_raw(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """Generates the recordings in --raw unless they are there, and opens them as NTU's are."""
  generate(raw, performers=args.performers, repetitions=args.repetitions, seed=args.seed)
  return ntu.open_recordings(raw, source="synthetic", class_names=CLASS_NAMES)
