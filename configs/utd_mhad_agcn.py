"""UTD-MHAD with 2s-AGCN's network, to compare with utd_mhad_joint: as large, all else alike.

mstgcn compare utd_mhad_joint utd_mhad_agcn --seeds 0 1 2
"""

from mstgcn_jax import config


def get_config():
  c = config.load("utd_mhad_joint")
  c.model.network = "agcn"
  c.model.width = 18  # 0.25 to 0.35 million parameters
  return c
