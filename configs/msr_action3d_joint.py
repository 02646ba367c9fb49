"""MSR-Action3D (20 actions, 10 subjects), cross-subject: odd subjects train.

    python -m data_prep msr_action3d --raw DIR --out data
    python train.py --config configs/msr_action3d_joint.py

The three sets of eight actions of Li, Zhang and Liu (2010), whose published figure is the mean over
them, are --config.data.protocol=given:column=split_as1, split_as2 and split_as3.
"""

from mstgcn_jax.training import config


def get_config():
  c = config.default()
  c.data.name = "msr_action3d"
  c.data.protocol = "cross_subject"
  c.data.window = 48
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
  c.augment.rotation = (0.3, 0.3, 0.3)
  c.augment.scale = (0.9, 1.1)
  return c
