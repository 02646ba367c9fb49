"""From tracked bodies to the stored form of a clip: whose sequences, how long, which way up.

What is done here and what at load time, and why that equals doing all of it at once on padded
arrays: looping and centring are left to `temporal_sampling`, because person 1 is centred
on person 0 at the same frame of *its* loop; the rotations are fixed per clip and commute with both.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from mstgcn_jax.data import facing
from mstgcn_jax.skeletons import Skeleton

_NEAR_ZERO = 1e-6


def energy(body: np.ndarray) -> float:
  """How much a body moves: the sum over x, y, z of the standard deviation in its tracked frames.

  Args:
    body: [frame, joint, 3]; frames whose sum is zero are untracked.
  """
  tracked = body[body.sum(axis=(1, 2)) != 0]
  return float(tracked.reshape(-1, body.shape[-1]).std(axis=0).sum()) if len(tracked) else 0.0


def liveliest(bodies: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
  """The `count` bodies of highest energy, highest first; of equal ones the later first."""
  order = np.argsort([energy(body) for body in bodies], kind="stable")[::-1]
  return [bodies[i] for i in order[:count]]


def normalise(
  persons: Sequence[np.ndarray], skeleton: Skeleton, *, by_sum: bool, upward: str = ""
) -> list[np.ndarray]:
  """Cuts every person to its own length and turns the clip upright and to the front.

  The skeleton's `vertical` bone of the first person is rotated parallel to z, its top up, then its
  `horizontal` joints parallel to x, from left to right, the same way for everybody. People who are
  never tracked are left out; what is untracked becomes 0.

  Args:
    persons: float32 [frame, joint, 3] each, in metres; the main person first.
    skeleton: with `center`, `vertical`, `horizontal`; a rotation with unset joints is left out.
    by_sum: as the reference has it, for the recordings that it is made for. Frames and joints whose
      coordinates sum to 0 are untracked. A person whose first frame is empty has its non-empty
      frames moved together. Frame 0 decides the rotations, whatever it lacks.
      Otherwise what is all 0 is untracked, and one missing joint moves nothing. The clip starts
      where anybody is tracked first, and gaps stay, so that frame t stays one moment. Each rotation
      is decided by the first frame in which both its joints are tracked. Where the first person's
      centre is missing and anybody is tracked, it is put on the line between where it was and
      where it comes back; where it is missing throughout, clips came centred, and it is at 0.
    upward: the recording's axis that points up or down, 'y', '-z', …: before all else the clip is
      turned about it (`facing.to_the_front`). '' where it may not be known.
  Returns:
    float32 [frames_m, joint, 3] each, not centred.
  """
  if upward:
    persons = facing.to_the_front(persons, skeleton, upward)
  if by_sum:
    sequences = [cut for p in persons if len(cut := _cut(p))]
    masks = [sequence.sum(-1) != 0 for sequence in sequences]
  else:
    sequences = _cut_in_step(persons)
    masks = [sequence.any(-1) for sequence in sequences]
  if not sequences:
    return []
  if by_sum:
    turn = _rotation(_first_bone(sequences[0][0], masks[0][0], skeleton), skeleton)
  else:
    turn = _rotation(_tracked_bone(sequences[0], masks[0], skeleton), skeleton)
    if skeleton.center is not None:
      sequences[0] = _carry_center(sequences, masks, skeleton.center)
  if skeleton.center is not None:
    # The centre is subtracted even where its own coordinates happen to sum to zero.
    masks[0][:, skeleton.center] = True
  return [
    np.ascontiguousarray((sequence @ turn.T) * mask[..., None], dtype=np.float32)
    for sequence, mask in zip(sequences, masks, strict=True)
  ]


def turns(skeleton: Skeleton) -> bool:
  """Whether `normalise` turns clips of this layout, about any axis."""
  return skeleton.vertical is not None or skeleton.horizontal is not None


def unturned(skeleton: Skeleton) -> Skeleton:
  """The layout by which `normalise` cuts clips and does not turn them."""
  return dataclasses.replace(skeleton, vertical=None, horizontal=None)


def fractions(pixels: np.ndarray, picture: tuple[float, float]) -> np.ndarray:
  """[…, (x, y, …)] in pixels from the top left corner as fractions of the picture about its middle.

  x / width - 0.5, 0.5 - y / height; further channels, a score, stay.
  """
  width, height = picture
  x, y = pixels[..., 0] / width - 0.5, 0.5 - pixels[..., 1] / height
  return np.concatenate([np.stack([x, y], axis=-1), pixels[..., 2:]], axis=-1)


def cut_together(persons: Sequence[np.ndarray]) -> list[np.ndarray]:
  """Cuts everybody after the last frame in which anybody is tracked, so frame t stays one moment.

  For clips whose coordinates are taken as they are; people who are never tracked are left out.

  Args:
    persons: [frame, joint, channel] each, zero where untracked.
  """
  persons = [person for person in persons if person.any()]
  end = max((int(np.flatnonzero(p.any(axis=(1, 2)))[-1]) + 1 for p in persons), default=0)
  return [person[:end] for person in persons]


def cut_ends(persons: Sequence[np.ndarray]) -> list[np.ndarray]:
  """Without untracked frames at everybody's end, and without the last people if never tracked.

  For clips that are filled with zeros, in which everybody keeps the own place.

  Args:
    persons: [frame, joint, channel] each, zero where untracked.
  """
  lengths = [
    int(tracked[-1]) + 1 if len(tracked := np.flatnonzero(p.any(axis=(1, 2)))) else 0
    for p in persons
  ]
  count = max((m + 1 for m, length in enumerate(lengths) if length), default=0)
  return [p[:n] for p, n in zip(persons[:count], lengths[:count], strict=True)]


def _cut(person: np.ndarray) -> np.ndarray:
  """As the reference cuts: what follows the last frame; and gaps, where the first frame is one."""
  filled = np.flatnonzero(person.sum(axis=(1, 2)))
  if not len(filled):
    return person[:0]
  return person[filled] if filled[0] else person[: filled[-1] + 1]


def _cut_in_step(persons: Sequence[np.ndarray]) -> list[np.ndarray]:
  """Everybody from the first frame in which anybody is tracked to the own last one."""
  filled = [np.flatnonzero(person.any(axis=(1, 2))) for person in persons]
  start = min((int(frames[0]) for frames in filled if len(frames)), default=0)
  return [
    person[start : frames[-1] + 1]
    for person, frames in zip(persons, filled, strict=True)
    if len(frames)
  ]


def _carry_center(
  sequences: Sequence[np.ndarray], masks: Sequence[np.ndarray], center: int
) -> np.ndarray:
  """The first person, with its centre in every frame that shows anybody, if it ever was tracked."""
  first = np.array(sequences[0])
  anybody = np.zeros(len(first), dtype=bool)
  for mask in masks:
    shown = mask.any(axis=1)[: len(first)]
    anybody[: len(shown)] |= shown
  known = np.flatnonzero(masks[0][:, center])
  missing = np.flatnonzero(anybody & ~masks[0][:, center])
  for channel in range(first.shape[-1] if len(known) else 0):
    first[missing, center, channel] = np.interp(missing, known, first[known, center, channel])
  return first


_Bone = Callable[[int, int], np.ndarray]  # the first person's vector from one joint to another


def _rotation(bone: _Bone, skeleton: Skeleton) -> np.ndarray:
  """The clip's rotation [3, 3]."""
  turn = np.eye(3)
  if skeleton.vertical is not None:
    bottom, top = skeleton.vertical
    turn = _align(bone(bottom, top), 2)
  if skeleton.horizontal is not None:
    right, left = skeleton.horizontal
    turn = _align(turn @ bone(left, right), 0) @ turn
  return turn


