"""Which fields of a `ModelConfig` the layers of its network read; a new block has its line here.

`model` is a `ModelConfig`, or the section `model` of a config, whose fields may be left open.
"""

from typing import Any

from mstgcn_jax.model.config import BLOCK_TYPES, BRANCHES, NETWORKS, RANDOM, own_code

_AROUND_ONE_CONVOLUTION = {*BLOCK_TYPES, "stgcn"}
_READS_EDGE_WEIGHTS = _AROUND_ONE_CONVOLUTION | {"stgcnpp"}  # the others' adjacency always learns


def read_by_layers(model: Any) -> dict[str, bool]:
  """Field of `ModelConfig` -> whether a layer of this network reads it; nothing for own code."""
  if own_code(model):
    return {}
  spatial, temporal, first = _layers(model)
  types = {spatial, temporal, first}
  one_block, published = _has_one_block(model), NETWORKS[model.network]
  reduces = not one_block and model.attention in ("stja", "stcja", "pa")
  return {
    "block_type": not (one_block and published.first_block),
    "attention": not one_block,
    "dropout": not (one_block and published.dropout_in_blocks),
    "spatial_scales": spatial in ("ms", "ms_bottle"),
    "temporal_scales": temporal in ("ms", "ms_bottle"),
    "layer_type": "ms" in types,
    "expand_ratio": "sep" in types or ("ms" in types and model.layer_type == "sep"),
    "reduction": reduces or "bottle" in types or "ms_bottle" in types,
    "embedding": spatial in ("agcn", "aagcn", "ctrgcn", "pyskl_ctrgcn", "dgstgcn"),
    "gates": spatial == "aagcn",
    "branches": temporal in BRANCHES or spatial == "msg3d",
    **dict.fromkeys(("gcn_scales", "g3d_scales", "windows"), spatial == "msg3d"),
    "subsets": (model.strategy or published.strategy) == RANDOM,
    "edge_weights": bool({spatial, first} & _READS_EDGE_WEIGHTS),
    "kernel_size": bool({temporal, first} & (_AROUND_ONE_CONVOLUTION | {"agcn", "aagcn"})),
  }


def learns_no_adjacency(model: Any) -> bool:
  """Whether every block's adjacency stays as it is: not of own code, of which that is not known."""
  if own_code(model) or model.edge_weights != "fixed":
    return False
  spatial, _, first = _layers(model)
  return {spatial, first or spatial} <= _READS_EDGE_WEIGHTS


def _layers(model: Any) -> tuple[str, str, str | None]:
  """Spatial and temporal layer, and the first block's type where it is of another."""
  published = NETWORKS[model.network]
  first = published.first_block
  block_type = model.block_type or published.block_type
  if first and _has_one_block(model):
    block_type = first
  spatial, _, temporal = block_type.partition("/")
  return spatial, temporal or spatial, first


def _has_one_block(model: Any) -> bool:
  return len(model.blocks or NETWORKS[model.network].layout) == 1
