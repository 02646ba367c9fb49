"""AAGCN on NTU RGB+D 60, cross-subject: its published recipe (Shi et al., TIP 2020).

    mstgcn train --config ntu_aagcn

As 2s-AGCN's, with a warm-up in which the learned adjacencies stand still. Its four streams:
--config.streams=joint,bone,joint_motion,bone_motion. It has not been run on the real recordings
here.
"""

from mstgcn_jax import config


def get_config():
  c = config.load("ntu_agcn")
  c.model.network = "aagcn"
  c.optimizer.warmup_epochs = 5
  c.optimizer.freeze_adjacency_through = 5
  return c
