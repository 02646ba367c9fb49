"""JHMDB in 2-D (21 actions), from DD-Net's pickles: the first of three splits.

    mstgcn prepare jhmdb --raw DIR --out data
    mstgcn train --config jhmdb_joint

The published figure is the mean over --config.data.protocol=given:column=split_1, split_2, split_3.
"""

from mstgcn_jax import config


def get_config():
  c = config.default()
  c.data.name = "jhmdb"
  c.data.protocol = "given:column=split_1"
  c.data.window = 32
  c.data.sampling = "uniform"
  c.data.num_persons = 1
  c.model.width = 32
  c.batch_size = 16
  c.eval_batch_size = 32
  c.epochs = 60
  c.eval_every = 5
  c.optimizer.learning_rate = 0.1
  c.optimizer.schedule = "cosine"
  c.optimizer.warmup_epochs = 5
  c.augment.rotation = (0.0, 0.0, 0.3)
  c.augment.scale = (0.9, 1.1)
  c.augment.dimensions = 2  # x and y
  return c
