"""A clip before a camera that stands still: which way is up, and where joints and shadows are."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_prep import layouts
from mstgcn_jax.data import facing
from mstgcn_jax.skeletons import Skeleton

_TURNS = np.radians([28, -28, 62, -62])  # of the camera from straight ahead, the favourite first
_TILT = np.radians(12)
_UPPER = ("head", "nose", "neck", "shoulder")
_LOWER = ("hip", "knee", "ankle", "foot", "base")


def padded(persons: Sequence[np.ndarray]) -> np.ndarray:
  """[person, frame, joint, channel]; a person that ends early is untracked from there."""
  clip = np.zeros((len(persons), max(map(len, persons)), *persons[0].shape[1:]), np.float32)
  for row, person in zip(clip, persons, strict=True):
    row[: len(person)] = person
  return clip


@dataclasses.dataclass
class Scene:
  """A clip in front of a camera that stands still: [person, frame, joint, channel].

  `seen` [person, frame, joint] says which joints are tracked, `coordinates` what the channels are
  (`DataSet.coordinates`; what it does not say is seen from the clip).

  Attributes:
    points: [person, frame, joint, 3], to the right, up and towards the camera; as of `upright`, if
      `flat`.
    flat: whether they lie in an image.
    shadow: as `points`, of what they throw on the floor; None in an image.
    floor: its lines, [line, 2 ends, 2]; none in an image.
    middle, extent: of what is seen, [2].
  """

  clip: np.ndarray
  seen: np.ndarray
  skeleton: Skeleton
  coordinates: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    self.points, self.flat = upright(self.clip, self.seen, self.skeleton, self.coordinates)
    self.floor, self.shadow = np.zeros((0, 2, 2)), None
    if not self.flat:
      self._stand_in_a_room()
    visible = self.points[self.seen][:, :2]
    low, high = np.percentile(visible, [0.3, 99.7], axis=0)  # a joint gone astray is cut off
    if self.shadow is not None:
      ground = self.shadow[self.seen][:, :2]
      low = np.minimum(low, np.percentile(ground, 2, axis=0))
    self.middle, self.extent = (low + high) / 2, np.maximum(high - low, 1e-6)

  def _stand_in_a_room(self) -> None:
    """Camera coordinates (right, up, towards the camera) of joints, of shadows and of a floor."""
    room = self.points
    camera = _camera(_turn(room, self.seen))
    ground = np.percentile(room[self.seen][:, 1], 1)
    flat = np.array(room)
    flat[..., 1] = ground
    self.points, self.shadow = room @ camera, flat @ camera
    low, high = np.percentile(flat[self.seen][:, [0, 2]], [1, 99], axis=0)
    size = float(np.max(np.ptp(room[self.seen], axis=0)))
    step = _round_step(size / 5)
    low, high = np.floor(low / step - 0.8), np.ceil(high / step + 0.8)
    xs, zs = (np.arange(a, b + 1) * step for a, b in zip(low, high, strict=True))
    lines = [((x, zs[0]), (x, zs[-1])) for x in xs] + [((xs[0], z), (xs[-1], z)) for z in zs]
    corners = np.array([[(x, ground, z) for x, z in line] for line in lines])
    self.floor = (corners @ camera)[..., :2]


def _round_step(size: float) -> float:
  """1, 2 or 5 times a power of ten, near `size`."""
  power = 10.0 ** np.floor(np.log10(max(size, 1e-9)))
  return power * min((1, 2, 5, 10), key=lambda digit: abs(digit - size / power))


def upright(
  clip: np.ndarray, seen: np.ndarray, skeleton: Skeleton, coordinates: Mapping[str, Any]
) -> tuple[np.ndarray, bool]:
  """Joints as somebody in front of the first person sees them; and whether they lie in an image.

  Args: as of `Scene`.
  Returns:
    [person, frame, joint, 3]: x to the right, y up, z towards who looks, 0 in an image.
  """
  channels = coordinates.get("channels")
  flat = "z" not in channels if channels else _is_flat(clip, skeleton)
  if not flat:
    axes = _room(clip, seen, skeleton, coordinates.get("up", ""))
    return clip[..., :3] @ np.stack(axes, axis=1), False
  points = clip[..., :2] * _aspect(clip, coordinates)
  if coordinates.get("up") == "-y":
    points = points * [1, -1]
  return np.concatenate([points, np.zeros_like(points[..., :1])], axis=-1), True


def _is_flat(clip: np.ndarray, skeleton: Skeleton) -> bool:
  """Whether the joints lie in an image: two coordinates, or a score for the third."""
  if clip.shape[-1] < 3:
    return True
  third = clip[..., 2]
  return skeleton.vertical is None and (not third.any() or layouts.is_score(third))


def _aspect(clip: np.ndarray, coordinates: Mapping[str, Any]) -> np.ndarray:
  """Image fractions are drawn as of their picture, or one 4 wide and 3 high; others as they are."""
  units = coordinates.get("units")
  if units == "image fractions" or (units is None and np.abs(clip[..., :2]).max() <= 1):
    width, height = coordinates.get("picture", (4, 3))
    return np.array([width / height, 1.0])
  return np.ones(2)


def _room(
  clip: np.ndarray, seen: np.ndarray, skeleton: Skeleton, axis: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Unit vectors (right, up, towards the camera), the camera in front of the first person.

  Up is `axis` ('z', '-y', …), or else the coordinate axis along which the upper body is above the
  lower one; in front is where left and right are the sides of somebody who faces the camera at the
  start.
  """
  start = [t for t in range(clip.shape[1]) if seen[0, t].any()][:10] or [0]
  known, count = seen[0, start].any(axis=0), seen[0, start].sum(axis=0)
  points = np.where(seen[0, start, :, None], clip[0, start, :, :3], 0).astype(np.float64)
  joints = points.sum(axis=0) / np.maximum(count, 1)[:, None]
  up = facing.AXES[axis] if axis else _vertical(joints, known, skeleton)
  if up is None:  # nothing says what is up: look onto the plane that the joints fill best
    values = clip[..., :3][seen][:5000].astype(np.float64)
    values -= values.mean(axis=0)
    _, _, axes = np.linalg.svd(values.T @ values)
    return axes[1], axes[0], np.cross(axes[1], axes[0])
  side = np.zeros(3)
  for left, right in skeleton.mirror:
    if known[left] and known[right]:
      side += joints[right] - joints[left]
  side -= (side @ up) * up
  if np.linalg.norm(side) < 1e-6:
    side = np.roll(up, 1)
  left = -side / np.linalg.norm(side)  # who faces us has the right hand on our left
  return left, up, np.cross(left, up)


