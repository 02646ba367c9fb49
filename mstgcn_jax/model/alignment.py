"""The same network with channel groups that a GPU reads in whole 16 bytes.

The published widths make groups of 28 channels, 56 bytes in bfloat16: cuDNN then copies features,
padded, before every convolution, and cuBLAS leaves its fast products. So where a network is traced
for a GPU, zeros are appended to every group, in the weights: 28 channels become 32. They stay zeros
through convolution, norm, activation and sum and have gradients of zero, so values and training are
those of the network as it is. benchmarks/README.md has the figures.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from mstgcn_jax.model import platform
from mstgcn_jax.model.block import Block, make_block
from mstgcn_jax.model.compose import ConvNorm, MultiScale, Residual
from mstgcn_jax.model.config import BlockConfig, ModelConfig
from mstgcn_jax.model.norm import BatchNorm, Shift
from mstgcn_jax.model.spatial import GraphConv
from mstgcn_jax.model.temporal import TemporalConv

_BYTES = 16
# Layers in which zeros stay zeros, and that take no means over channels, which would count them.
_LAYERS = (
  Block,
  Residual,
  MultiScale,
  ConvNorm,
  TemporalConv,
  GraphConv,
  BatchNorm,
  Shift,
  nnx.List,
)
_ACTIVATIONS = ("relu", "swish", "hswish")


def aligned(blocks: Sequence[Block], config: ModelConfig) -> Sequence[Block]:
  """The blocks as they run: themselves, or on a GPU copies with whole channel groups.

  The copies take [clip, joint, frame, channel] as the blocks do and return channels with zeros,
  which `narrow` removes.
  """
  units = _units(config)
  if not (platform.on_gpu() and units):
    return blocks
  graphdef, state = nnx.split(blocks)
  variables, shapes = nnx.to_flat_state(state), _shapes(config)
  known = all(type(module) in _LAYERS for _, module in nnx.iter_modules(blocks))
  if not known or any(v.shape != shapes.get(path, (None,))[0] for path, v in variables):
    return blocks  # with layers that somebody has put in place of ours
  wide = [(p, v.replace(_pad(v[...], shapes[p][1], units))) for p, v in variables]
  return nnx.merge(graphdef, nnx.from_flat_state(wide))


def keep_statistics(blocks: Sequence[Block], ran: Sequence[Block], config: ModelConfig) -> None:
  """Gives blocks in training mode the running statistics that their `aligned` copies have come to.

  Others may belong to a function around the traced one, which could not be given any.
  """
  theirs = dict(nnx.to_flat_state(nnx.state(ran, nnx.BatchStat)))
  modules = dict(nnx.iter_modules(blocks))
  for path, variable in nnx.to_flat_state(nnx.state(blocks, nnx.BatchStat)):
    if not modules[path[:-1]].use_running_average:
      variable.set_value(_cut(theirs[path][...], variable.shape, _units(config)))


def narrow(x: jax.Array, config: ModelConfig) -> jax.Array:
  """The last `aligned` block's features without the zeros."""
  return _cut(x, (*x.shape[:-1], config.blocks[-1].out_channels), _units(config))


@functools.lru_cache(maxsize=8)
def _units(config: ModelConfig) -> tuple[tuple[int, int], ...]:
  """(channels of a group, channels with zeros) for all groups that are not whole; the least first.

  Empty where all are, where layers have no groups or others over frames than over joints, where
  block 0 has no groups and channels that make none, and where a block that changes the number of
  channels would no longer do so.
  """
  same = config.spatial_scales == config.temporal_scales
  same &= not any(block.out_channels % config.temporal_scales for block in config.blocks)
  if config.block_type != "ms" or config.activation not in _ACTIVATIONS or not same:
    return ()
  groups = {block.out_channels // config.temporal_scales for block in config.blocks}
  whole = _BYTES // jnp.dtype(config.dtype).itemsize
  units = tuple((c, c + -c % whole) for c in sorted(groups) if c % whole)
  changes = lambda blocks: [block.in_channels != block.out_channels for block in blocks]
  return units if changes(_widened(config, units)) == changes(config.blocks) else ()


def _widened(config: ModelConfig, units) -> tuple[BlockConfig, ...]:
  """The network's blocks with whole channel groups."""
  scales = config.temporal_scales
  widen = lambda channels: scales * dict(units).get(channels // scales, channels // scales)
  return tuple(
    dataclasses.replace(
      block,
      in_channels=widen(block.in_channels) if i else block.in_channels,
      out_channels=widen(block.out_channels),
    )
    for i, block in enumerate(config.blocks)
  )


@functools.lru_cache(maxsize=8)
def _shapes(config: ModelConfig) -> dict[tuple, tuple[tuple[int, ...], tuple[int, ...]]]:
  """Path of every variable of the blocks -> its shape, and that with whole channel groups."""

  def shapes(config):
    numbers = range(len(config.blocks))
    make = lambda: nnx.List([make_block(config, i, rngs=nnx.Rngs(0)) for i in numbers])
    return [(p, v.shape) for p, v in nnx.to_flat_state(nnx.state(nnx.eval_shape(make)))]

  wide = dataclasses.replace(config, blocks=_widened(config, _units(config)))
  pairs = zip(shapes(config), shapes(wide), strict=True)
  return {path: (narrow, wide) for (path, narrow), (_, wide) in pairs}


def _axes(narrow: Sequence[int], wide: Sequence[int], units) -> list[tuple[int, int, int]]:
  """(number of groups, channels of each, channels with zeros) of every axis; elsewhere 1 group.

  Every size is one number of groups of one kind. Of kinds that widen by the same factor the least
  is taken, everywhere, so that all axes of the same features agree.
  """
  axes = []
  for n, m in zip(narrow, wide, strict=True):
    fits = ((n // c, c, padded) for c, padded in units if n % c == 0 and n // c * padded == m)
    axes.append((1, n, n) if n == m else next(fits))
  return axes


def _pad(x: jax.Array, shape: Sequence[int], units) -> jax.Array:
  axes = _axes(x.shape, shape, units)
  x = x.reshape([size for groups, c, _ in axes for size in (groups, c)])
  x = jnp.pad(x, [(0, more) for _, c, padded in axes for more in (0, padded - c)])
  return x.reshape(shape)


def _cut(x: jax.Array, shape: Sequence[int], units) -> jax.Array:
  axes = _axes(shape, x.shape, units)
  x = x.reshape([size for groups, _, padded in axes for size in (groups, padded)])
  return x[tuple(slice(size) for groups, c, _ in axes for size in (groups, c))].reshape(shape)
