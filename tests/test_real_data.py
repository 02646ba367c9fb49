"""The real recordings, where they are at hand."""

import pathlib
import subprocess
import sys

import numpy as np
from golden import shared

from data_prep.__main__ import main as data_prep
from mstgcn_jax import protocols
from mstgcn_jax.data_set import open_data_set

ROOT = pathlib.Path(__file__).parents[1]


def test_utd_mhad_is_prepared_whole(tmp_path):
  raw = shared("data/utd_mhad/Skeleton")
  assert data_prep(["utd_mhad", "--raw", str(raw), "--out", str(tmp_path)]) == 0
  data_set = open_data_set(tmp_path / "utd_mhad")
  train, evaluated = protocols.split(data_set, "cross_subject")
  assert (len(data_set), len(train), len(evaluated)) == (861, 431, 430)
  assert len(data_set.class_names) == 27
  assert np.all(data_set.table["subject"][train] % 2 == 1)


def test_the_published_network_evaluates_the_three_ntu_recordings(tmp_path):
  raw = shared("data/ntu_rgbd")
  assert data_prep(["ntu60", "--raw", str(raw), "--out", str(tmp_path)]) == 0
  argv = [sys.executable, "-m", "mstgcn_jax.evaluate", "--config", "configs/ntu_joint.py"]
  argv += ["--data", str(tmp_path), "--protocol", "all"]
  done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT)
  assert done.returncode == 0, done.stderr
  assert "fresh weights" in done.stdout
