"""The MST-GCN family of networks, as modules that can be lifted out one by one."""

from mstgcn_jax.model.config import BlockConfig, ModelConfig
from mstgcn_jax.model.network import MSTGCN

__all__ = ["MSTGCN", "BlockConfig", "ModelConfig"]
