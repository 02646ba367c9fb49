"""What `make train` runs: the synthetic stick people, a small network, minutes on two cores."""

from mstgcn_jax import config


def get_config():
  c = config.default()
  c.data.name = "synthetic"
  c.data.protocol = "cross_subject"
  c.data.window = 64
  c.model.width = 16
  c.batch_size = 32
  c.epochs = 12
  c.optimizer.learning_rate = 0.1
  c.optimizer.warmup_epochs = 2
  c.optimizer.decay_epochs = (8, 11)
  return c
