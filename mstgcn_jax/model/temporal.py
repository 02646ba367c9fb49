"""Convolution over the frames of each joint."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax


def kaiming_fan_out(rngs: nnx.Rngs, shape: tuple[int, ...], fan_out: int, dtype) -> nnx.Param:
  """Weights drawn from N(0, 2 / fan_out) (He et al. 2015); fan_out = outputs · kernel elements."""
  std = math.sqrt(2 / fan_out)
  return nnx.Param(std * jax.random.normal(rngs.params(), shape, dtype))


class TemporalConv(nnx.Module):
  """k×1 convolution over frames, zero-padded; k = 1 is the pointwise convolution.

  [..., frame, in_channels] -> [..., ceil(frame / stride), out_channels]; k = 1 with stride 1 needs
  no frame axis. `groups` = in_channels makes it depthwise.

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

  def __call__(self, x: jax.Array) -> jax.Array:
    x, weight, bias = (a.astype(self.dtype) for a in (x, self.weight[...], self.bias[...]))
    kernel_size = len(weight)
    if kernel_size == 1 and self.groups == 1:
      x = x if self.stride == 1 else x[..., :: self.stride, :]
      return x @ weight[0] + bias
    return _convolve(x, weight, self.stride) + bias

  def scale_outputs(self, scale: jax.Array) -> None:
    """Multiplies every output channel by a constant, in the weights."""
    self.weight[...] *= scale
    self.bias[...] *= scale


def _convolve(x: jax.Array, weight: jax.Array, stride: int) -> jax.Array:
  """[..., frame, in] with [k, in / groups, out] -> [..., ceil(frame / stride), out].

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
