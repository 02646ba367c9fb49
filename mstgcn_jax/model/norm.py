"""Batch normalisation with PyTorch's arithmetic."""

import jax
import jax.numpy as jnp
from flax import nnx


class BatchNorm(nnx.Module):
  """Normalises each channel (the last axis) over all other axes (Ioffe & Szegedy 2015).

    y = (x - mean) / sqrt(variance + epsilon) * weight + bias

  In training mode mean and (biased) variance are those of the batch, the global one if it is
  sharded over devices, and the running ones move towards them by `momentum`; the running variance
  takes the unbiased estimate, as PyTorch's does. In evaluation mode the running ones are used.
  Statistics and parameters are float32 (float64 if dtype is), the result is dtype.
  """

  def __init__(
    self,
    num_channels: int,
    *,
    momentum: float = 0.1,
    epsilon: float = 1e-5,
    dtype: str = "float32",
  ):
    self.param_dtype = jnp.promote_types(dtype, jnp.float32)
    self.weight = nnx.Param(jnp.ones(num_channels, self.param_dtype))
    self.bias = nnx.Param(jnp.zeros(num_channels, self.param_dtype))
    self.running_mean = nnx.BatchStat(jnp.zeros(num_channels, self.param_dtype))
    self.running_var = nnx.BatchStat(jnp.ones(num_channels, self.param_dtype))
    self.momentum = momentum
    self.epsilon = epsilon
    self.dtype = dtype
    self.use_running_average = False

  def __call__(self, x: jax.Array) -> jax.Array:
    if self.use_running_average:
      mean, var = self.running_mean[...], self.running_var[...]
    else:
      axes = tuple(range(x.ndim - 1))
      wide = x.astype(self.param_dtype)
      mean = jnp.mean(wide, axes)
      var = jnp.mean(jnp.square(wide - mean), axes)
      count = x.size // x.shape[-1]
      unbiased = var * (count / max(count - 1, 1))
      self.running_mean[...] += self.momentum * (mean - self.running_mean[...])
      self.running_var[...] += self.momentum * (unbiased - self.running_var[...])
    scale = self.weight[...] * jax.lax.rsqrt(var + self.epsilon)
    # Not x · scale + (bias - mean · scale), which loses digits where |mean| is large.
    return ((x - mean) * scale + self.bias[...]).astype(self.dtype)

  def constants(self) -> tuple[jax.Array, jax.Array]:
    """Scale and shift that it comes down to in evaluation mode."""
    scale = self.weight[...] * jax.lax.rsqrt(self.running_var[...] + self.epsilon)
    return scale, self.bias[...] - self.running_mean[...] * scale


class Shift(nnx.Module):
  """x + shift for each channel: what is left of a norm whose scale went into a convolution."""

  def __init__(self, shift: jax.Array, *, dtype: str = "float32"):
    self.shift = nnx.Param(shift)
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    return x + self.shift[...].astype(self.dtype)
