"""What a network is made of: `ModelConfig`, a frozen, hashable dataclass that checks itself."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from mstgcn_jax import graph, skeletons
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.skeletons import Skeleton

BLOCK_TYPES = ("basic", "bottle", "sep", "ms", "ms_bottle")
# Layers of other networks (`neighbours.SPATIAL` and `TEMPORAL`).
NEIGHBOURS = ("stgcn", "agcn", "aagcn", "ctrgcn", "pyskl_ctrgcn", "stgcnpp", "dgstgcn", "msg3d")
LAYER_TYPES = ("basic", "sep")
ACTIVATIONS = ("relu", "swish", "hswish", "acon", "meta_acon")
ATTENTIONS = ("stja", "stcja", "pa", "ca", "fa", "ja")
DTYPES = ("float32", "bfloat16", "float64")
INPUT_NORMS = ("MVC", "VC")
EDGE_WEIGHTS = ("added", "scaled", "learned", "fixed")
# A strategy beside those of `graph`: random matrices, of layers that learn them.
RANDOM = "random"
# Temporal layers of branches -> the published ones: (kernel size, dilation), ('max', kernel size),
# '1x1'.
BRANCHES = {
  **dict.fromkeys(("ctrgcn", "pyskl_ctrgcn"), ((5, 1), (5, 2), ("max", 3), "1x1")),
  **dict.fromkeys(
    ("stgcnpp", "dgstgcn", "msg3d"), ((3, 1), (3, 2), (3, 3), (3, 4), ("max", 3), "1x1")
  ),
}


_OF_A_BLOCK = "(in_channels, out_channels, residual, stride)"
# Halving the frames where the width doubles.
_TEN_BLOCKS = (*((1, 1),) * 4, (2, 2), (2, 1), (2, 1), (4, 2), (4, 1), (4, 1))


@dataclasses.dataclass(frozen=True)
class Published:
  """What a network's publication says of `ModelConfig`'s fields that are None, and what is fixed.

  Attributes:
    block_type, width, strategy, input_norm: the fields.
    layout: (multiple of the width, temporal stride) of each block.
    first_block: block type of block 0; None where it is as the others.
    initial_values: how parameters are drawn, one of the schemes of `initial`.
    dropout_in_blocks: whether dropout ends each temporal layer, or precedes the classifier.
    origin: where its code takes the centre that it subtracts from clips, of
      `temporal_sampling.ORIGINS`.
    of_pyskl: whether its code is PYSKL's, which links NTU's joints otherwise.
  """

  block_type: str
  width: int = 64
  strategy: str = "spatial"
  input_norm: str = "MVC"
  first_block: str | None = None
  initial_values: str = "he"
  dropout_in_blocks: bool = False
  origin: str = "frame"
  of_pyskl: bool = False
  layout: tuple[tuple[int, int], ...] = _TEN_BLOCKS


_OF_PYSKL = {"initial_values": "torch", "origin": "first_frame", "of_pyskl": True}
_PYSKL = _OF_PYSKL | {"dropout_in_blocks": True}
_PYSKL_OF_HE = _PYSKL | {"initial_values": "he, torch at the ends"}
NETWORKS = {
  # Chen et al., AAAI 2021.
  "mstgcn": Published("ms", 112, first_block="basic"),
  # Yan et al., AAAI 2018.
  "stgcn": Published(
    "stgcn", strategy="stgcn", input_norm="VC", initial_values="normal", dropout_in_blocks=True
  ),
  # Shi et al., CVPR 2019 and TIP 2020.
  "agcn": Published("agcn"),
  "aagcn": Published("aagcn"),
  # Chen et al., ICCV 2021.
  "ctrgcn": Published("ctrgcn", origin="first_frame"),
  # Duan et al., "PYSKL", 2022, and "DG-STGCN", 2022; and the forms that others have in PYSKL.
  "stgcnpp": Published("stgcnpp", input_norm="VC", **_PYSKL),
  "dgstgcn": Published("dgstgcn", strategy=RANDOM, input_norm="VC", **_PYSKL),
  "pyskl_stgcn": Published("stgcn", strategy="stgcn", input_norm="VC", **_PYSKL),
  "pyskl_aagcn": Published("aagcn", **_PYSKL_OF_HE),
  "pyskl_ctrgcn": Published("pyskl_ctrgcn", **_PYSKL_OF_HE),
  # Liu et al., CVPR 2020, as PYSKL has it.
  "pyskl_msg3d": Published(
    "msg3d", 96, strategy="binary", layout=((1, 1), (2, 2), (4, 2)), **_OF_PYSKL
  ),
}
# For a network of one's own.
_OWN = Published("basic")


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


def published_blocks(network: str, in_channels: int, width: int) -> tuple[BlockConfig, ...]:
  """The blocks that a network is published with, at this width."""
  blocks = []
  for widening, stride in NETWORKS.get(network, _OWN).layout:
    channels = widening * width
    blocks.append(BlockConfig(in_channels, channels, residual=bool(blocks), stride=stride))
    in_channels = channels
  return tuple(blocks)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """A network for skeletons: MST-GCN (Chen et al., AAAI 2021) or a neighbour, each as published.

      mst.ModelConfig(num_classes=60)  # widths 112, 224, 448
      mst.ModelConfig(num_classes=14, skeleton="coco", width=32, attention="stja")

  `dataclasses.replace` keeps what the publication or `width` has filled in: with another width give
  blocks=None, with another network every field that is None here.

  Attributes:
    num_classes: length of the logits.
    network: one of `NETWORKS`, whose publication gives the fields that are None here; or
      'package.module:function', a network of your own: function(config, rngs=rngs) -> module (see
      docs/networks.md).
    skeleton: a `Skeleton`, or the name of one; the graph is derived from it.
    num_persons: persons in a clip; their features are averaged.
    in_channels: channels of a clip.
    width: channels of the first blocks; ignored where `blocks` is given.
    input_norm: the input's norm has a feature for each person, joint and channel ('MVC') or, shared
      by all persons, for each joint and channel ('VC').
    blocks: a `BlockConfig` or (in, out, residual, stride) each; None is the published layout.
    block_type: one of `BLOCK_TYPES` or `NEIGHBOURS`; MST-GCN's block 0 is always 'basic'.
      'spatial/temporal' mixes two ('ctrgcn/ms'), and either may be 'package.module:function', a
      layer of your own: function(config, block, rngs=rngs) -> module (see `block.spatial_layer`).
    kernel_size: frames that a temporal convolution sees; odd. Layers of `branches` have theirs.
    spatial_scales: channel groups of a multi-scale spatial layer.
    temporal_scales: channel groups of a multi-scale temporal layer.
    reduction: factor by which bottlenecks and attention reduce the channels.
    embedding: factor by which layers reduce the channels that they infer an adjacency from; None
      is 4 in AGCN and AAGCN, 8 in CTR-GCN and DG-STGCN.
    gates: whether AAGCN's spatial layers end with gates of joints, frames and channels.
    branches: of temporal layers with branches, one each: (kernel size, dilation), ('max', kernel
      size) or '1x1'; None is `BRANCHES`.
    expand_ratio: factor by which separable convolutions first expand them; 0 leaves that out.
    layer_type: convolution inside `ms` layers, one of `LAYER_TYPES`.
    activation: one of `ACTIVATIONS`.
    attention: None or one of `ATTENTIONS`, after each temporal layer but block 0's.
    dropout: probability, in training, that an element is 0: behind each temporal layer but block
      0's (ST-GCN and PYSKL's networks but MS-G3D) or before the classifier (the others).
    strategy: partition strategy, of `graph.STRATEGIES` or `graph.FURTHER_STRATEGIES`; or 'random',
      of DG-STGCN's layers.
    graph: skeleton, or the name of one, whose links the graph takes in place of `skeleton`'s: PYSKL
      links NTU's joints otherwise ('ntu_rgbd_pyskl').
    subsets: matrices of the strategy 'random'.
    gcn_scales: matrices that an MS-G3D layer aggregates with, by the distance of joints: 0 to
      `gcn_scales` - 1 hops.
    g3d_scales: the same, in its windows.
    windows: frames of each of its windows; odd.
    edge_weights: how a graph convolution comes to its adjacency from the graph's A and a learned
      PA: 'added' A + PA, 'scaled' A ⊙ PA, 'learned' PA, 'fixed' A. None is 'scaled' in ST-GCN,
      'learned' in ST-GCN++ and 'added' in MST-GCN.
    dtype: of the computation, one of `DTYPES`; parameters and statistics stay float32 (float64
      makes everything float64 and needs jax_enable_x64).
    remat: recompute each block's inside in the backward pass instead of keeping it.
  Raises:
    ConfigError: names the field, its value and what is allowed.
  """

  # `Any`: type checkers let these take more than is read from them, which `__post_init__` sees to.
  num_classes: int
  skeleton: Skeleton | Any = "ntu_rgbd"
  num_persons: int = 2
  in_channels: int = 3
  network: str = "mstgcn"
  width: int | Any = None
  input_norm: str | Any = None
  blocks: tuple[BlockConfig, ...] | Any = None
  block_type: str | Any = None
  kernel_size: int = 9
  spatial_scales: int = 4
  temporal_scales: int = 4
  reduction: int = 2
  embedding: int | None = None
  gates: bool = True
  branches: tuple[Any, ...] | None = None
  expand_ratio: int = 0
  layer_type: str = "basic"
  activation: str = "relu"
  attention: str | None = None
  dropout: float = 0.0
  strategy: str | Any = None
  graph: Skeleton | Any | None = None
  subsets: int = 8
  gcn_scales: int = 13
  g3d_scales: int = 6
  windows: tuple[int, ...] = (3, 5)
  edge_weights: str | None = None
  dtype: str = "float32"
  remat: bool = False

  def __post_init__(self):
    set_field = lambda name, value: object.__setattr__(self, name, value)
    set_field("skeleton", skeletons.resolve(self.skeleton))
    if self.graph is not None:
      set_field("graph", skeletons.resolve(self.graph))
    for field in dataclasses.fields(self):
      set_field(field.name, skeletons.plain(getattr(self, field.name)))
    for name, value in published_fields(self.network).items():
      if getattr(self, name) is None:
        set_field(name, value)
    for name in ("num_classes", "num_persons", "in_channels", "width"):
      _check_count(name, getattr(self, name))
    if self.blocks is None:
      set_field("blocks", published_blocks(self.network, self.in_channels, self.width))
    if not isinstance(self.blocks, tuple):
      raise ConfigError(f"blocks is {self.blocks!r}; give {_OF_A_BLOCK} of each")
    set_field("blocks", tuple(_block(i, block) for i, block in enumerate(self.blocks)))
    _check(self)

  @property
  def published(self) -> Published:
    """What the network's publication says; for a network of one's own, what is left open."""
    return NETWORKS.get(self.network, _OWN)

  @property
  def layer_types(self) -> tuple[str, str]:
    """Types of the spatial and of the temporal layers; MST-GCN's first block has its own."""
    spatial, _, temporal = self.block_type.partition("/")
    return spatial, temporal or spatial

  def layer_types_of(self, index: int) -> tuple[str, str]:
    """Types of the index-th block's spatial and temporal layer."""
    first = self.published.first_block
    return self.layer_types if index or first is None else (first, first)

  def adjacency(self) -> np.ndarray:
    """Adjacency of the graph, float32 [K, V, V]."""
    return graph.adjacency(self.graph or self.skeleton, self.strategy).astype(np.float32)

  def to_dict(self) -> dict[str, Any]:
    """Plain lists, numbers and strings, fit for JSON; `from_dict` reads it back."""
    blocks = [list(dataclasses.astuple(block)) for block in self.blocks]
    return json.loads(json.dumps(dataclasses.asdict(self))) | {"blocks": blocks}

  @classmethod
  def from_dict(cls, values: Mapping[str, Any]) -> "ModelConfig":
    """Reads `to_dict`'s output; ConfigError names a field that does not exist."""
    known = [field.name for field in dataclasses.fields(cls)]
    for name in values:
      if name not in known:
        raise ConfigError(f"model has no field {name!r}; it has {', '.join(known)}")
    return cls(**values)


