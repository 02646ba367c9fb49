"""What a network is made of: `ModelConfig`, a frozen, hashable dataclass that checks itself."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mstgcn_jax import graph, skeletons
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.skeletons import Skeleton

BLOCK_TYPES = ("basic", "bottle", "sep", "ms", "ms_bottle")
LAYER_TYPES = ("basic", "sep")
ACTIVATIONS = ("relu", "swish", "hswish", "acon", "meta_acon")
ATTENTIONS = ("stja", "stcja", "pa", "ca", "fa", "ja")
DTYPES = ("float32", "bfloat16", "float64")


@dataclasses.dataclass(frozen=True)
class BlockConfig:
  """One block: a spatial layer in_channels -> out_channels, then a temporal layer.

  Attributes:
    in_channels: C of the block's input.
    out_channels: C of its output.
    residual: whether its two layers have a shortcut.
    stride: the temporal layer keeps every stride-th frame.
  """

  in_channels: int
  out_channels: int
  residual: bool = True
  stride: int = 1


def published_blocks(in_channels: int, width: int) -> tuple[BlockConfig, ...]:
  """Ten blocks of width, 2 width and 4 width, halving the frames where the width doubles."""
  widths = (width,) * 4 + (2 * width,) * 3 + (4 * width,) * 3
  inputs = (in_channels, *widths)
  return tuple(
    BlockConfig(c, out, residual=i > 0, stride=2 if i in (4, 7) else 1)
    for i, (c, out) in enumerate(zip(inputs, widths, strict=False))
  )


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """A network of the MST-GCN family (Chen et al., AAAI 2021); defaults as published.

      mst.ModelConfig(num_classes=60)  # widths 112, 224, 448
      mst.ModelConfig(num_classes=14, skeleton="coco", width=32, attention="stja")

  Attributes:
    num_classes: length of the logits.
    skeleton: a `Skeleton`, or the name of one; the graph is derived from it.
    num_persons: persons in a clip; their features are averaged.
    in_channels: channels of a clip.
    width: channels of the first blocks; ignored where `blocks` is given.
    blocks: a `BlockConfig` or (in, out, residual, stride) each; None is the published layout.
    block_type: one of `BLOCK_TYPES`; block 0 is always 'basic'. 'spatial/temporal' mixes two
      ('ms/sep'), and either may be 'package.module:function', a layer of your own:
      function(config, block, rngs=rngs) -> module (see `network.spatial_layer`).
    kernel_size: frames that a temporal convolution sees; odd.
    spatial_scales: channel groups of a multi-scale spatial layer.
    temporal_scales: channel groups of a multi-scale temporal layer.
    reduction: factor by which bottlenecks and attention reduce the channels.
    expand_ratio: factor by which separable convolutions first expand them; 0 leaves that out.
    layer_type: convolution inside `ms` layers, one of `LAYER_TYPES`.
    activation: one of `ACTIVATIONS`.
    attention: None or one of `ATTENTIONS`, after each temporal layer but block 0's.
    strategy: partition strategy, one of `graph.STRATEGIES`.
    dtype: of the computation, one of `DTYPES`; parameters and statistics stay float32 (float64
      makes everything float64 and needs jax_enable_x64).
    remat: recompute each block's inside in the backward pass instead of keeping it.
  Raises:
    ConfigError: names the field, its value and what is allowed.
  """

  num_classes: int
  skeleton: Skeleton | str = "ntu_rgbd"
  num_persons: int = 2
  in_channels: int = 3
  width: int = 112
  blocks: tuple[BlockConfig, ...] | None = None
  block_type: str = "ms"
  kernel_size: int = 9
  spatial_scales: int = 4
  temporal_scales: int = 4
  reduction: int = 2
  expand_ratio: int = 0
  layer_type: str = "basic"
  activation: str = "relu"
  attention: str | None = None
  strategy: str = "spatial"
  dtype: str = "float32"
  remat: bool = False

  def __post_init__(self):
    set_field = lambda name, value: object.__setattr__(self, name, value)
    set_field("skeleton", skeletons.resolve(self.skeleton))
    for name in ("num_classes", "num_persons", "in_channels", "width"):
      _check_count(name, getattr(self, name))
    if self.blocks is None:
      set_field("blocks", published_blocks(self.in_channels, self.width))
    set_field("blocks", tuple(_block(i, block) for i, block in enumerate(self.blocks)))
    _check(self)

  @property
  def layer_types(self) -> tuple[str, str]:
    """Types of the spatial and of the temporal layers."""
    spatial, _, temporal = self.block_type.partition("/")
    return spatial, temporal or spatial

  def adjacency(self) -> np.ndarray:
    """Adjacency of the skeleton, float64 [K, V, V]."""
    return graph.adjacency(self.skeleton, self.strategy)

  def to_dict(self) -> dict[str, Any]:
    """Plain lists, numbers and strings, fit for JSON; `from_dict` reads it back."""
    values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    values["skeleton"] = self.skeleton.to_dict()
    values["blocks"] = [list(dataclasses.astuple(block)) for block in self.blocks]
    return values

  @classmethod
  def from_dict(cls, values: Mapping[str, Any]) -> "ModelConfig":
    """Reads `to_dict`'s output; ConfigError names a field that does not exist."""
    known = [field.name for field in dataclasses.fields(cls)]
    for name in values:
      if name not in known:
        raise ConfigError(f"model has no field {name!r}; it has {', '.join(known)}")
    return cls(**values)


