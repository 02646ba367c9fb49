"""Trains a network, or goes on training: python train.py --config configs/ntu_joint.py

The same as `mstgcn train`, from a checkout. --help says more.
"""

import sys

from mstgcn_jax.__main__ import main

if __name__ == "__main__":
  sys.exit(main(["train", *sys.argv[1:]]))
