"""MST-GCN and the networks it is compared with, as modules that can be lifted out one by one."""

from mstgcn_jax.model.config import BlockConfig, ModelConfig
from mstgcn_jax.model.network import MSTGCN, Network, abstract_network, make_network
from mstgcn_jax.model.spatial import Constant

__all__ = [
  "MSTGCN",
  "BlockConfig",
  "Constant",
  "ModelConfig",
  "Network",
  "abstract_network",
  "make_network",
]
