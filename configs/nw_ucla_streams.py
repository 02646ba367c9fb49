"""Northwestern-UCLA: the four streams side by side in one run, and their fusion.

    python -m data_prep nw_ucla --raw DIR --out data
    python train.py --config configs/nw_ucla_streams.py

All else is as in nw_ucla_joint.py.
"""

import pathlib

from mstgcn_jax.training import config


def get_config():
  c = config.load(pathlib.Path(__file__).with_name("nw_ucla_joint.py"))
  c.streams = ("joint", "bone", "joint_motion", "bone_motion")
  return c
