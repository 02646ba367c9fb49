"""How convolutions become layers: with a norm, in a bottleneck, over several scales, residual."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from mstgcn_jax.model.norm import BatchNorm

Function = Callable[[jax.Array], jax.Array]


def identity(x: jax.Array) -> jax.Array:
  return x


class ConvNorm(nnx.Module):
  """activation(norm(conv(x)))."""

  def __init__(self, conv: nnx.Module, norm: BatchNorm, activation: Function = identity):
    self.conv = conv
    self.norm = norm
    self.activation = activation

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.activation(self.norm(self.conv(x)))


class Bottleneck(nnx.Module):
  """expand(body(reduce(x))): the body works on fewer channels (He et al. 2016)."""

  def __init__(self, reduce: Function, body: Function, expand: Function):
    self.reduce = reduce
    self.body = body
    self.expand = expand

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.expand(self.body(self.reduce(x)))


class Separable(nnx.Module):
  """pointwise(depthwise(expand(x))): joints or frames first, then channels (Howard et al. 2017)."""

  def __init__(self, expand: Function, depthwise: Function, pointwise: Function):
    self.expand = expand
    self.depthwise = depthwise
    self.pointwise = pointwise

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.pointwise(self.depthwise(self.expand(x)))


class MultiScale(nnx.Module):
  """Hierarchical residual over channel groups (Chen et al. 2021, MS-GC and MT-GC).

  Splits norm_in(x) into one group a branch; with `hierarchical`, y[i] = branch[i](x[i] + y[i-1]),
  so group i aggregates i+1 hops (or i+1 temporal kernels). Shapes: [..., C] -> [..., C_out].
  """

  def __init__(
    self, branches: Sequence[Function], *, hierarchical: bool, norm_in: Function = identity
  ):
    self.norm_in = norm_in
    self.branches = nnx.List(branches)
    self.hierarchical = hierarchical

  def __call__(self, x: jax.Array) -> jax.Array:
    groups = jnp.split(self.norm_in(x), len(self.branches), axis=-1)
    outputs = []
    for branch, group in zip(self.branches, groups, strict=True):
      if self.hierarchical and outputs:
        group = group + outputs[-1]
      outputs.append(branch(group))
    return jnp.concatenate(outputs, axis=-1)


class Residual(nnx.Module):
  """activation(body(x) + shortcut(x)); shortcut None is no shortcut."""

  def __init__(self, body: Function, shortcut: Function | None, activation: Function = identity):
    self.body = body
    self.shortcut = shortcut
    self.activation = activation

  def __call__(self, x: jax.Array) -> jax.Array:
    y = self.body(x)
    return self.activation(y if self.shortcut is None else y + self.shortcut(x))
