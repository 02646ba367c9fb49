"""MS-G3D on NTU RGB+D 60, cross-subject, by the recipe of PYSKL (Duan et al., 2022).

    mstgcn train --config ntu_msg3d

ntu_stgcnpp.py's recipe with PYSKL's form of MS-G3D (Liu et al., CVPR 2020). It has not been run on
the real recordings here.
"""

from mstgcn_jax import config


def get_config():
  c = config.load("ntu_stgcnpp")
  c.model.network = "pyskl_msg3d"
  return c
