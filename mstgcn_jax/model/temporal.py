"""Convolution over the frames of each joint."""

import functools
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
    convolve = _convolve if self.groups > 1 else _convolve_fast_backward
    return convolve(x, weight, self.stride) + bias

  def scale_outputs(self, scale: jax.Array) -> None:
    """Multiplies every output channel by a constant, in the weights."""
    self.weight[...] *= scale
    self.bias[...] *= scale


def _convolve(
  x: jax.Array, weight: jax.Array, stride: int, padding: tuple[int, int] | None = None
) -> jax.Array:
  """[..., frame, in] with [k, in / groups, out] -> [..., frame / stride, out]."""
  y = lax.conv_general_dilated(
    x.reshape(-1, *x.shape[-2:]),
    weight,
    window_strides=(stride,),
    padding=[padding or (len(weight) // 2,) * 2],
    dimension_numbers=("NWC", "WIO", "NWC"),
    feature_group_count=x.shape[-1] // weight.shape[1],
  )
  return y.reshape(*x.shape[:-2], *y.shape[1:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_fast_backward(x: jax.Array, weight: jax.Array, stride: int) -> jax.Array:
  """`_convolve`, with a backward pass in the forms that XLA has fast code for."""
  return _convolve(x, weight, stride)


def _forward(x, weight, stride):
  return _convolve(x, weight, stride), (x, weight)


def _backward(stride, residuals, dy):
  x, weight = residuals
  return _input_gradient(dy, weight, stride, x.shape[-2]), _weight_gradient(x, weight, dy, stride)


def _input_gradient(dy, weight, stride, frames):
  """One ordinary convolution for each phase of the input's frames, interleaved.

  What autodiff makes of a stride is a convolution with holes, which is slow on a CPU.
  """
  pad, flipped = len(weight) // 2, weight.transpose(0, 2, 1)
  phases = []
  for phase in range(stride):
    # Frame stride·u + phase took part in output u + offset - j with tap first + stride·j.
    offset, first = divmod(phase + pad, stride)
    taps = flipped[first::stride][::-1]
    left = len(taps) - 1 - offset
    phases.append(_convolve(dy, taps, 1, (left, len(taps) - 1 - left)))
  dx = jnp.stack(phases, axis=-2)
  return dx.reshape(*dy.shape[:-2], -1, dx.shape[-1])[..., :frames, :]


def _weight_gradient(x, weight, dy, stride):
  """One matrix product for each entry of the first axis (a joint), summed.

  On a CPU only. The loop's operands are materialised and each product's stay in the cache. Without
  it XLA transposes the whole x fused with a recomputation of what x came from, at many times the
  cost; `optimization_barrier` does not keep it from that.
  """
  kernel_size, _, out_channels = weight.shape
  pad, span = kernel_size // 2, stride * (dy.shape[-2] - 1) + 1

  def add(total, pair):
    x, dy = pair
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(pad, pad), (0, 0)])
    windows = [x[..., k : k + span : stride, :] for k in range(kernel_size)]
    windows = jnp.concatenate(windows, -1).reshape(-1, kernel_size * x.shape[-1])
    return total + windows.T @ dy.reshape(-1, out_channels), None

  def by_joint(x, dy):
    total = jnp.zeros((kernel_size * x.shape[-1], out_channels), x.dtype)
    return lax.scan(add, total, (x, dy))[0].reshape(weight.shape)

  def at_once(x, dy):
    return jax.vjp(lambda w: _convolve(x, w, stride), weight)[1](dy)[0]

  return lax.platform_dependent(x, dy, cpu=by_joint, default=at_once)


_convolve_fast_backward.defvjp(_forward, _backward)
