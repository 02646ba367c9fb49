"""Northwestern-UCLA: the four streams side by side in one run, and their fusion.

    mstgcn prepare nw_ucla --raw DIR --out data
    mstgcn train --config nw_ucla_streams

All else is as in nw_ucla_joint.py.
"""

from mstgcn_jax import config


def get_config():
  c = config.load("nw_ucla_joint")
  c.streams = ("joint", "bone", "joint_motion", "bone_motion")
  return c
