"""UTD-MHAD (27 actions, 8 subjects), joint stream, cross-subject, for two CPU cores.

mstgcn prepare utd_mhad --raw DIR --out data
mstgcn train --config utd_mhad_joint
"""

from mstgcn_jax.training import config


def get_config():
  c = config.default()
  c.data.name = "utd_mhad"
  c.data.protocol = "cross_subject"
  c.data.window = 64
  c.data.sampling = "uniform"
  c.data.num_persons = 1
  c.model.width = 32
  c.batch_size = 16
  c.eval_batch_size = 43
  c.epochs = 45
  c.eval_every = 5
  c.optimizer.learning_rate = 0.1
  c.optimizer.warmup_epochs = 5
  c.optimizer.decay_epochs = (22, 36)
  c.augment.rotation = (0.3, 0.3, 0.3)
  c.augment.scale = (0.9, 1.1)
  return c
