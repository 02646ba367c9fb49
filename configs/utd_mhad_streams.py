"""UTD-MHAD: the four streams side by side in one run, and their fusion.

    mstgcn prepare utd_mhad --raw DIR --out data
    mstgcn train --config utd_mhad_streams

All else is as in utd_mhad_joint.py.
"""

import pathlib

from mstgcn_jax import config


def get_config():
  c = config.load(pathlib.Path(__file__).with_name("utd_mhad_joint.py"))
  c.streams = ("joint", "bone", "joint_motion", "bone_motion")
  return c
