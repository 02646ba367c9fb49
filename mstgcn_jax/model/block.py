"""A block of the network, from the outside to the inside: MST-GCN's as published, then variants.

A block is a spatial layer, then a temporal one. A kind of layer (`config.block_type`) is built
alike for joints and for frames, around a convolution over the one (`GraphConv`) or the other
(`TemporalConv`):

  kind        the layer
  ms          Residual(MultiScale([conv] · scales))
  basic       Residual(conv)
  bottle      Residual(Bottleneck(conv))
  sep         Residual(Separable(conv))
  ms_bottle   Residual(Bottleneck(MultiScale([conv] · scales)))

Every convolution comes with its norm (`ConvNorm`). `neighbours.py` has the layers of other
networks.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
from flax import nnx

from mstgcn_jax.errors import ConfigError
from mstgcn_jax.model import neighbours, own
from mstgcn_jax.model.attention import make_attention
from mstgcn_jax.model.compose import Bottleneck, Function, MultiScale, Residual, identity
from mstgcn_jax.model.config import BlockConfig, ModelConfig, inner_channels
from mstgcn_jax.model.parts import Parts
from mstgcn_jax.model.spatial import DepthwiseGraphConv, GraphConv
from mstgcn_jax.model.temporal import TemporalConv


class Block(nnx.Module):
  """Spatial layer, temporal layer, optionally attention; [clip, joint, frame, channel].

  MST-GCN's layers have shortcuts of their own. In other networks the block has one, around both:
  activation(dropout(temporal(spatial(x))) + shortcut(x)).
  """

  def __init__(
    self,
    spatial: nnx.Module,
    temporal: nnx.Module,
    attention: nnx.Module | None = None,
    *,
    shortcut: Function | None = None,
    activation: Function = identity,
    dropout: nnx.Dropout | None = None,
  ):
    self.spatial = spatial
    self.temporal = temporal
    self.attention = attention
    self.shortcut = shortcut
    self.activation = activation
    self.dropout = dropout

  def __call__(self, x: jax.Array) -> jax.Array:
    y = self.temporal(self.spatial(x))
    if self.dropout is not None:
      y = self.dropout(y)
    if self.shortcut is not None:
      y = y + self.shortcut(x)
    y = self.activation(y)
    return y if self.attention is None else self.attention(y)


def make_block(config: ModelConfig, index: int, *, rngs: nnx.Rngs) -> Block:
  """The index-th block of a network; MST-GCN's block 0 is basic and without attention."""
  block = config.blocks[index]
  spatial, temporal = config.layer_types_of(index)
  remaining = dataclasses.replace(block, stride=1) if spatial in neighbours.STRIDED else block
  attention = None
  if index and config.attention:
    attention = make_attention(config, block.out_channels, rngs=rngs)
  layers = (
    spatial_layer(spatial, config, block, rngs=rngs),
    temporal_layer(temporal, config, remaining, rngs=rngs),
  )
  around = {}
  if temporal in neighbours.TEMPORAL and temporal not in neighbours.CLOSED:
    parts = dataclasses.replace(_over_frames(config, block, rngs), in_channels=block.in_channels)
    around["shortcut"] = parts.shortcut() if block.residual else None
    around["activation"] = parts.act(block.out_channels)
  if index and config.dropout and config.published.dropout_in_blocks:
    around["dropout"] = nnx.Dropout(config.dropout, rngs=rngs)
  return Block(*layers, attention, **around)


def spatial_layer(
  kind: str, config: ModelConfig, block: BlockConfig, *, rngs: nnx.Rngs
) -> nnx.Module:
  """[clip, joint, frame, in_channels] -> [clip, joint, frame, out_channels].

  Those in `neighbours.STRIDED` take the block's stride, frame / stride.

  Args:
    kind: one of `LAYERS` or `neighbours.SPATIAL`; or 'package.module:function', which is then
      called with the other arguments.
  """
  if ":" in kind:
    return own.make("block_type", kind, config, block, rngs=rngs)
  make = _find(kind, LAYERS | neighbours.SPATIAL)
  stride = block.stride if kind in neighbours.STRIDED else 1
  return make(_over_joints(config, block, stride, rngs))


def temporal_layer(
  kind: str, config: ModelConfig, block: BlockConfig, *, rngs: nnx.Rngs
) -> nnx.Module:
  """[clip, joint, frame, out_channels] -> [clip, joint, frame / stride, out_channels].

  Args:
    kind: one of `LAYERS` or `neighbours.TEMPORAL`; otherwise as for `spatial_layer`.
  """
  if ":" in kind:
    return own.make("block_type", kind, config, block, rngs=rngs)
  make = _find(kind, LAYERS | neighbours.TEMPORAL)
  return make(_over_frames(config, block, rngs))


