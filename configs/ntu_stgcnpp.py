"""ST-GCN++ on NTU RGB+D 60, cross-subject: its published recipe (Duan et al., "PYSKL", 2022).

    mstgcn train --config ntu_stgcnpp

ntu_mstgcn_modern.py without rotation and scale, with PYSKL's links of the hands. Its BatchNorm is
of 16 clips on each of 8 GPUs, here of all 128. Its first person is who is seen in most frames, in
which alone clips are shown, here who moves most; of 100 to 199 frames it draws 100 different ones,
and the ten views at random, here they are spread evenly. It has not been run on the real recordings
here.
"""

from mstgcn_jax import config


def get_config():
  c = config.load("ntu_mstgcn_modern")
  c.model.network = "stgcnpp"
  c.model.graph = "ntu_rgbd_pyskl"
  c.augment.rotation = (0.0, 0.0, 0.0)
  c.augment.scale = (1.0, 1.0)
  return c
