"""UTKinect-Action3D (10 actions, 10 subjects, 20 recordings): one recording out.

    mstgcn prepare utkinect --raw DIR --out data
    mstgcn train --config utkinect_joint

The published figure (Xia, Chen and Aggarwal 2012) is the mean over all 20 recordings:
--config.data.protocol=leave_one_out:column=sequence,value=s01_e02 and so on to s10_e02, each with a
--workdir of its own. Cross-subject, as in Zhu et al. 2013, is not among the protocols; odd subjects
train with cross_subject. All else is as in own_recordings.py.
"""

from mstgcn_jax import config


def get_config():
  c = config.load("own_recordings")
  c.data.name = "utkinect"
  c.data.protocol = "leave_one_out:column=sequence,value=s01_e01"
  c.eval_batch_size = 10
  return c
