"""MST-GCN and the networks it is compared with, as modules that can be lifted out one by one."""

from mstgcn_jax.model.config import BlockConfig, ModelConfig
from mstgcn_jax.model.network import MSTGCN, Network, make_network

__all__ = ["MSTGCN", "BlockConfig", "ModelConfig", "Network", "make_network"]