def _first_bone(frame: np.ndarray, seen: np.ndarray, skeleton: Skeleton) -> _Bone:
  """Vectors in frame 0 [joint, 3], as the reference has them: what is untracked is the centre."""
  center = frame[skeleton.center] if skeleton.center is not None else 0
  frame = (frame - center) * seen[:, None]
  return lambda start, end: frame[end] - frame[start]


def _tracked_bone(person: np.ndarray, seen: np.ndarray, skeleton: Skeleton) -> _Bone:
  """Vectors in the first frame in which both joints are tracked, and not one; else 0."""
  if skeleton.center is not None and not seen[:, skeleton.center].any():
    seen = np.array(seen)
    seen[:, skeleton.center] = True  # the clip came centred: 0 is where this joint is

  def bone(start: int, end: int) -> np.ndarray:
    vectors = person[:, end] - person[:, start]
    usable = seen[:, start] & seen[:, end] & vectors.any(axis=-1)
    return vectors[usable.argmax()] if usable.any() else np.zeros(3, np.float32)

  return bone


def _align(vector: np.ndarray, axis: int) -> np.ndarray:
  """Rotation [3, 3] that takes `vector` to coordinate axis `axis`; identity where undefined."""
  vector = vector.astype(np.float64)
  normal = np.cross(vector, np.eye(3)[axis])
  if np.abs(normal).sum() < _NEAR_ZERO:  # of no length, parallel, or just opposite
    return np.eye(3)
  length = math.sqrt(normal @ normal)
  angle = math.atan2(length, vector[axis])
  x, y, z = normal / length
  cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
  return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)
