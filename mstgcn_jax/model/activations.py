"""Activations: functions, and modules where they have parameters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from mstgcn_jax.model.norm import BatchNorm
from mstgcn_jax.model.temporal import TemporalConv


def _acon(x: jax.Array, p1: jax.Array, p2: jax.Array, beta: jax.Array) -> jax.Array:
  """(p1 - p2) x σ(β (p1 - p2) x) + p2 x (Ma et al., "Activate or Not", CVPR 2021)."""
  slope = p1 - p2
  return slope * x * jax.nn.sigmoid(beta * slope * x) + p2 * x


class Acon(nnx.Module):
  """ACON-C: learns per channel how far it switches between two slopes."""

  def __init__(self, channels: int, *, dtype: str = "float32", rngs: nnx.Rngs):
    param_dtype = jnp.promote_types(dtype, jnp.float32)
    self.p1 = nnx.Param(jax.random.normal(rngs.params(), (channels,), param_dtype))
    self.p2 = nnx.Param(jax.random.normal(rngs.params(), (channels,), param_dtype))
    self.beta = nnx.Param(jnp.ones(channels, param_dtype))
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    return _acon(x, self.p1[...], self.p2[...], self.beta[...]).astype(self.dtype)


class MetaAcon(nnx.Module):
  """Meta-ACON: as ACON-C, with β computed from the features of each clip and person.

  x: [joint, clip, frame, channel]; β = σ(BN(1×1(BN(1×1(mean of x over joints and frames))))).
  """

  def __init__(self, channels: int, *, dtype: str = "float32", rngs: nnx.Rngs):
    param_dtype = jnp.promote_types(dtype, jnp.float32)
    inner = max(4, channels // 4)
    self.p1 = nnx.Param(jax.random.normal(rngs.params(), (channels,), param_dtype))
    self.p2 = nnx.Param(jax.random.normal(rngs.params(), (channels,), param_dtype))
    self.fc1 = TemporalConv(channels, inner, dtype=dtype, rngs=rngs)
    self.bn1 = BatchNorm(inner, dtype=dtype)
    self.fc2 = TemporalConv(inner, channels, dtype=dtype, rngs=rngs)
    self.bn2 = BatchNorm(channels, dtype=dtype)
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    pooled = jnp.mean(x, (0, 2))
    beta = jax.nn.sigmoid(self.bn2(self.fc2(self.bn1(self.fc1(pooled)))))
    return _acon(x, self.p1[...], self.p2[...], beta[:, None]).astype(self.dtype)


def make_activation(
  name: str, channels: int, *, dtype: str = "float32", rngs: nnx.Rngs
) -> Callable[[jax.Array], jax.Array]:
  """The activation of that name (`config.ACTIVATIONS`) for features of that many channels."""
  match name:
    case "acon":
      return Acon(channels, dtype=dtype, rngs=rngs)
    case "meta_acon":
      return MetaAcon(channels, dtype=dtype, rngs=rngs)
    case _:
      return {"relu": jax.nn.relu, "swish": jax.nn.swish, "hswish": jax.nn.hard_swish}[name]
