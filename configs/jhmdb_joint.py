"""JHMDB in 2-D (21 actions), from DD-Net's pickles: the first of three splits.

    mstgcn prepare jhmdb --raw DIR --out data
    mstgcn train --config jhmdb_joint

The published figure is the mean over --config.data.protocol=given:column=split_1, split_2, split_3.
All else is as in own_recordings.py.
"""

from mstgcn_jax import config


def get_config():
  c = config.load("own_recordings")
  c.data.name = "jhmdb"
  c.data.protocol = "given:column=split_1"
  c.data.window = 32
  c.data.center = "frame"  # places in the picture are not centred
  c.data.body_size = False
  return c
