"""The experiment of `tiny.py`: 6 steps per epoch."""

from mstgcn_jax.training import config


def get_config():
  c = config.default()
  c.data.name = "tiny"
  c.data.protocol = "cross_subject"
  c.data.window = 16
  c.data.num_persons = 1
  c.model.blocks = ((3, 8, False, 1), (8, 8, True, 1))
  c.model.spatial_scales = 2
  c.model.temporal_scales = 2
  c.model.kernel_size = 5
  c.batch_size = 4
  c.eval_batch_size = 8
  c.epochs = 3
  c.optimizer.learning_rate = 0.05
  c.optimizer.warmup_epochs = 1
  c.optimizer.decay_epochs = (2,)
  c.augment.rotation = (0.1, 0.1, 0.1)
  return c
