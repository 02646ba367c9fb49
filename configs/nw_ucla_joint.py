"""Northwestern-UCLA (10 actions, 3 views), joint stream: views 1 and 2 train, view 3 tests.

mstgcn prepare nw_ucla --raw DIR --out data
mstgcn train --config nw_ucla_joint

All else is as in own_recordings.py.
"""

from mstgcn_jax import config


def get_config():
  c = config.load("own_recordings")
  c.data.name = "nw_ucla"
  c.data.protocol = "leave_one_out:column=camera,value=3"
  return c
