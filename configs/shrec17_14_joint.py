"""SHREC'17 hand gestures, 14 classes, with the split of its track (De Smedt et al. 2017).

mstgcn prepare shrec17_14 --raw DIR --out data
mstgcn train --config shrec17_14_joint
"""

from mstgcn_jax import config


def get_config():
  c = config.default()
  c.data.name = "shrec17_14"
  c.data.protocol = "given"
  c.data.window = 96
  c.data.sampling = "uniform"
  c.data.num_persons = 1
  c.model.width = 32
  c.batch_size = 16
  c.eval_batch_size = 40
  c.epochs = 60
  c.eval_every = 5
  c.optimizer.learning_rate = 0.1
  c.optimizer.schedule = "cosine"
  c.optimizer.warmup_epochs = 5
  c.augment.rotation = (0.3, 0.3, 0.3)
  c.augment.scale = (0.9, 1.1)
  return c
