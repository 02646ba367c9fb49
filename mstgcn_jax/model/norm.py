"""Batch normalisation with PyTorch's arithmetic."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.ad_checkpoint import checkpoint_name

# Rematerialisation keeps values of this name: they are few, and computing them again would read
# whole maps and, on several devices, sum over all of them once more.
STATISTICS = "batch_norm_statistics"


class BatchNorm(nnx.Module):
  """Normalises each channel (the last axis) over all other axes (Ioffe & Szegedy 2015).

    y = (x - mean) / sqrt(variance + epsilon) * weight + bias

  x is one array or a tuple of channel groups; the result is of the same kind. In training mode
  mean and (biased) variance are those of the batch, and the running ones move towards them by
  `momentum`; the running variance takes the unbiased estimate, as PyTorch's does. In evaluation
  mode the running ones are used. Statistics and parameters are float32 (float64 if dtype is), the
  result is dtype.

  Where the batch is split over the devices of a mesh axis by `jax.shard_map`, name the axis
  (`model.train(axis_name="data")`): the batch is then the global one.
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
    self.axis_name = None
    self.use_running_average = False

  def __call__(self, x):
    groups = x if isinstance(x, tuple) else (x,)
    ends = [sum(g.shape[-1] for g in groups[: i + 1]) for i in range(len(groups))]
    variables = (self.weight, self.bias, self.running_mean, self.running_var)
    parts = zip(*(jnp.split(v[...], ends[:-1]) for v in variables), strict=True)
    if self.use_running_average:
      outputs = [self._normalise(g, *part) for g, part in zip(groups, parts, strict=True)]
    else:
      outputs, means, variances = zip(
        *(
          _normalise_batch(g, *part[:3], self.epsilon, self.dtype, self.axis_name)
          for g, part in zip(groups, parts, strict=True)
        ),
        strict=True,
      )
      self._update(jnp.concatenate(means), jnp.concatenate(variances), _count(x, self.axis_name))
    return tuple(outputs) if isinstance(x, tuple) else outputs[0]

  def _normalise(self, x, weight, bias, mean, var):
    # Not x · scale + (bias - mean · scale), which loses digits where |mean| is large.
    scale = weight * lax.rsqrt(var + self.epsilon)
    return ((x - mean) * scale + bias).astype(self.dtype)

  def _update(self, mean, var, count):
    unbiased = var * (count / max(count - 1, 1))
    self.running_mean[...] += self.momentum * (mean - self.running_mean[...])
    self.running_var[...] += self.momentum * (unbiased - self.running_var[...])

  def constants(self) -> tuple[jax.Array, jax.Array]:
    """Scale and shift that it comes down to in evaluation mode."""
    scale = self.weight[...] * lax.rsqrt(self.running_var[...] + self.epsilon)
    return scale, self.bias[...] - self.running_mean[...] * scale


class Shift(nnx.Module):
  """x + shift for each channel: what is left of a norm whose scale went into a convolution."""

  def __init__(self, shift: jax.Array, *, dtype: str = "float32"):
    self.shift = nnx.Param(shift)
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    return x + self.shift[...].astype(self.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def _normalise_batch(x, weight, bias, origin, epsilon, dtype, axis_name):
  """Normalised x, and the batch's mean and biased variance (not differentiated).

  Autodiff would keep x - mean and read it in four passes; this keeps x and three vectors.

  Args:
    origin: per channel a value near the mean; the sums of one pass are of x - origin, so that no
      digits are lost where |mean| is much larger than the deviation.
    dtype: of the result.
    axis_name: the mesh axis that the batch is split over, or None.
  """
  return _forward(x, weight, bias, origin, epsilon, dtype, axis_name)[0]


def _forward(x, weight, bias, origin, epsilon, dtype, axis_name):
  wide = x.astype(weight.dtype)
  axes = tuple(range(x.ndim - 1))
  from_origin = wide - origin
  first, second = _sum_over_devices(
    (jnp.sum(from_origin, axes), jnp.sum(jnp.square(from_origin), axes)), axis_name
  )
  count = _count(x, axis_name)
  offset = first / count
  var = jnp.maximum(second / count - jnp.square(offset), 0)
  mean = checkpoint_name(origin + offset, STATISTICS)
  inverse = checkpoint_name(lax.rsqrt(var + epsilon), STATISTICS)
  y = ((wide - mean) * (inverse * weight) + bias).astype(dtype)
  return (y, mean, var), (x, weight, mean, inverse)


def _backward(epsilon, dtype, axis_name, kept, cotangents):
  x, weight, mean, inverse = kept
  axes = tuple(range(x.ndim - 1))
  dy = cotangents[0].astype(weight.dtype)
  normalised = (x.astype(weight.dtype) - mean) * inverse
  d_bias, d_weight = jnp.sum(dy, axes), jnp.sum(dy * normalised, axes)
  count = _count(x, axis_name)
  all_bias, all_weight = _sum_over_devices((d_bias, d_weight), axis_name)
  dx = weight * inverse * (dy - all_bias / count - normalised * (all_weight / count))
  return dx.astype(x.dtype), d_weight, d_bias, jnp.zeros_like(mean)


_normalise_batch.defvjp(_forward, _backward)


def _sum_over_devices(pair, axis_name):
  """Two vectors summed over a mesh axis, in one all-reduce."""
  return pair if axis_name is None else lax.psum(jnp.stack(pair), axis_name)


def _count(x, axis_name) -> int:
  """Positions that a channel's statistics are taken over, on all devices."""
  first = x[0] if isinstance(x, tuple) else x
  devices = 1 if axis_name is None else lax.axis_size(axis_name)
  return first.size // first.shape[-1] * devices
