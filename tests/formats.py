"""What the tests of sources share."""

import argparse
import pickle

import numpy as np
from hypothesis import HealthCheck, settings

from data_prep import __main__ as command
from mstgcn_jax.data.data_set import open_data_set
from mstgcn_jax.errors import DataError

OPTIONS = argparse.Namespace(skeleton=None, classes=None, as_is=False)
FUZZ = settings(
  max_examples=150,
  deadline=None,
  derandomize=True,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def normal(*shape: int) -> np.ndarray:
  return np.random.default_rng(0).normal(size=shape)


def options(**changes) -> argparse.Namespace:
  return argparse.Namespace(**(vars(OPTIONS) | changes))


def prepare(source, raw, *arguments, out=None, status: int = 0):
  """The data set of a source, below `out` or beside `raw`, or None where the command fails."""
  out = out or raw.parent
  options = ["--raw", str(raw), "--out", str(out), "--workers", "1"]
  assert command.main([source, *options, *map(str, arguments)]) == status
  return open_data_set(out / source) if status == 0 else None


def read_all(recordings) -> int:
  """Reads every recording; how many are bad."""
  bad = 0
  for key in recordings.keys:
    try:
      recordings.read(key)
    except DataError:
      bad += 1
  return bad


def write_pickle(path, content):
  path.write_bytes(pickle.dumps(content))
  return path


def annotation(name="a", label=0, frames=4, joints=17, persons=1, **changes) -> dict:
  keypoint = (50 + 9 * normal(persons, frames, joints, 2)).astype(np.float16)
  score = np.ones((persons, frames, joints), np.float16)
  fields = {"frame_dir": name, "label": label, "img_shape": (100, 200), "total_frames": frames}
  return fields | {"keypoint": keypoint, "keypoint_score": score} | changes


def annotation_file(**changes) -> dict:
  split = {"train": ["a"], "val": ["b"]}
  return {"split": split, "annotations": [annotation(), annotation("b", 2)]} | changes
