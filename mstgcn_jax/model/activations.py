"""Activations: functions, and modules where they have parameters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from mstgcn_jax.model import draws
from mstgcn_jax.model.groups import Features, join, split
from mstgcn_jax.model.norm import BatchNorm
from mstgcn_jax.model.platform import by_platform
from mstgcn_jax.model.temporal import TemporalConv


def _with_derivative_from_result(keep: Callable[[jax.Array], jax.Array]) -> Callable:
  """max(x, 0). Its derivative asks the result, not x, so that x need not be kept or made again."""

  @jax.custom_jvp
  def relu(x):
    return jnp.maximum(x, 0)

  @relu.defjvp
  def derivative(primals, tangents):
    y = relu(*primals)
    return y, jnp.where(keep(y) > 0, tangents[0], 0)

  return relu


_relu = _with_derivative_from_result(keep=lambda y: y)
# Without the barrier XLA for GPUs reads all maps of the sum once more in the backward pass, instead
# of the result.
_relu_of_sum = _with_derivative_from_result(
  keep=by_platform(cpu=lambda y: y, gpu=lax.optimization_barrier)
)


# Layers hold the functions below, which are the module's own, unlike jax.nn's jitted ones, so that
# networks can be pickled, and copies of one have the same structure.


def relu(x: Features) -> Features:
  """max(x, 0)."""
  return jax.tree.map(_relu, x)


def relu_of_sum(x: Features) -> Features:
  """ReLU of a sum of several maps, to which more is added."""
  return jax.tree.map(_relu_of_sum, x)


def swish(x: Features) -> Features:
  """x σ(x)."""
  return jax.tree.map(jax.nn.swish, x)


def hswish(x: Features) -> Features:
  """x relu6(x + 3) / 6."""
  return jax.tree.map(jax.nn.hard_swish, x)


# Without parameters.
PLAIN = {"relu": relu, "swish": swish, "hswish": hswish}


def _acon(x: jax.Array, p1: jax.Array, p2: jax.Array, beta: jax.Array) -> jax.Array:
  """(p1 - p2) x σ(β (p1 - p2) x) + p2 x (Ma et al., "Activate or Not", CVPR 2021)."""
  slope = p1 - p2
  return slope * x * jax.nn.sigmoid(beta * slope * x) + p2 * x


class Acon(nnx.Module):
  """ACON-C: learns per channel how far it switches between two slopes."""

  def __init__(self, channels: int, *, dtype: str = "float32", rngs: nnx.Rngs):
    param_dtype = jnp.promote_types(dtype, jnp.float32)
    self.p1 = nnx.Param(draws.normal(draws.key(rngs), (channels,), param_dtype))
    self.p2 = nnx.Param(draws.normal(draws.key(rngs), (channels,), param_dtype))
    self.beta = nnx.Param(jnp.ones(channels, param_dtype))
    self.dtype = dtype

  def __call__(self, x: Features) -> Features:
    y = _acon(join(x), self.p1[...], self.p2[...], self.beta[...]).astype(self.dtype)
    return split(y, len(x)) if isinstance(x, tuple) else y


class MetaAcon(nnx.Module):
  """Meta-ACON: as ACON-C, with β computed from the features of each clip and person.

  x: [clip, joint, frame, channel]; β = σ(BN(1×1(BN(1×1(mean of x over joints and frames))))).
  """

  def __init__(self, channels: int, *, dtype: str = "float32", rngs: nnx.Rngs):
    param_dtype = jnp.promote_types(dtype, jnp.float32)
    inner = max(4, channels // 4)
    self.p1 = nnx.Param(draws.normal(draws.key(rngs), (channels,), param_dtype))
    self.p2 = nnx.Param(draws.normal(draws.key(rngs), (channels,), param_dtype))
    self.fc1 = TemporalConv(channels, inner, dtype=dtype, rngs=rngs)
    self.bn1 = BatchNorm(inner, dtype=dtype)
    self.fc2 = TemporalConv(inner, channels, dtype=dtype, rngs=rngs)
    self.bn2 = BatchNorm(channels, dtype=dtype)
    self.dtype = dtype

  def __call__(self, x: Features) -> Features:
    joined = join(x)
    pooled = jnp.mean(joined, (1, 2))
    beta = jax.nn.sigmoid(self.bn2(self.fc2(self.bn1(self.fc1(pooled)))))
    y = _acon(joined, self.p1[...], self.p2[...], beta[:, None, None]).astype(self.dtype)
    return split(y, len(x)) if isinstance(x, tuple) else y


def make_activation(
  name: str, channels: int, *, of_sum: bool = False, dtype: str = "float32", rngs: nnx.Rngs
) -> Callable[[Features], Features]:
  """The activation of that name (`config.ACTIVATIONS`) for features of that many channels.

  With `of_sum`, the form for a sum of several maps to which more is added.
  """
  match name:
    case "relu" if of_sum:
      return relu_of_sum
    case "acon":
      return Acon(channels, dtype=dtype, rngs=rngs)
    case "meta_acon":
      return MetaAcon(channels, dtype=dtype, rngs=rngs)
    case _:
      return PLAIN[name]
