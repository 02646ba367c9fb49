"""UTD-MHAD: the four streams side by side in one run, and their fusion.

    mstgcn prepare utd_mhad --raw DIR --out data
    mstgcn train --config utd_mhad_streams

All else is as in utd_mhad_joint.py.
"""

from mstgcn_jax import config


def get_config():
  c = config.load("utd_mhad_joint")
  c.streams = ("joint", "bone", "joint_motion", "bone_motion")
  return c