def own_code(model: Any) -> str | None:
  """What names code of one's own, 'package.module:function', in a `ModelConfig` or the same fields
  of an experiment's config; None where nothing does."""
  named = (value for value in (model.network, model.block_type) if value and ":" in value)
  return next(named, None)


def published_fields(network: str) -> dict[str, Any]:
  """The values that fields have where they are None: those of the network's publication.

  Raises:
    ConfigError: there is no such network.
  """
  if ":" not in str(network):
    _choose("network", network, (*NETWORKS, "'module:function'"))
  published = NETWORKS.get(network, _OWN)
  return {f: getattr(published, f) for f in ("block_type", "width", "strategy", "input_norm")}


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
      raise ConfigError(f"blocks[{index}] is {block!r}; give {_OF_A_BLOCK}") from None
  for name in ("in_channels", "out_channels", "stride"):
    _check_count(f"blocks[{index}].{name}", getattr(block, name))
  if type(block.residual) is not bool:
    raise ConfigError(f"blocks[{index}].residual is {block.residual!r}; it must be true or false")
  return block


def _check(c: ModelConfig) -> None:
  counts = ("spatial_scales", "temporal_scales", "reduction", "kernel_size", "subsets")
  for name in (*counts, "gcn_scales", "g3d_scales"):
    _check_count(name, getattr(c, name))
  _check_count("expand_ratio", c.expand_ratio, minimum=0)
  if c.kernel_size % 2 == 0:
    raise ConfigError(f"kernel_size is {c.kernel_size}; it must be odd, to look both ways alike")
  if not (isinstance(c.windows, tuple) and all(map(_is_odd, c.windows))):
    raise ConfigError(f"windows is {c.windows!r}; give odd numbers of frames, such as (3, 5)")
  if c.embedding is not None:
    _check_count("embedding", c.embedding)
  for kind in c.layer_types:
    if ":" not in kind:
      mixed = ("two of them as 'spatial/temporal'", "'module:f'")
      _choose("block_type", kind, (*BLOCK_TYPES, *NEIGHBOURS, *mixed))
  _choose("input_norm", c.input_norm, INPUT_NORMS)
  _choose("edge_weights", c.edge_weights, (None, *EDGE_WEIGHTS))
  _choose("layer_type", c.layer_type, LAYER_TYPES)
  _choose("activation", c.activation, ACTIVATIONS)
  _choose("attention", c.attention, (None, *ATTENTIONS))
  _choose("strategy", c.strategy, (*graph.STRATEGIES, *graph.FURTHER_STRATEGIES, RANDOM))
  if c.strategy == RANDOM and c.layer_types[0] != "dgstgcn":
    raise ConfigError(f"strategy is {RANDOM!r}; only spatial layers 'dgstgcn' draw their graph")
  if c.graph is not None and c.graph.num_joints != c.skeleton.num_joints:
    raise ConfigError(
      f"graph is {c.graph.name!r} of {c.graph.num_joints} joints; the clips' skeleton "
      f"{c.skeleton.name!r} has {c.skeleton.num_joints}"
    )
  _choose("dtype", c.dtype, DTYPES)
  for name in ("remat", "gates"):
    if type(getattr(c, name)) is not bool:
      raise ConfigError(f"{name} is {getattr(c, name)!r}; it must be true or false")
  if (
    isinstance(c.dropout, bool) or not isinstance(c.dropout, int | float) or not 0 <= c.dropout < 1
  ):
    raise ConfigError(f"dropout is {c.dropout!r}; it must be a probability below 1")
  _check_branches(c.branches)
  _check_channels(c)
  if c.attention == "pa":
    c.skeleton.require("parts", f"attention {c.attention!r}")


