"""UTD-MHAD (27 actions, 8 subjects), joint stream, cross-subject.

mstgcn prepare utd_mhad --raw DIR --out data
mstgcn train --config utd_mhad_joint

All else is as in own_recordings.py.
"""

import pathlib

from mstgcn_jax import config


def get_config():
  c = config.load(pathlib.Path(__file__).with_name("own_recordings.py"))
  c.data.name = "utd_mhad"
  c.data.protocol = "cross_subject"
  c.eval_batch_size = 43
  return c
