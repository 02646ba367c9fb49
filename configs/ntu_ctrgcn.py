"""CTR-GCN on NTU RGB+D 60, cross-subject: its published recipe (Chen et al., ICCV 2021).

    mstgcn train --config ntu_ctrgcn

The published window is a random half to whole of the clip, in evaluation the middle 95 % of it,
interpolated to 64 frames; here it is one frame of each of 64 equal parts; the published clips are
not turned, those of `ntu60` here are.
Its four streams: --config.streams=joint,bone,joint_motion,bone_motion. It has not been run on the
real recordings here.
"""

from mstgcn_jax import config


def get_config():
  c = config.default()
  c.data.protocol = "xsub"
  c.data.window = 64
  c.data.sampling = "uniform"
  c.data.center = "first_frame"
  c.model.network = "ctrgcn"
  c.batch_size = 64
  c.epochs = 65
  c.optimizer.learning_rate = 0.1
  c.optimizer.weight_decay = 4e-4
  c.optimizer.warmup_epochs = 5
  c.optimizer.decay_epochs = (35, 55)
  c.augment.rotation = (0.3, 0.3, 0.3)
  c.augment.dimensions = 0  # those of the data
  return c