def _check_count(name: str, value: Any, minimum: int = 1) -> None:
  if type(value) is not int or value < minimum:
    raise ConfigError(f"{name} is {value!r}; it must be a whole number of at least {minimum}")


def _choose(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
  if value not in allowed:
    raise ConfigError(f"{name} is {value!r}; allowed: {', '.join(map(str, allowed))}")


def _block(index: int, block: BlockConfig | tuple) -> BlockConfig:
  if not isinstance(block, BlockConfig):
    try:
      block = BlockConfig(*block)
    except TypeError:
      raise ConfigError(
        f"blocks[{index}] is {block!r}; give (in_channels, out_channels, residual, stride)"
      ) from None
  for name in ("in_channels", "out_channels", "stride"):
    _check_count(f"blocks[{index}].{name}", getattr(block, name))
  if type(block.residual) is not bool:
    raise ConfigError(f"blocks[{index}].residual is {block.residual!r}; it must be true or false")
  return block


def _check(c: ModelConfig) -> None:
  _check_count("spatial_scales", c.spatial_scales)
  _check_count("temporal_scales", c.temporal_scales)
  _check_count("reduction", c.reduction)
  _check_count("expand_ratio", c.expand_ratio, minimum=0)
  _check_count("kernel_size", c.kernel_size)
  if c.kernel_size % 2 == 0:
    raise ConfigError(f"kernel_size is {c.kernel_size}; it must be odd, to look both ways alike")
  for kind in c.layer_types:
    if ":" not in kind:
      _choose("block_type", kind, (*BLOCK_TYPES, "two of them as 'spatial/temporal'", "'module:f'"))
  _choose("layer_type", c.layer_type, LAYER_TYPES)
  _choose("activation", c.activation, ACTIVATIONS)
  _choose("attention", c.attention, (None, *ATTENTIONS))
  _choose("strategy", c.strategy, graph.STRATEGIES)
  _choose("dtype", c.dtype, DTYPES)
  if type(c.remat) is not bool:
    raise ConfigError(f"remat is {c.remat!r}; it must be true or false")
  _check_channels(c)
  if c.attention == "pa":
    c.skeleton.require("parts", f"attention {c.attention!r}")


def _check_channels(c: ModelConfig) -> None:
  """Blocks fit onto each other, and channels divide into the groups that layers split them into."""
  if not c.blocks:
    raise ConfigError("blocks is empty; give at least one (in, out, residual, stride)")
  previous = c.in_channels
  for i, block in enumerate(c.blocks):
    if block.in_channels != previous:
      before = "the clip has" if i == 0 else f"block {i - 1} puts out"
      raise ConfigError(
        f"blocks[{i}].in_channels is {block.in_channels}; {before} {previous} channels"
      )
    previous = block.out_channels
    if i == 0:  # always basic, without attention
      continue
    c_in, c_out = block.in_channels, block.out_channels
    layers = (
      ("spatial_scales", c.spatial_scales, c.layer_types[0], c_in, c_out),
      ("temporal_scales", c.temporal_scales, c.layer_types[1], c_out, c_out),
    )
    for field, scales, kind, *channels in layers:
      inner = channels if kind == "ms" else [inner_channels(*channels, c.reduction)]
      for value in inner if kind in ("ms", "ms_bottle") else ():
        if value % scales:
          raise ConfigError(
            f"{field} is {scales}, which does not divide the {value} channels of block {i}"
          )
    smallest = min(c_in, c_out)
    uses_reduction = c.attention in ("stja", "stcja", "pa") or any(
      kind in ("bottle", "ms_bottle") for kind in c.layer_types
    )
    if uses_reduction and smallest < c.reduction:
      raise ConfigError(
        f"reduction is {c.reduction}, more than the {smallest} channels of block {i}"
      )


def inner_channels(in_channels: int, out_channels: int, reduction: int) -> int:
  """Width of a bottleneck: in / reduction, doubled where the layer changes the channels."""
  return (1 if in_channels == out_channels else 2) * in_channels // reduction
