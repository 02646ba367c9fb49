"""UTD-MHAD (27 actions, 8 subjects), joint stream, cross-subject; for two CPU cores."""

from mstgcn_jax import config


def get_config():
  c = config.default()
  c.data.name = "utd_mhad"
  c.data.protocol = "cross_subject"
  c.data.window = 128
  c.data.num_persons = 1
  c.model.width = 32
  c.batch_size = 16
  c.eval_batch_size = 43
  c.epochs = 45
  c.optimizer.learning_rate = 0.1
  c.optimizer.warmup_epochs = 5
  c.optimizer.decay_epochs = (22, 36)
  return c
