"""Convolution over the frames of each joint."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from mstgcn_jax.model.platform import by_platform


def kaiming_fan_out(rngs: nnx.Rngs, shape: tuple[int, ...], fan_out: int, dtype) -> nnx.Param:
  """Weights drawn from N(0, 2 / fan_out) (He et al. 2015); fan_out = outputs · kernel elements."""
  std = math.sqrt(2 / fan_out)
  return nnx.Param(std * jax.random.normal(rngs.params(), shape, dtype))


class TemporalConv(nnx.Module):
  """k×1 convolution over frames, zero-padded; k = 1 is the pointwise convolution.

  [clip, joint, frame, in_channels] -> [clip, joint, ceil(frame / stride), out_channels]; k = 1 with
  stride 1 takes any axes before the channels. `groups` = in_channels makes it depthwise.

  Weight: [k, in_channels / groups, out_channels].
  """

  def __init__(
    self,
    in_channels: int,
    out_channels: int,
    kernel_size: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    dtype: str = "float32",
    rngs: nnx.Rngs,
  ):
    param_dtype = jnp.promote_types(dtype, jnp.float32)
    shape = (kernel_size, in_channels // groups, out_channels)
    self.weight = kaiming_fan_out(rngs, shape, out_channels * kernel_size, param_dtype)
    self.bias = nnx.Param(jnp.zeros(out_channels, param_dtype))
    self.stride = stride
    self.groups = groups
    self.dtype = dtype

  def __call__(self, x: jax.Array, *, constant_bias: bool = False) -> jax.Array:
    """The convolution; with `constant_bias`, the bias is no variable of the gradient."""
    x, weight, bias = (a.astype(self.dtype) for a in (x, self.weight[...], self.bias[...]))
    bias = lax.stop_gradient(bias) if constant_bias else bias
    if len(weight) > 1 or self.groups > 1:
      convolve = by_platform(cpu=_convolve_in_phases, gpu=_convolve)
    elif x.ndim == 4:
      convolve = by_platform(cpu=_project, gpu=_convolve)
    else:
      convolve = _project
    return convolve(x, weight, stride=self.stride) + bias

  def scale_outputs(self, scale: jax.Array) -> None:
    """Multiplies every output channel by a constant, in the weights."""
    self.weight[...] *= scale
    self.bias[...] *= scale


def _project(x: jax.Array, weight: jax.Array, *, stride: int) -> jax.Array:
  """[..., in] with [1, in, out] -> [..., out], of every stride-th frame."""
  return (x if stride == 1 else x[..., ::stride, :]) @ weight[0]


def _convolve(x: jax.Array, weight: jax.Array, *, stride: int) -> jax.Array:
  """[clip, joint, frame, in] with [k, in / groups, out] -> [clip, joint, frame / stride, out]."""
  return lax.conv_general_dilated(
    x,
    weight[:, None],
    window_strides=(stride, 1),
    padding=[(len(weight) // 2,) * 2, (0, 0)],
    # Frames are the first of the two dimensions that are slid over, joints the second: XLA then
    # lays features out frame by frame, as the graph convolution of a GPU reads them.
    dimension_numbers=lax.ConvDimensionNumbers((0, 3, 2, 1), (3, 2, 0, 1), (0, 3, 2, 1)),
    feature_group_count=x.shape[-1] // weight.shape[1],
  )


def _convolve_in_phases(x: jax.Array, weight: jax.Array, *, stride: int) -> jax.Array:
  """As `_convolve`, by convolutions over one dimension without stride.

  A stride is spelled as one convolution for each phase of the frames, summed: the gradient of a
  strided convolution is one with holes, which is slow on a CPU.
  """
  pad, outputs = len(weight) // 2, -(-x.shape[-2] // stride)
  total = 0
  for first in range(min(stride, len(weight))):
    # Taps first, first + stride, … meet the frames of one phase, from `before` outputs back on.
    before, phase = -((first - pad) // stride), (first - pad) % stride
    taps, frames = weight[first::stride], x[..., phase::stride, :]
    after = outputs - 1 + len(taps) - before - frames.shape[-2]
    total += _convolve_once(frames, taps, (before, after))
  return total


def _convolve_once(x: jax.Array, weight: jax.Array, padding: tuple[int, int]) -> jax.Array:
  y = lax.conv_general_dilated(
    x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:]),
    weight,
    window_strides=(1,),
    padding=[padding],
    dimension_numbers=("NWC", "WIO", "NWC"),
    feature_group_count=x.shape[-1] // weight.shape[1],
  )
  return y.reshape(*x.shape[:-2], *y.shape[1:])
