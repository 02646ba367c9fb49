"""MSR-Action3D (20 actions, 10 subjects), cross-subject: odd subjects train.

    mstgcn prepare msr_action3d --raw DIR --out data
    mstgcn train --config msr_action3d_joint

The three sets of eight actions of Li, Zhang and Liu (2010), whose published figure is the mean over
them, are --config.data.protocol=given:column=split_as1, split_as2 and split_as3. All else is as in
own_recordings.py.
"""

from mstgcn_jax import config


def get_config():
  c = config.load("own_recordings")
  c.data.name = "msr_action3d"
  c.data.protocol = "cross_subject"
  return c