def _vertical(joints: np.ndarray, known: np.ndarray, skeleton: Skeleton) -> np.ndarray | None:
  upper, lower = (
    [i for i in np.flatnonzero(known) if any(word in skeleton.joints[i] for word in words)]
    for words in (_UPPER, _LOWER)
  )
  if skeleton.vertical is not None and known[list(skeleton.vertical)].all():
    lower, upper = ([joint] for joint in skeleton.vertical)
  if not upper or not lower:
    return None
  vector = joints[upper].mean(axis=0) - joints[lower].mean(axis=0)
  axis = int(np.argmax(np.abs(vector)))
  return np.eye(3)[axis] * (1 if vector[axis] >= 0 else -1)


def _turn(room: np.ndarray, seen: np.ndarray) -> float:
  """The camera's turn: the favourite, or for two people one that shows them side by side."""
  places = [room[m][seen[m]].mean(axis=0) for m in range(len(room)) if seen[m].any()]
  if len(places) < 2:
    return _TURNS[0]
  between = places[1] - places[0]
  return max(_TURNS, key=lambda turn: round(abs((between @ _camera(turn))[0]), 6))


def _camera(angle: float) -> np.ndarray:
  """Room to camera coordinates, for row vectors: turned about the vertical, tilted down."""
  turn = np.array(
    [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
  )
  tilt = np.array(
    [[1, 0, 0], [0, np.cos(_TILT), np.sin(_TILT)], [0, -np.sin(_TILT), np.cos(_TILT)]]
  )
  return turn @ tilt
