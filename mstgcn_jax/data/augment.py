"""Augmentation on the device, pure functions of (key, clip): of joints, then of a stream of them.

Every geometric operation has a deterministic core that takes the drawn parameters; `apply` draws
them, one set per clip, and keeps what is untracked at 0. `drop` hides joints and frames of what the
network sees. All take [..., person, frame, joint, channel].
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from mstgcn_jax import skeletons
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.skeletons import Skeleton

# The reference's candidates for the two key poses of `random_move`.
_MOVE_DEGREES = (-10.0, -5.0, 0.0, 5.0, 10.0)
_MOVE_SCALES = (0.9, 1.0, 1.1)
_MOVE_SHIFTS = (-0.2, -0.1, 0.0, 0.1, 0.2)
# Operations that draw, each with a key of its own, in the order of `Augmentation`'s attributes but
# for the two that drop, which are last.
_DRAWS = 8


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """What `apply` and `drop` do to a training clip; the default is nothing.

  All persons share the draws, but for jitter and joint_dropout, which are each person's own.

  Attributes:
    rotation: Largest angle about the x, y and z axis, in radians; uniform within +- that.
    scale: (lowest, highest) factor of the size, uniform between.
    shear: Largest off-diagonal element of a shear matrix, uniform within +- that.
    jitter: Standard deviation of Gaussian noise on every joint and frame, in the clip's units.
    joint_dropout: Probability that the network sees 0 in place of a joint of a person throughout
      the clip; of a stream of bones, in place of the bone that ends there.
    frame_dropout: Probability that it sees 0 in place of a frame of every person.
    mirror: Probability that left and right are swapped (needs `skeleton.mirror`).
    random_move: Rotate about z, scale and shift x, y smoothly between two random key poses.
    openpose_match: Link the persons across frames by distance first (x, y, score clips).
    dimensions: Leading channels that are coordinates; the rest (a score) are left alone. 2 for
      clips of x, y, score, where rotation about x and y has no meaning. 0 in a config: those of the
      data set, and what its clips do not allow is left out (`fitted`).
  """

  rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
  scale: tuple[float, float] = (1.0, 1.0)
  shear: float = 0.0
  jitter: float = 0.0
  joint_dropout: float = 0.0
  frame_dropout: float = 0.0
  mirror: float = 0.0
  random_move: bool = False
  openpose_match: bool = False
  dimensions: int = 3

  def __post_init__(self):
    def refuse(field: str, allowed: str):
      raise ConfigError(f"augment.{field} must be {allowed}, not {getattr(self, field)!r}")

    for field, length in (("rotation", 3), ("scale", 2)):
      values = getattr(self, field)
      if not isinstance(values, (tuple, list)) or len(values) != length:
        refuse(field, f"{length} numbers")
      if not all(_is_number(value) for value in values):
        refuse(field, f"{length} finite numbers")
      object.__setattr__(self, field, tuple(float(value) for value in values))
    if min(self.rotation) < 0:
      refuse("rotation", "three angles of at least 0")
    if not 0 < self.scale[0] <= self.scale[1]:
      refuse("scale", "(lowest, highest) with 0 < lowest <= highest")
    for field in ("shear", "jitter"):
      if not _is_number(getattr(self, field)) or getattr(self, field) < 0:
        refuse(field, "a number of at least 0")
    for field in ("joint_dropout", "frame_dropout"):
      if not _is_number(getattr(self, field)) or not 0 <= getattr(self, field) < 1:
        refuse(field, "a probability in [0, 1)")
    if not _is_number(self.mirror) or not 0 <= self.mirror <= 1:
      refuse("mirror", "a probability in [0, 1]")
    for field in ("random_move", "openpose_match"):
      if not isinstance(getattr(self, field), bool):
        refuse(field, "true or false")
    if self.dimensions not in (0, 2, 3):
      refuse("dimensions", "2 or 3, or 0 for those of the data set")
    if self.dimensions == 2 and any(self.rotation[:2]):
      refuse("rotation", "(0, 0, angle) where dimensions is 2")

  def fitted(self, dimensions: int, skeleton: Skeleton) -> "Augmentation":
    """With `dimensions` 0, what of it clips of so many coordinates and this layout allow.

    Without rotation about x and y where clips are flat, without mirroring where the layout names no
    pairs. With dimensions of its own it stays as it is: `apply` then refuses what cannot be.
    """
    if self.dimensions:
      return self
    rotation = self.rotation if dimensions == 3 else (0.0, 0.0, self.rotation[2])
    mirror = self.mirror if skeleton.mirror else 0.0
    return dataclasses.replace(self, dimensions=dimensions, rotation=rotation, mirror=mirror)

  @property
  def is_off(self) -> bool:
    return self == Augmentation(dimensions=self.dimensions)

  @property
  def changes_coordinates(self) -> bool:
    """Whether it makes other numbers of them than mirroring and leaving out do."""
    others = {"joint_dropout": 0.0, "frame_dropout": 0.0, "mirror": 0.0, "openpose_match": False}
    return not dataclasses.replace(self, **others).is_off


def _is_number(value: object) -> bool:
  number = isinstance(value, (int, float)) and not isinstance(value, bool)
  return number and math.isfinite(value)


def apply(
  key: jax.Array,
  clips: jax.Array,
  options: Augmentation,
  skeleton: Skeleton,
  center: int | None,
  *,
  first: jax.Array | int = 0,
) -> jax.Array:
  """Augments a batch; a clip's result depends on the key and its place in the batch only.

  Order: link persons, mirror, random_move, rotation x scale x shear, jitter. A joint that was 0
  stays 0. What is dropped comes later (`drop`).

  Args:
    key: A jax.random key, a new one each step.
    clips: [batch, person, frame, joint, channel], the global batch or a device's share of it.
    options: Static: what to do.
    skeleton: Static: its `mirror` pairs.
    center: Static: joint of the first person that lies at 0 although it is tracked, because clips
      are centred on it; None where they are not.
    first: place of the first clip in the global batch.
  Returns:
    Clips of the same shape and type.
  Raises:
    ConfigError: The skeleton or the channels don't fit what is asked for.
  """
  if options.is_off:
    return clips
  if clips.shape[-1] < options.dimensions:
    raise ConfigError(
      f"augment.dimensions is {options.dimensions}, the clips have {clips.shape[-1]} "
      "channels; set augment.dimensions to the number of coordinates"
    )
  augment_clip = lambda k, clip: _augment_clip(k, clip, options, skeleton, center)
  return jax.vmap(augment_clip)(_keys(key, clips, first), clips)


def drop(
  key: jax.Array, x: jax.Array, options: Augmentation, *, first: jax.Array | int = 0
) -> jax.Array:
  """Sets joints and frames of a batch of streams to 0, as `options` says.

  Not of the joints that the streams are made of: a joint that is missing there makes long bones to
  its neighbours, and a frame leaps into the motion of two, so that noise of a size that is never
  seen in evaluation drowns the rest.

  Args:
    key, first: as of `apply`.
    x: [batch, person, frame, joint, channel].
  """
  if not (options.joint_dropout or options.frame_dropout):
    return x
  return jax.vmap(lambda k, clip: _drop_of_clip(k, clip, options))(_keys(key, x, first), x)


def _keys(key: jax.Array, clips: jax.Array, first: jax.Array | int) -> jax.Array:
  """A key for every clip: the draws don't depend on the batch size or on sharding."""
  return jax.vmap(lambda i: jax.random.fold_in(key, i))(first + jnp.arange(clips.shape[0]))


