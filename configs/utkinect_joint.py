"""UTKinect-Action3D (10 actions, 10 subjects, 20 recordings): one recording out.

    python -m data_prep utkinect --raw DIR --out data
    python train.py --config configs/utkinect_joint.py

The published figure (Xia, Chen and Aggarwal 2012) is the mean over all 20 recordings:
--config.data.protocol=leave_one_out:column=sequence,value=s01_e02 and so on to s10_e02, each with a
--workdir of its own. Cross-subject, as in Zhu et al. 2013, is not among the protocols; odd subjects
train with cross_subject.
"""

from mstgcn_jax.training import config


def get_config():
  c = config.default()
  c.data.name = "utkinect"
  c.data.protocol = "leave_one_out:column=sequence,value=s01_e01"
  c.data.window = 48
  c.data.sampling = "uniform"
  c.data.num_persons = 1
  c.model.width = 32
  c.batch_size = 16
  c.eval_batch_size = 10
  c.epochs = 60
  c.eval_every = 5
  c.optimizer.learning_rate = 0.1
  c.optimizer.schedule = "cosine"
  c.optimizer.warmup_epochs = 5
  c.augment.rotation = (0.3, 0.3, 0.3)
  c.augment.scale = (0.9, 1.1)
  return c
