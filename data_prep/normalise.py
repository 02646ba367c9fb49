"""From tracked bodies to the stored form of a clip: whose sequences, how long, which way up.

What is done here and what at load time, and why that equals doing all of it at once on padded
arrays: looping and centring are left to `mstgcn_jax.temporal_sampling`, because person 1 is centred
on person 0 at the same frame of *its* loop; the rotations are fixed per clip and commute with both.
"""

import math
from collections.abc import Sequence

import numpy as np

from mstgcn_jax.skeletons import Skeleton

_NEAR_ZERO = 1e-6


def energy(body: np.ndarray) -> float:
  """How much a body moves: the sum over x, y, z of the standard deviation over its tracked frames.

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
  persons: Sequence[np.ndarray], skeleton: Skeleton, *, by_sum: bool
) -> list[np.ndarray]:
  """Cuts every person to its own length and turns the clip upright and to the front.

  A person whose first frame is empty has its non-empty frames moved together; what follows the last
  non-empty frame is cut off; people without any are left out. Then the skeleton's `vertical` bone
  of person 0 in frame 0 is rotated parallel to z, and its `horizontal` joints parallel to x, the
  same way for everybody. What is untracked becomes 0.

  Args:
    persons: float32 [frame, joint, 3] each, in metres; the main person first.
    skeleton: with `center`, `vertical`, `horizontal`; a rotation with unset joints is left out.
    by_sum: frames and joints whose coordinates sum to 0 are untracked, as the reference has it;
      else those whose coordinates are all 0.
  Returns:
    float32 [frames_m, joint, 3] each, not centred.
  """
  filled = (lambda x, axis: x.sum(axis) != 0) if by_sum else (lambda x, axis: x.any(axis))
  sequences = [cut for p in persons if len(cut := _cut(p, np.flatnonzero(filled(p, (1, 2)))))]
  if not sequences:
    return []
  masks = [filled(sequence, -1)[..., None] for sequence in sequences]
  turn = _rotation(sequences[0][0], masks[0][0], skeleton)
  if skeleton.center is not None:
    # The centre is subtracted even where its own coordinates happen to sum to zero.
    masks[0][:, skeleton.center] = True
  return [
    np.ascontiguousarray((sequence @ turn.T) * mask, dtype=np.float32)
    for sequence, mask in zip(sequences, masks, strict=True)
  ]


def turns(skeleton: Skeleton) -> bool:
  """Whether `normalise` turns clips of this layout, about any axis."""
  return skeleton.vertical is not None or skeleton.horizontal is not None


def cut_together(persons: Sequence[np.ndarray]) -> list[np.ndarray]:
  """Cuts everybody after the last frame in which anybody is tracked, so frame t stays one moment.

  For clips whose coordinates are taken as they are; people who are never tracked are left out.

  Args:
    persons: [frame, joint, channel] each, zero where untracked.
  """
  persons = [person for person in persons if person.any()]
  end = max((int(np.flatnonzero(p.any(axis=(1, 2)))[-1]) + 1 for p in persons), default=0)
  return [person[:end] for person in persons]


def _cut(person: np.ndarray, filled: np.ndarray) -> np.ndarray:
  if not len(filled):
    return person[:0]
  return person[filled] if filled[0] else person[: filled[-1] + 1]


def _rotation(frame: np.ndarray, mask: np.ndarray, skeleton: Skeleton) -> np.ndarray:
  """The clip's rotation [3, 3], from person 0's first frame [joint, 3] and its tracked joints."""
  center = frame[skeleton.center] if skeleton.center is not None else 0
  frame = (frame - center) * mask
  turn = np.eye(3)
  if skeleton.vertical is not None:
    bottom, top = skeleton.vertical
    turn = _align(frame[top] - frame[bottom], 2)
  if skeleton.horizontal is not None:
    right, left = skeleton.horizontal
    turn = _align(turn @ (frame[right] - frame[left]), 0) @ turn
  return turn


def _align(vector: np.ndarray, axis: int) -> np.ndarray:
  """Rotation [3, 3] that takes `vector` to coordinate axis `axis`; identity where undefined."""
  target = np.eye(3)[axis]
  vector = vector.astype(np.float64)
  normal = np.cross(vector, target)
  length = math.sqrt(vector @ vector)
  if np.abs(vector).sum() < _NEAR_ZERO or np.abs(normal).sum() < _NEAR_ZERO:
    return np.eye(3)
  angle = math.acos(min(1.0, max(-1.0, vector[axis] / length)))
  if angle < _NEAR_ZERO:
    return np.eye(3)
  x, y, z = normal / math.sqrt(normal @ normal)
  cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
  return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)