def _drop_of_clip(key: jax.Array, x: jax.Array, options: Augmentation) -> jax.Array:
  persons, frames, joints, _ = x.shape
  *_, of_joints, of_frames = jax.random.split(key, _DRAWS)
  kept = jax.random.bernoulli(of_joints, 1 - options.joint_dropout, (persons, 1, joints))
  kept &= jax.random.bernoulli(of_frames, 1 - options.frame_dropout, (frames, 1))
  return jnp.where(kept[..., None], x, 0)


def _augment_clip(
  key: jax.Array, clip: jax.Array, options: Augmentation, skeleton: Skeleton, center: int | None
) -> jax.Array:
  """One clip [person, frame, joint, channel]; every operation has a key of its own."""
  keys = jax.random.split(key, _DRAWS)
  if options.openpose_match:
    clip = openpose_match(clip)
  seen = skeletons.tracked(clip, center)

  if options.mirror > 0:
    pairs = skeleton.require("mirror", "mirroring")
    flip = jax.random.bernoulli(keys[0], options.mirror)
    clip = jnp.where(flip, mirror(clip, pairs), clip)
    seen = jnp.where(flip, _swap(seen, pairs, axis=-1), seen)

  if options.random_move:
    a, s, t = jax.random.split(keys[1], 3)
    clip = move(
      clip,
      degrees=jax.random.choice(a, jnp.array(_MOVE_DEGREES), (2,)),
      scales=jax.random.choice(s, jnp.array(_MOVE_SCALES), (2,)),
      shifts=jax.random.choice(t, jnp.array(_MOVE_SHIFTS), (2, 2)),
    )

  n = options.dimensions
  matrix = jnp.eye(3)
  if any(options.rotation):
    limit = jnp.array(options.rotation)
    matrix = rotation_matrix(jax.random.uniform(keys[2], (3,), minval=-limit, maxval=limit))
  if options.scale != (1.0, 1.0):
    low, high = options.scale
    matrix = matrix * jax.random.uniform(keys[3], minval=low, maxval=high)
  if options.shear > 0:
    limit = options.shear
    offsets = jax.random.uniform(keys[4], (3, 3), minval=-limit, maxval=limit)
    matrix = jnp.matmul(matrix, shear_matrix(offsets), precision="highest")
  if any(options.rotation) or options.scale != (1.0, 1.0) or options.shear > 0:
    clip = transform(clip, matrix[:n, :n])

  if options.jitter > 0:
    noise = options.jitter * jax.random.normal(keys[5], (*clip.shape[:-1], n), clip.dtype)
    clip = clip.at[..., :n].add(noise)
  return jnp.where(seen[..., None], clip, 0)


