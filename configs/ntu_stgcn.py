"""ST-GCN on NTU RGB+D 60, cross-subject: its published recipe (Yan et al., AAAI 2018).

    mstgcn train --config ntu_stgcn

Clips are looped and turned as for all networks here; the published ones are raw camera coordinates,
padded with zeros. It has not been run on the real recordings here.
"""

from mstgcn_jax import config


def get_config():
  c = config.default()
  c.data.protocol = "xsub"
  c.model.network = "stgcn"
  c.model.dropout = 0.5
  c.batch_size = 64
  c.epochs = 80
  c.optimizer.learning_rate = 0.1
  c.optimizer.warmup_epochs = 0
  c.optimizer.decay_epochs = (10, 50)
  return c
