"""UTD-MHAD with ST-GCN++, to compare with utd_mhad_joint: as large, all else alike.

mstgcn compare utd_mhad_joint utd_mhad_stgcnpp --seeds 0 1 2
"""

from mstgcn_jax import config


def get_config():
  c = config.load("utd_mhad_joint")
  c.model.network = "stgcnpp"
  c.model.width = 28  # 0.25 to 0.35 million parameters
  return c
