"""UTD-MHAD (27 actions, 8 subjects), joint stream, cross-subject.

mstgcn prepare utd_mhad --raw DIR --out data
mstgcn train --config utd_mhad_joint

All else is as in own_recordings.py.
"""

from mstgcn_jax import config


def get_config():
  c = config.load("own_recordings")
  c.data.name = "utd_mhad"
  c.data.protocol = "cross_subject"
  c.eval_batch_size = 44
  return c
