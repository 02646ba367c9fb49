"""Batch normalisation with PyTorch's arithmetic."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from mstgcn_jax.model.groups import join, split
from mstgcn_jax.model.platform import by_platform
from mstgcn_jax.model.tracing import traced_once

# Rematerialisation keeps values of this name: they are few, and computing them again would read
# whole maps and, on several devices, sum over all of them once more.
STATISTICS = "batch_norm_statistics"


class BatchNorm(nnx.Module):
  """Normalises each channel (the last axis) over all other axes (Ioffe & Szegedy 2015).

    y = (x - mean) / sqrt(variance + epsilon) * weight + bias

  x is one array or a tuple of channel groups; the result is of the same kind, or of one array, with
  `groups` above 1, a tuple of that many. In training mode mean and (biased) variance are those of
  the batch, and the running ones move towards them by `momentum`; the running variance takes the
  unbiased estimate, as PyTorch's does. In evaluation mode the running ones are used. Statistics and
  parameters are float32 (float64 if dtype is), the result is dtype.

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
    groups: int = 1,
  ):
    self.param_dtype = jnp.promote_types(dtype, jnp.float32)
    self.weight = nnx.Param(jnp.ones(num_channels, self.param_dtype))
    self.bias = nnx.Param(jnp.zeros(num_channels, self.param_dtype))
    self.running_mean = nnx.BatchStat(jnp.zeros(num_channels, self.param_dtype))
    self.running_var = nnx.BatchStat(jnp.ones(num_channels, self.param_dtype))
    self.momentum = momentum
    self.epsilon = epsilon
    self.dtype = dtype
    self.groups = groups
    self.axis_name = None
    self.use_running_average = False

  def __call__(self, x):
    groups = x if isinstance(x, tuple) else (x,)
    parts = self.groups if len(groups) == 1 else len(groups)
    weight, bias = self.weight[...], self.bias[...]
    mean, var = self.running_mean[...], self.running_var[...]
    options = parts, self.epsilon, self.dtype
    if self.use_running_average:
      outputs = _normalise_by_running(groups, weight, bias, mean, var, *options)
    else:
      outputs, *of_batch = _normalise_batch(groups, weight, bias, mean, *options, self.axis_name)
      count = _count(groups, self.axis_name)
      mean, var = _moved_towards(of_batch, mean, var, self.momentum, count)
      # Not self.running_mean[...] = …, which asks a traced array for its sharding: the answer, an
      # error, searches the whole program and took a third of the time that tracing a step takes.
      self.running_mean.set_value(mean)
      self.running_var.set_value(var)
    return outputs if isinstance(x, tuple) or parts > 1 else outputs[0]

  def constants(self) -> tuple[jax.Array, jax.Array]:
    """Scale and shift that it comes down to in evaluation mode."""
    scale = self.weight[...] * lax.rsqrt(self.running_var[...] + self.epsilon)
    return scale, self.bias[...] - self.running_mean[...] * scale


class Shift(nnx.Module):
  """x + bias for each channel: what is left of a norm whose scale went into a convolution."""

  def __init__(self, bias: jax.Array, *, dtype: str = "float32"):
    self.bias = nnx.Param(bias)
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    return x + self.bias[...].astype(self.dtype)


@traced_once("parts", "epsilon", "dtype")
def _normalise_by_running(groups, weight, bias, mean, var, parts, epsilon, dtype):
  # Not x · scale + (bias - mean · scale), which loses digits where |mean| is large.
  groups, scale = _cut(groups, parts), weight * lax.rsqrt(var + epsilon)
  return tuple(
    ((x - mean) * scale + bias).astype(dtype)
    for x, (mean, scale, bias) in zip(groups, _by_group(groups, mean, scale, bias), strict=True)
  )


@traced_once("momentum", "count")
def _moved_towards(of_batch, mean, var, momentum, count):
  """Running mean and variance, moved towards those of a batch of that many positions."""
  batch_mean, batch_var = of_batch
  unbiased = batch_var * (count / max(count - 1, 1))
  return mean + momentum * (batch_mean - mean), var + momentum * (unbiased - var)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6, 7))
def _normalise_batch(groups, weight, bias, origin, parts, epsilon, dtype, axis_name):
  """Normalised channel groups, and the batch's mean and biased variance (not differentiated).

  Autodiff would keep x - mean and read it in four passes; this keeps x and a few vectors.

  Args:
    origin: per channel a value near the mean; the sums of one pass are of x - origin, so that no
      digits are lost where |mean| is much larger than the deviation.
    parts: channel groups of the result. One array may give several: their gradients then enter the
      sums and that of the array where they are, instead of being joined in memory first.
    dtype: of the result.
    axis_name: the mesh axis that the batch is split over, or None.
  """
  return _forward(groups, weight, bias, origin, parts, epsilon, dtype, axis_name)[0]


