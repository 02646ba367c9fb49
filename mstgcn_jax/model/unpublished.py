"""Which fields of a `ModelConfig` a network's published code doesn't have, or not at that value."""

from typing import Any

from mstgcn_jax.model.config import BLOCK_TYPES, ModelConfig

# Values of `edge_weights` that a network's code has; that of others has no such option, and doesn't
# read it here either.
_EDGE_WEIGHTS = {
  "mstgcn": ("added",),
  "stgcn": ("scaled", "fixed"),
  "pyskl_stgcn": ("scaled",),
  "stgcnpp": ("learned",),
  "pyskl_msg3d": ("added",),
}
_WITH_BRANCHES = ("ctrgcn", "pyskl_ctrgcn", "pyskl_msg3d")  # fixed ones


def unpublished(config: ModelConfig) -> list[str]:
  """'field=value' of all options that the network's published code cannot be told.

  It computes something else then, with the same tensors, or has others. Sizes are no options. []
  for a network of one's own, which no publication has.
  """
  network = config.network
  if ":" in network:
    return []
  there: dict[str, tuple[Any, ...]] = {
    "block_type": BLOCK_TYPES if network == "mstgcn" else (config.published.block_type,),
    "activation": ("relu", "swish", "hswish") if network == "mstgcn" else ("relu",),
    "edge_weights": (None, *_EDGE_WEIGHTS.get(network, (config.edge_weights,))),
    "graph": (None,),
  }
  if network != "mstgcn":
    there["attention"] = (None,)
  if config.published.of_pyskl:
    there["graph"] = (None, "ntu_rgbd_pyskl")
  else:
    there["input_norm"] = (config.published.input_norm,)
  if network in _WITH_BRANCHES:
    there["branches"] = (None,)
  if network == "agcn":  # whose state dict does not hold the matrices
    there["strategy"] = (config.published.strategy,)
  spatial, temporal = config.layer_types
  ours = {name: getattr(config, name) for name in there} | {
    "block_type": spatial if spatial == temporal else config.block_type,
    "graph": config.graph and config.graph.name,
  }
  return [f"{name}={ours[name]}" for name, allowed in there.items() if ours[name] not in allowed]
