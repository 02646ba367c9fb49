"""The real recordings, where they are at hand."""

import pathlib
import subprocess
import sys

from golden import shared

from data_prep.__main__ import main as data_prep

ROOT = pathlib.Path(__file__).parents[1]


def test_the_published_network_evaluates_the_three_ntu_recordings(tmp_path):
  raw = shared("data/ntu_rgbd")
  assert data_prep(["ntu60", "--raw", str(raw), "--out", str(tmp_path)]) == 0
  argv = [sys.executable, "-m", "mstgcn_jax", "evaluate", "--config", "configs/ntu_joint.py"]
  argv += ["--data", str(tmp_path), "--protocol", "all"]
  done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT)
  assert done.returncode == 0, done.stderr
  assert "fresh weights" in done.stdout
