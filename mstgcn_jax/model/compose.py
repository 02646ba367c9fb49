"""How convolutions become layers: with a norm, in a bottleneck, over several scales, residual."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from mstgcn_jax.model.groups import Features, join, split
from mstgcn_jax.model.norm import BatchNorm
from mstgcn_jax.model.platform import by_platform
from mstgcn_jax.model.temporal import TemporalConv

# Of features, or of one array of them.
Function = Callable[[Any], Any]


def identity(x: Features) -> Features:
  return x


def _join_strided(*groups: jax.Array, stride: int) -> jax.Array:
  return join(tuple(group[..., ::stride, :] for group in groups))


def _stride_joined(*groups: jax.Array, stride: int) -> jax.Array:
  return join(groups)[..., ::stride, :]


# Every stride-th frame of all channels. Of the second form XLA for GPUs spreads the gradient over
# all groups in one kernel; a CPU would join frames that nobody needs.
_every = by_platform(cpu=_join_strided, gpu=_stride_joined, onnx=_join_strided)


class ConvNorm(nnx.Module):
  """activation(norm(conv(x))), of every `stride`-th frame of x."""

  def __init__(
    self, conv: nnx.Module, norm: BatchNorm, activation: Function = identity, *, stride: int = 1
  ):
    self.conv = conv
    self.norm = norm
    self.activation = activation
    self.stride = stride

  def __call__(self, x: Features) -> jax.Array:
    if self.stride > 1:
      x = _every(*split(x, 1), stride=self.stride)
    options = {"constant_bias": True} if self.takes_constants_away else {}
    return self.after(self.conv(join(x), **options))

  @property
  def takes_constants_away(self) -> bool:
    """Whether the convolution may leave out the gradient of its bias.

    A norm over the batch takes any constant away: a bias before it has a gradient of 0, which would
    only be found by reading everything once more.
    """
    batch = isinstance(self.norm, BatchNorm) and not self.norm.use_running_average
    return isinstance(self.conv, TemporalConv) and batch

  @property
  def can_be_folded(self) -> bool:
    """Whether norm and convolution are of this package's kinds, which become one."""
    return isinstance(self.norm, BatchNorm) and hasattr(self.conv, "scale_outputs")

  def after(self, y: jax.Array) -> jax.Array:
    """What follows the convolution."""
    return self.activation(self.norm(y))


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

  Takes norm_in(x) as one group per branch; with `hierarchical`,
  `y[i] = branch[i](x[i] + y[i-1])`, so group i aggregates i+1 hops (or i+1 temporal kernels).
  Shapes: [..., C] -> [..., C_out]; given a tuple of groups, it returns one.
  """

  def __init__(
    self, branches: Sequence[Function], *, hierarchical: bool, norm_in: Function = identity
  ):
    self.norm_in = norm_in
    self.branches = nnx.List(branches)
    self.hierarchical = hierarchical

  def __call__(self, x: Features) -> Features:
    groups = self.norm_in(split(x, len(self.branches)))
    outputs = []
    for branch, group in zip(self.branches, groups, strict=True):
      if self.hierarchical and outputs:
        group = group + outputs[-1]
      outputs.append(branch(group))
    return tuple(outputs) if isinstance(x, tuple) else join(tuple(outputs))


class Residual(nnx.Module):
  """activation(body(x) + shortcut(x)); shortcut None is no shortcut.

  With `groups` above 1, x is split into that many channel groups for the body and for what follows
  it, and joined again at the end. XLA cancels the end of one layer against the beginning of the
  next, so that groups are not copied between layers.
  """

  def __init__(
    self,
    body: Function,
    shortcut: Function | None,
    activation: Function = identity,
    *,
    groups: int = 1,
  ):
    self.body = body
    self.shortcut = shortcut
    self.activation = activation
    self.groups = groups

  def __call__(self, x: jax.Array) -> jax.Array:
    x = self._divide(x)
    y = self.body(x)
    if self.shortcut is not None:
      shortcut = x if self.shortcut is identity else self._divide(self.shortcut(x))
      y = jax.tree.map(jnp.add, y, shortcut)
    return join(self.activation(y))

  def _divide(self, x: jax.Array) -> Features:
    return split(x, self.groups) if self.groups > 1 else x