def rotation_matrix(angles: jax.Array) -> jax.Array:
  """Rotation [3, 3] about x, then y, then z, by `angles` [3] in radians: Rz Ry Rx."""
  (cx, cy, cz), (sx, sy, sz) = jnp.cos(angles), jnp.sin(angles)
  return jnp.array(
    [
      [cy * cz, sx * sy * cz - cx * sz, cx * sy * cz + sx * sz],
      [cy * sz, sx * sy * sz + cx * cz, cx * sy * sz - sx * cz],
      [-sy, sx * cy, cx * cy],
    ]
  )


def shear_matrix(offsets: jax.Array) -> jax.Array:
  """`offsets` [3, 3] with a diagonal of ones: every axis leans on the others (Rao et al. 2021)."""
  return jnp.where(jnp.eye(3, dtype=bool), 1, offsets)


def transform(clips: jax.Array, matrix: jax.Array) -> jax.Array:
  """Multiplies the leading D channels, as column vectors, by `matrix` [D, D]; the rest stay."""
  n = matrix.shape[-1]
  # Products and a sum, not a dot: that would be of reduced precision on a GPU.
  moved = jnp.sum(clips[..., None, :n] * matrix, axis=-1)
  return jnp.concatenate([moved.astype(clips.dtype), clips[..., n:]], axis=-1)


