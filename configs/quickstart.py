"""What `make train` runs: synthetic stick people, a small network, minutes on two CPU cores.

mstgcn prepare synthetic --raw raw/synthetic --out data
mstgcn train --config quickstart
"""

from mstgcn_jax import config


def get_config():
  c = config.default()
  c.data.name = "synthetic"
  c.data.protocol = "cross_subject"
  c.data.window = 48
  c.data.sampling = "uniform"
  c.model.width = 16
  c.batch_size = 16
  c.epochs = 12
  c.eval_every = 3
  c.optimizer.learning_rate = 0.1
  c.optimizer.warmup_epochs = 2
  c.optimizer.schedule = "cosine"
  return c
