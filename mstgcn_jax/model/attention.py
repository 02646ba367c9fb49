"""Attention after the temporal layer: activation(BN(x · gate(x)) + x)."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from mstgcn_jax.model.activations import hswish, make_activation, relu
from mstgcn_jax.model.compose import ConvNorm, Residual, identity
from mstgcn_jax.model.config import ModelConfig
from mstgcn_jax.model.norm import BatchNorm
from mstgcn_jax.model.temporal import TemporalConv


class Gated(nnx.Module):
  """norm(x · gate(x)); x is [clip, joint, frame, channel], the gate broadcasts to it."""

  def __init__(self, gate: nnx.Module, norm: BatchNorm):
    self.gate = gate
    self.norm = norm

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.norm(x * self.gate(x))


def _reduce(channels: int, inner: int, activation, dtype: str, rngs: nnx.Rngs) -> ConvNorm:
  conv = TemporalConv(channels, inner, dtype=dtype, rngs=rngs)
  return ConvNorm(conv, BatchNorm(inner, dtype=dtype), activation)


class JointFrameGate(nnx.Module):
  """`stja`, and `stcja` with a channel gate: outer product of a gate by frame and one by joint."""

  def __init__(self, channels: int, inner: int, *, by_channel: bool, dtype: str, rngs: nnx.Rngs):
    expand = lambda: TemporalConv(inner, channels, dtype=dtype, rngs=rngs)
    self.shared = _reduce(channels, inner, hswish, dtype, rngs)
    self.frame = expand()
    self.joint = expand()
    self.channel = expand() if by_channel else None

  def __call__(self, x: jax.Array) -> jax.Array:
    by_frame = jnp.mean(x, 1)  # [clip, frame, channel]
    by_joint = jnp.mean(x, 2)  # [clip, joint, channel]
    reduced = self.shared(jnp.concatenate([by_frame, by_joint], 1))
    by_frame, by_joint = jnp.split(reduced, [x.shape[2]], axis=1)
    gate = jax.nn.sigmoid(self.frame(by_frame))[:, None]
    gate = gate * jax.nn.sigmoid(self.joint(by_joint))[:, :, None]
    if self.channel is not None:
      pooled = (jnp.mean(by_frame, 1) + jnp.mean(by_joint, 1)) / 2
      gate = gate * jax.nn.sigmoid(self.channel(pooled))[:, None, None]
    return gate


class PartGate(nnx.Module):
  """`pa`: a softmax over body parts for each channel; every joint takes its part's weight."""

  def __init__(
    self, channels: int, inner: int, parts: tuple[tuple[int, ...], ...], *, dtype, rngs: nnx.Rngs
  ):
    self.reduce = _reduce(channels, inner, relu, dtype, rngs)
    self.expand = TemporalConv(inner, channels * len(parts), dtype=dtype, rngs=rngs)
    part_of = {joint: i for i, part in enumerate(parts) for joint in part}
    self.part_of_joint = tuple(part_of[joint] for joint in range(len(part_of)))

  def __call__(self, x: jax.Array) -> jax.Array:
    scores = self.expand(self.reduce(jnp.mean(x, (1, 2))))
    weights = jax.nn.softmax(scores.reshape(*scores.shape[:-1], x.shape[-1], -1))
    return jnp.moveaxis(weights[..., jnp.array(self.part_of_joint)], -1, 1)[:, :, None]


class JointGate(nnx.Module):
  """`ja`: a softmax over joints, from each joint's mean over frames and channels."""

  def __init__(self, joints: int, *, dtype: str, rngs: nnx.Rngs):
    self.reduce = _reduce(joints, joints // 2, relu, dtype, rngs)
    self.expand = TemporalConv(joints // 2, joints, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    weights = jax.nn.softmax(self.expand(self.reduce(jnp.mean(x, (2, 3)))))
    return weights[:, :, None, None]


class ChannelGate(nnx.Module):
  """`ca`: squeeze and excitation (Hu et al. 2018)."""

  def __init__(self, channels: int, *, dtype: str, rngs: nnx.Rngs):
    self.reduce = _reduce(channels, channels // 4, relu, dtype, rngs)
    self.expand = TemporalConv(channels // 4, channels, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    return jax.nn.sigmoid(self.expand(self.reduce(jnp.mean(x, (1, 2)))))[:, None, None]


class FrameGate(nnx.Module):
  """`fa`: 9×1 convolution of each frame's mean and maximum over joints and channels."""

  def __init__(self, *, dtype: str, rngs: nnx.Rngs):
    self.conv = TemporalConv(2, 1, 9, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.conv(jnp.stack([jnp.mean(x, (1, 3)), jnp.max(x, (1, 3))], -1)[:, None])


class JointFrameChannelGates(nnx.Module):
  """AAGCN's three gates in a row, each x · (1 + σ(…)) (Shi et al. 2020).

  Of joints: a convolution over them, as wide as the skeleton, of the mean over frames. Of frames: a
  convolution over 9 of the mean over joints. Of channels: two linear maps of the mean over both.
  Those of frames and channels start as 1/2, whatever the clip.
  """

  def __init__(self, channels: int, joints: int, *, dtype: str, rngs: nnx.Rngs):
    param_dtype = jnp.promote_types(dtype, jnp.float32)
    options = {"dtype": dtype, "rngs": rngs}
    window = joints - (joints + 1) % 2  # odd
    self.joint = TemporalConv(channels, 1, window, **options)
    # From Kaiming's deviation to Xavier's, √(2 / ((C + 1) · window)).
    self.joint.weight[...] /= (channels + 1) ** 0.5
    self.frame = TemporalConv(channels, 1, 9, **options)
    self.frame.weight[...] *= 0
    linear = functools.partial(nnx.Linear, param_dtype=param_dtype, **options)
    inner, he = channels // 2, nnx.initializers.normal((2 / channels) ** 0.5)
    self.reduce = linear(channels, inner, kernel_init=he)
    self.expand = linear(inner, channels, kernel_init=nnx.initializers.zeros)

  def __call__(self, x: jax.Array) -> jax.Array:
    by_joint = jax.nn.sigmoid(self.joint(jnp.mean(x, 2)[:, None]))  # [clip, 1, joint, 1]
    x = x * (1 + by_joint.swapaxes(1, 2))
    x = x * (1 + jax.nn.sigmoid(self.frame(jnp.mean(x, 1)[:, None])))
    reduced = relu(self.reduce(jnp.mean(x, (1, 2))))
    return x * (1 + jax.nn.sigmoid(self.expand(reduced)))[:, None, None]


def make_attention(config: ModelConfig, channels: int, *, rngs: nnx.Rngs) -> Residual:
  """The attention layer of a config for features of that many channels."""
  options = {"dtype": config.dtype, "rngs": rngs}
  inner = channels // config.reduction
  match config.attention:
    case "stja" | "stcja":
      by_channel = config.attention == "stcja"
      gate = JointFrameGate(channels, inner, by_channel=by_channel, **options)
    case "pa":
      gate = PartGate(channels, inner, config.skeleton.parts, **options)
    case "ja":
      gate = JointGate(config.skeleton.num_joints, **options)
    case "ca":
      gate = ChannelGate(channels, **options)
    case "fa":
      gate = FrameGate(**options)
  activation = make_activation(config.activation, channels, **options)
  return Residual(Gated(gate, BatchNorm(channels, dtype=config.dtype)), identity, activation)
