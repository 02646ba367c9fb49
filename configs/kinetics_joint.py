"""Kinetics-skeleton (Yan et al. 2018): 400 classes, 2-D joints with a score, given split.

    mstgcn prepare kinetics --raw DIR --out data
    mstgcn train --config kinetics_joint

The network is the published one. The schedule is shorter, since an epoch is six times as long as
NTU's; it is a starting point and has not been run on the real recordings. The random movement of
ST-GCN: --config.augment.random_move=True.
"""

from mstgcn_jax import config


def get_config():
  c = config.default()
  c.data.name = "kinetics"
  c.data.protocol = "given"
  c.augment.dimensions = 2  # x and y; the third channel is a score
  c.epochs = 65
  c.optimizer.warmup_epochs = 5
  c.optimizer.decay_epochs = (45, 55)
  return c