def move(clips: jax.Array, degrees: jax.Array, scales: jax.Array, shifts: jax.Array) -> jax.Array:
  """Rotates x, y about the origin, scales and shifts them, linearly between two key poses.

  Frame t of T gets the pose at t / (T - 1) of the way (Yan et al. 2018, `random_move`).

  Args:
    clips: [..., person, frame, joint, channel]; channels beyond 2 stay.
    degrees: [2], scales: [2], shifts: [2, 2] (x and y of the first pose, then of the second).
  """
  frames = clips.shape[-3]

  def between(poses: jax.Array) -> jax.Array:  # [frame, 1], against [..., frame, joint]
    return jnp.linspace(poses[0], poses[1], frames)[:, None]

  angle, scale = jnp.radians(between(degrees)), between(scales)
  cos, sin = scale * jnp.cos(angle), scale * jnp.sin(angle)
  x, y = clips[..., 0], clips[..., 1]
  moved_x = cos * x - sin * y + between(shifts[:, 0])
  moved_y = sin * x + cos * y + between(shifts[:, 1])
  moved = jnp.stack([moved_x, moved_y], axis=-1)
  return jnp.concatenate([moved.astype(clips.dtype), clips[..., 2:]], axis=-1)


def mirror(clips: jax.Array, pairs: tuple[tuple[int, int], ...]) -> jax.Array:
  """The clip in a mirror: x changes its sign, left and right joints (`pairs`) change places."""
  clips = clips.at[..., 0].multiply(-1)
  return _swap(clips, pairs, axis=-2)


def _swap(x: jax.Array, pairs: tuple[tuple[int, int], ...], axis: int) -> jax.Array:
  order = np.arange(x.shape[axis])
  for left, right in pairs:
    order[[left, right]] = right, left
  return jnp.take(x, order, axis=axis)


def normalise(
  x: jax.Array, mean: jax.Array, std: jax.Array, seen: jax.Array | None = None
) -> jax.Array:
  """(x - mean) / std per joint and channel, of any stream; a std of 0 counts as 1.

  Args:
    x: [..., joint, channel].
    mean: [joint, channel]; std: the same.
    seen: bool [..., joint], from `skeletons.tracked` of the joints; what is not seen stays 0.
  """
  x = (x - mean) / jnp.where(std == 0, 1, std)
  return x if seen is None else jnp.where(seen[..., None], x, 0)


def openpose_match(clip: jax.Array) -> jax.Array:
  """Links the persons of a clip across frames and orders them by their total score.

  From each frame to the next, persons choose in turn the nearest pose (squared distance of x, y
  over all joints) nobody has chosen yet. The turn of the person in slot i is the slot that stands
  i-th in the frame's descending order of scores: the reference ranks so (Yan et al. 2018).

  Args:
    clip: [person, frame, joint, channel >= 3]: x, y, score.
  Returns:
    The same poses; in every frame, persons are permuted.
  Raises:
    ConfigError: There is no score channel.
  """
  if clip.shape[-1] < 3:
    raise ConfigError(
      f"openpose_match needs x, y and score, the clips have {clip.shape[-1]} channels"
    )
  persons = clip.shape[0]
  order = jnp.argsort(-clip[..., 2].sum(-1)[:, :-1], axis=0).T  # [frame - 1, person]
  xy = clip[..., :2]
  distance = jnp.square(xy[None, :, 1:] - xy[:, None, :-1]).sum((-1, -2))
  distance = jnp.moveaxis(distance, -1, 0)  # [frame - 1, from, to]

  link = jnp.zeros_like(order)
  for turn in range(persons):
    chooser = jnp.argmax(order == turn, axis=1)
    costs = jnp.take_along_axis(distance, chooser[:, None, None], axis=1)[:, 0]
    nearest = jnp.argmin(costs, axis=1)
    link = jnp.where(jnp.arange(persons) == chooser[:, None], nearest[:, None], link)
    distance = jnp.where(jnp.arange(persons) == nearest[:, None, None], jnp.inf, distance)

  start = jnp.arange(persons)
  _, tracks = jax.lax.scan(lambda slot, step: (step[slot], step[slot]), start, link)
  tracks = jnp.concatenate([start[None], tracks]).T  # [person, frame]: the slot each track is in
  clip = jnp.take_along_axis(clip, tracks[:, :, None, None], axis=0)
  return clip[jnp.argsort(-clip[..., 2].sum((1, 2)))]