@traced_once("parts", "epsilon", "dtype", "axis_name")
def _forward(groups, weight, bias, origin, parts, epsilon, dtype, axis_name):
  moved = _from_origin(groups, origin)
  sums = _sums(tuple(moved), tuple(jnp.square(m) for m in moved))
  first, second = _all_devices(sums, axis_name)
  count = _count(groups, axis_name)
  offset = checkpoint_name(first / count, STATISTICS)  # the mean, from the origin
  var = jnp.maximum(second / count - jnp.square(offset), 0)
  inverse = checkpoint_name(lax.rsqrt(var + epsilon), STATISTICS)
  scale, moved = inverse * weight, _cut(moved, parts)
  outputs = tuple(
    (m * scale + shift).astype(dtype)
    for m, (scale, shift) in zip(moved, _by_group(moved, scale, bias - offset * scale), strict=True)
  )
  return (outputs, origin + offset, var), (groups, weight, origin, offset, inverse)


@traced_once("parts", "epsilon", "dtype", "axis_name")
def _backward(parts, epsilon, dtype, axis_name, kept, cotangents):
  groups, weight, origin, offset, inverse = kept
  moved = _cut(_from_origin(groups, origin), parts)
  dy = [d.astype(weight.dtype) for d in cotangents[0]]
  sums = _sums(tuple(dy), tuple(d * m for d, m in zip(dy, moved, strict=True)))
  gradients = lambda sums: (sums[0], inverse * (sums[1] - offset * sums[0]))  # of bias and weight
  d_bias, d_weight = gradients(_all_devices(sums, axis_name))
  count = _count(groups, axis_name)
  # dx = scale · (dy - d_bias / count - (x - mean) · inverse · d_weight / count), by powers of x.
  # The barrier keeps the scale apart from the forward pass's: XLA for CPUs would spread the one
  # over all positions and keep that map between the passes.
  scale = lax.optimization_barrier(weight * inverse)
  slope = scale * inverse * d_weight / count
  constant = slope * offset - scale * d_bias / count
  dx = tuple(
    (scale * d - slope * m + constant).astype(groups[0].dtype)
    for d, m, (scale, slope, constant) in zip(
      dy, moved, _by_group(moved, scale, slope, constant), strict=True
    )
  )
  d_bias, d_weight = gradients(sums)  # of this device's clips
  dx = dx if len(groups) == parts else (join(dx),)
  return dx, d_weight, d_bias, jnp.zeros_like(origin)


_normalise_batch.defvjp(_forward, _backward)


def _cut(groups, parts):
  """One array as that many channel groups; groups are taken as they are."""
  return groups if len(groups) == parts else split(groups[0], parts)


def _from_origin(groups, origin):
  """Channel groups less the origin, in the statistics' precision.

  Forward and backward pass start with the same operation: a CPU keeps its result for the backward
  pass, a GPU repeats it there.
  """
  return [
    x.astype(origin.dtype) - part
    for x, (part,) in zip(groups, _by_group(groups, origin), strict=True)
  ]


def _sums_one_by_one(a, b):
  of_groups = lambda groups: join(tuple(jnp.sum(x, tuple(range(x.ndim - 1))) for x in groups))
  return of_groups(a), of_groups(b)


# Channels from which on sums are in rows of several positions; with fewer a step of CTR-GCN moves
# 6 % more bytes (counted); the published MST-GCN has none with fewer.
_WIDE_ROWS_FROM = 28


def _sums_in_one_reduction(a, b):
  a, b = join(a), join(b)
  zero = jnp.zeros((), a.dtype)
  add = lambda x, y: (x[0] + y[0], x[1] + y[1])
  channels = a.shape[-1]
  if a.ndim != 4 or channels % 64 == 0 or channels < _WIDE_ROWS_FROM:
    return tuple(lax.reduce((a, b), (zero, zero), add, tuple(range(a.ndim - 1))))
  # Rows of several positions, in the order in which features lie in a GPU's memory: XLA reads up to
  # 128 elements of a row at once, of which such channels have too few.
  positions = math.gcd(128 // math.gcd(128, channels), a.size // channels)
  rows = tuple(x.swapaxes(1, 2).reshape(-1, positions * channels) for x in (a, b))
  sums = lax.optimization_barrier(lax.reduce(rows, (zero, zero), add, (0,)))
  return tuple(jnp.sum(x.reshape(positions, channels), 0) for x in sums)


# Two lists of channel groups -> the sums over all but the last axis, two vectors over all channels.
# XLA for GPUs reads what all are made of once only where they are one reduction; for CPUs it has no
# fast path for such a one.
_sums = by_platform(cpu=_sums_one_by_one, gpu=_sums_in_one_reduction)


def _all_devices(pair, axis_name):
  """Two vectors, summed over the devices of a mesh axis in one all-reduce."""
  return pair if axis_name is None else lax.psum(jnp.stack(pair), axis_name)


def _by_group(groups, *vectors):
  """Vectors over all channels, cut for each group: a tuple of its parts per group."""
  ends = np.cumsum([x.shape[-1] for x in groups])[:-1]
  return list(zip(*(jnp.split(v, ends) for v in vectors), strict=True))


def _count(groups, axis_name) -> int:
  """Positions that a channel's statistics are taken over, on all devices."""
  devices = 1 if axis_name is None else lax.axis_size(axis_name)
  return groups[0].size // groups[0].shape[-1] * devices
