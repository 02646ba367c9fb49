"""Northwestern-UCLA (10 actions, 3 views), joint stream: views 1 and 2 train, view 3 tests.

mstgcn prepare nw_ucla --raw DIR --out data
mstgcn train --config nw_ucla_joint

All else is as in own_recordings.py.
"""

import pathlib

from mstgcn_jax import config


def get_config():
  c = config.load(pathlib.Path(__file__).with_name("own_recordings.py"))
  c.data.name = "nw_ucla"
  c.data.protocol = "leave_one_out:column=camera,value=3"
  return c
