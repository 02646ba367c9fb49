"""UTD-MHAD with 2s-AGCN's network, to compare with utd_mhad_joint: as large, all else alike.

mstgcn compare utd_mhad_joint utd_mhad_agcn --seeds 0 1 2
"""

import pathlib

from mstgcn_jax import config


def get_config():
  c = config.load(pathlib.Path(__file__).with_name("utd_mhad_joint.py"))
  c.model.network = "agcn"
  c.model.width = 18  # 0.25 to 0.35 million parameters
  return c
