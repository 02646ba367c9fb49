"""NTU RGB+D 120, joint stream, cross-subject: the published recipe (Chen et al., AAAI 2021).

    mstgcn prepare ntu120 --raw DIR --out data --ignore-list FILE
    mstgcn train --config ntu120_joint

Cross-setup, on the same data: --config.data.protocol=xset.
"""

from mstgcn_jax import config


def get_config():
  c = config.default()
  c.data.name = "ntu120"
  c.data.protocol = "xsub"
  return c
