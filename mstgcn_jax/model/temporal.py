"""Convolution over the frames of each joint."""

import math

import jax
import jax.numpy as jnp
from flax import nnx


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
    kernel_size, _, out_channels = weight.shape
    if kernel_size == 1 and self.groups == 1:
      x = x if self.stride == 1 else x[..., :: self.stride, :]
      return x @ weight[0] + bias
    y = jax.lax.conv_general_dilated(
      x.reshape(-1, *x.shape[-2:]),
      weight,
      window_strides=(self.stride,),
      padding=[(kernel_size // 2,) * 2],
      dimension_numbers=("NWC", "WIO", "NWC"),
      feature_group_count=self.groups,
    )
    return y.reshape(*x.shape[:-2], *y.shape[1:]) + bias