def multi_scale(parts: Parts) -> Residual:
  """MS-GC over joints and MT-GC over frames (Chen et al. 2021).

  The channels are split into groups, each with a convolution of its own. Where the layer keeps its
  shape, a group also takes in what the one before put out: group i reaches i + 1 hops, or frames of
  i + 1 kernels.
  """
  c_in, c_out = parts.in_channels // parts.scales, parts.out_channels // parts.scales
  if parts.config.layer_type == "sep":
    branches = [parts.separable(c_in, c_out) for _ in range(parts.scales)]
  else:
    branches = [parts.conv_norm(parts.conv(c_in, c_out), c_out) for _ in range(parts.scales)]
  norm_in = parts.norm(parts.in_channels) if parts.first else identity
  body = MultiScale(branches, hierarchical=parts.keeps_shape, norm_in=norm_in)
  return parts.close(body, groups=parts.scales)


def basic(parts: Parts) -> Residual:
  """One convolution, as in ST-GCN (Yan et al. 2018)."""
  conv = parts.conv(parts.in_channels, parts.out_channels)
  return parts.close(parts.conv_norm(conv, parts.out_channels))


def bottleneck(parts: Parts) -> Residual:
  """A convolution between two that reduce and expand the channels (He et al. 2016)."""
  return _between(parts, lambda c: parts.conv_norm(parts.conv(c, c), c, activate=True))


def separable(parts: Parts) -> Residual:
  """A convolution for each channel, then one for each joint and frame (Howard et al. 2017)."""
  return parts.close(parts.separable(parts.in_channels, parts.out_channels), activate=False)


def multi_scale_bottleneck(parts: Parts) -> Residual:
  """`multi_scale` between two convolutions that reduce and expand the channels."""

  def body(channels):
    c = channels // parts.scales
    branch = lambda: parts.conv_norm(parts.conv(c, c), c, activate=True)
    branches = [branch() for _ in range(parts.scales)]
    return MultiScale(branches, hierarchical=parts.keeps_shape)

  return _between(parts, body)


LAYERS = {
  "ms": multi_scale,
  "basic": basic,
  "bottle": bottleneck,
  "sep": separable,
  "ms_bottle": multi_scale_bottleneck,
}


def _between(parts: Parts, body: Callable[[int], nnx.Module]) -> Residual:
  c_in, c_out = parts.in_channels, parts.out_channels
  inner = inner_channels(c_in, c_out, parts.config.reduction)
  middle = body(inner)  # drawn first, so that equal seeds give the initial values they always gave
  reduce = parts.conv_norm(parts.pointwise(c_in, inner), inner, activate=True)
  expand = parts.conv_norm(parts.pointwise(inner, c_out), c_out)
  return parts.close(Bottleneck(reduce, middle, expand))


def _over_joints(config: ModelConfig, block: BlockConfig, stride: int, rngs: nnx.Rngs) -> Parts:
  """The parts of a block's spatial layer."""

  def convolution(cls):
    def make(*channels, edge_weights="added"):
      edge_weights = config.edge_weights or edge_weights
      options = {"edge_weights": edge_weights, "dtype": config.dtype, "rngs": rngs}
      return cls(*channels, config.adjacency(), **options)

    return make

  return Parts(
    config,
    block.in_channels,
    block.out_channels,
    conv=convolution(GraphConv),
    depthwise=convolution(DepthwiseGraphConv),
    scales=config.spatial_scales,
    first=True,
    stride=stride,
    residual=block.residual,
    rngs=rngs,
  )


def _over_frames(config: ModelConfig, block: BlockConfig, rngs: nnx.Rngs) -> Parts:
  """The parts of a block's temporal layer."""
  options = {"stride": block.stride, "dtype": config.dtype, "rngs": rngs}
  conv = functools.partial(TemporalConv, kernel_size=config.kernel_size, **options)
  return Parts(
    config,
    block.out_channels,
    block.out_channels,
    conv=conv,
    depthwise=lambda channels: conv(channels, channels, groups=channels),
    scales=config.temporal_scales,
    first=False,
    stride=block.stride,
    residual=block.residual,
    rngs=rngs,
  )


def _find(kind: str, layers: Mapping[str, Callable]) -> Callable[[Parts], nnx.Module]:
  if kind not in layers:
    raise ConfigError(f"block_type names the layer {kind!r}; there are {', '.join(layers)}")
  return layers[kind]
