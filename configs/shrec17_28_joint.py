"""SHREC'17 hand gestures, 28 classes, with the split of its track (De Smedt et al. 2017).

mstgcn prepare shrec17_28 --raw DIR --out data
mstgcn train --config shrec17_28_joint

All else is as in shrec17_14_joint.py.
"""

from mstgcn_jax import config


def get_config():
  c = config.load("shrec17_14_joint")
  c.data.name = "shrec17_28"
  return c
