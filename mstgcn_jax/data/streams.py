"""Streams: what the network sees of the joints; pure functions of [..., frame, joint, channel]."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mstgcn_jax.errors import ConfigError

STREAMS = (
  *("joint", "bone", "joint_motion", "bone_motion"),
  *("joint+bone", "joint+motion", "bone+motion"),
)


def num_channels(stream: str, channels: int) -> int:
  """Channels of a stream made from joints with `channels` channels."""
  return channels * (2 if "+" in _check(stream) else 1)


def apply(joints: np.ndarray | jax.Array, stream: str, bone_parents: Sequence[int]) -> jax.Array:
  """The named stream of a batch of clips.

  Args:
    joints: [..., frame, joint, channel], untracked joints 0.
    stream: One of `STREAMS`; those with a `+` put the second behind the first on the channel axis,
      where `motion` is the motion of the first.
    bone_parents: `Skeleton.bone_parents`.
  Returns:
    [..., frame, joint, num_channels(stream, channel)].
  Raises:
    ConfigError: The stream is unknown.
  """
  if _check(stream) == "joint+bone":
    return jnp.concatenate([joints, bone(joints, bone_parents)], axis=-1)
  base = bone(joints, bone_parents) if stream.startswith("bone") else joints
  if stream.endswith("+motion"):
    return jnp.concatenate([base, motion(base)], axis=-1)
  return motion(base) if stream.endswith("_motion") else base


def bone(joints: jax.Array, bone_parents: Sequence[int]) -> jax.Array:
  """Every joint minus its bone parent, all channels (a score too); a root's bone is 0.

  Same shape and units as `joints`, [..., joint, channel].
  """
  parents = np.asarray(bone_parents)
  if parents.shape != joints.shape[-2:-1]:
    raise ConfigError(
      f"bone_parents has {parents.size} joints, the clips have {joints.shape[-2]}: "
      "the skeleton is not this data set's"
    )
  return joints - joints[..., parents, :]


def motion(x: jax.Array) -> jax.Array:
  """Displacement to the next frame, [..., frame, joint, channel]; the last frame is 0."""
  return jnp.concatenate(
    [x[..., 1:, :, :] - x[..., :-1, :, :], jnp.zeros_like(x[..., :1, :, :])], -3
  )


def _check(stream: str) -> str:
  if stream not in STREAMS:
    raise ConfigError(f"stream: {stream!r} is unknown; known: {', '.join(STREAMS)}")
  return stream
