"""NTU RGB+D 60, cross-view: the four streams side by side in one run, and their fusion.

    mstgcn prepare ntu60 --raw DIR --out data --ignore-list FILE
    mstgcn train --config ntu_streams

Cross-subject: --config.data.protocol=xsub. On several devices: --config.stream_devices=1 gives
every stream its own.
"""

from mstgcn_jax import config


def get_config():
  c = config.default()
  c.streams = ("joint", "bone", "joint_motion", "bone_motion")
  return c