def _is_odd(value: Any) -> bool:
  return type(value) is int and value > 0 and value % 2 == 1


def _check_branches(branches: Any) -> None:
  """Temporal branches are (odd kernel, dilation), ('max', odd kernel) or '1x1'."""
  for i, branch in enumerate(branches or ()):
    known = branch == "1x1"
    if isinstance(branch, tuple) and len(branch) == 2:
      first, second = branch
      dilated = _is_odd(first) and type(second) is int and second > 0
      known = dilated or (first == "max" and _is_odd(second))
    if not known:
      raise ConfigError(
        f"branches[{i}] is {branch!r}; give (odd kernel size, dilation), ('max', odd kernel size) "
        "or '1x1'"
      )
  if branches is not None and not branches:
    raise ConfigError("branches is empty; give at least one")


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
    if i == 0 and c.published.first_block:  # always basic, without attention
      continue
    c_in, c_out = block.in_channels, block.out_channels
    layers = (
      ("spatial_scales", c.spatial_scales, c.layer_types[0], c_in, c_out),
      ("temporal_scales", c.temporal_scales, c.layer_types[1], c_out, c_out),
    )
    of_branches = {c.layer_types[1]} & BRANCHES.keys() | {c.layer_types[0]} & {"msg3d"}
    least = max((len(c.branches or BRANCHES[kind]) for kind in of_branches), default=0)
    if c_out < least:
      raise ConfigError(f"block {i} has {c_out} channels, fewer than its {least} branches")
    for field, scales, kind, *channels in layers:
      inner = inner_channels(*channels, c.reduction)
      if kind in ("bottle", "ms_bottle") and not inner:
        raise _reduces_too_far(c, channels[0], i)
      for value in {"ms": channels, "ms_bottle": [inner]}.get(kind, ()):
        if value % scales:
          raise ConfigError(
            f"{field} is {scales}, which does not divide the {value} channels of block {i}"
          )
    if i and c.attention in ("stja", "stcja", "pa") and c_out < c.reduction:
      raise _reduces_too_far(c, c_out, i)
    if i and c.attention == "ca" and c_out < 4:
      raise ConfigError(f"attention is 'ca', which needs 4 channels; block {i} has {c_out}")
    if i and c.attention == "ja" and c.skeleton.num_joints < 2:
      raise ConfigError(f"attention is 'ja', which needs 2 joints; {c.skeleton.name!r} has 1")


def _reduces_too_far(c: ModelConfig, channels: int, index: int) -> ConfigError:
  return ConfigError(
    f"reduction is {c.reduction}, more than the {channels} channels of block {index}"
  )


def inner_channels(in_channels: int, out_channels: int, reduction: int) -> int:
  """Width of a bottleneck: in / reduction, doubled where the layer changes the channels."""
  return (1 if in_channels == out_channels else 2) * in_channels // reduction
