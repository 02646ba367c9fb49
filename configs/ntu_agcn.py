"""2s-AGCN on NTU RGB+D 60, cross-subject: its published recipe (Shi et al., CVPR 2019).

    mstgcn train --config ntu_agcn

The second stream is the bone (--config.streams=joint,bone). It has not been run on the real
recordings here.
"""

from mstgcn_jax import config


def get_config():
  c = config.default()
  c.data.protocol = "xsub"
  c.model.network = "agcn"
  c.batch_size = 64
  c.epochs = 50
  c.optimizer.learning_rate = 0.1
  c.optimizer.warmup_epochs = 0
  c.optimizer.decay_epochs = (30, 40)
  return c
