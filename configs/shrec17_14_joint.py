"""SHREC'17 hand gestures, 14 classes, with the split of its track (De Smedt et al. 2017).

mstgcn prepare shrec17_14 --raw DIR --out data
mstgcn train --config shrec17_14_joint

All else is as in own_recordings.py.
"""

from mstgcn_jax import config


def get_config():
  c = config.load("own_recordings")
  c.data.name = "shrec17_14"
  c.data.protocol = "given"
  c.data.window = 96
  return c
