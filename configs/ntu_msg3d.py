"""MS-G3D on NTU RGB+D 60, cross-subject, by the recipe of PYSKL (Duan et al., 2022).

    mstgcn train --config ntu_msg3d

ntu_stgcnpp.py's recipe with PYSKL's form of MS-G3D (Liu et al., CVPR 2020). It has not been run on
the real recordings here.
"""

import pathlib

from mstgcn_jax import config


def get_config():
  c = config.load(pathlib.Path(__file__).with_name("ntu_stgcnpp.py"))
  c.model.network = "pyskl_msg3d"
  return c
