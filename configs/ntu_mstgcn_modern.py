"""MST-GCN on NTU RGB+D 60, cross-subject, by the practice that PYSKL showed to lift all networks.

    mstgcn prepare ntu60 --raw DIR --out data --ignore-list FILE
    mstgcn train --config ntu_mstgcn_modern

Clips centred where they begin, one frame of each of 100 equal parts, ten such views in evaluation;
128 clips per step, a cosine over 80 epochs, weight decay 5e-4, rotation by up to 0.3 rad and scale
by up to 10 % (Duan et al., "PYSKL", 2022). Another batch size scales the learning rate. Another
network, as it is published: --config.model.network=ctrgcn. It has not been run on the real
recordings here.
"""

from mstgcn_jax import config


def get_config():
  c = config.default()
  c.data.protocol = "xsub"
  c.data.window = 100
  c.data.sampling = "uniform"
  c.data.views = 10
  c.data.center = "first_frame"
  c.batch_size = 128
  c.epochs = 80
  c.optimizer.learning_rate = 0.1
  c.optimizer.reference_batch_size = 128
  c.optimizer.weight_decay = 5e-4
  c.optimizer.schedule = "cosine"
  c.optimizer.warmup_epochs = 0
  c.augment.rotation = (0.3, 0.3, 0.3)
  c.augment.scale = (0.9, 1.1)
  c.augment.dimensions = 0  # those of the data
  return c
