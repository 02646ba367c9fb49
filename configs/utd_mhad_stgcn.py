"""UTD-MHAD with ST-GCN, to compare with utd_mhad_joint: as large, all else alike.

mstgcn compare utd_mhad_joint utd_mhad_stgcn --seeds 0 1 2
"""

import pathlib

from mstgcn_jax import config


def get_config():
  c = config.load(pathlib.Path(__file__).with_name("utd_mhad_joint.py"))
  c.model.network = "stgcn"
  c.model.width = 20  # 0.25 to 0.35 million parameters
  return c
