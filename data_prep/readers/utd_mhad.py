"""UTD-MHAD: Kinect v1 skeletons in MATLAB files (Chen, Jafari and Kehtarnavaz 2015).

A file `a<action>_s<subject>_t<trial>_skeleton.mat` holds `d_skel`, [joint 20, x y z, frame] in
metres, one person. Cross-subject protocol: odd subjects train, even ones test.
"""

import argparse
import pathlib
import re

import numpy as np

from data_prep import raw_files, raw_values
from data_prep.decode import matlab
from data_prep.readers.interface import Clip, Recordings, upright
from mstgcn_jax import skeletons
from mstgcn_jax.data import normalise
from mstgcn_jax.errors import DataError

_NAME = re.compile(r"a(\d+)_s(\d+)_t(\d+)_skeleton")
_NUM_CLASSES = 27
_CITATION = """@inproceedings{chen2015utd,
  title={{UTD-MHAD}: A Multimodal Dataset for Human Action Recognition Utilizing a Depth Camera and
    a Wearable Inertial Sensor},
  author={Chen, Chen and Jafari, Roozbeh and Kehtarnavaz, Nasser},
  booktitle={ICIP},
  year={2015}
}"""


def open_raw(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """The `.mat` files below a folder."""
  paths, warnings = raw_files.find(raw, ".mat")
  return upright(
    "utd_mhad",
    keys=paths,
    read=read_recording,
    class_names=raw_files.labels("utd_mhad"),
    by_sum=True,
    citation=_CITATION,
    published_clips=861,
    warnings=tuple(warnings),
  )


def read_recording(path: pathlib.Path) -> Clip:
  """Reads one recording; DataError says what is wrong with its name or content."""
  match = _NAME.fullmatch(path.stem)
  if match is None:
    raise DataError("the name is not of the form a<action>_s<subject>_t<trial>_skeleton.mat")
  action, subject, trial = map(int, match.groups())
  if not 1 <= action <= _NUM_CLASSES:
    raise DataError(f"action {action} is outside 1..{_NUM_CLASSES} for utd_mhad")
  persons = normalise.normalise(read_bodies(path), skeletons.get("utd_mhad"), by_sum=True)
  return Clip(path.stem, action - 1, persons, {"subject": subject, "replication": trial})


def read_bodies(path: pathlib.Path) -> list[np.ndarray]:
  """The one person of a recording of any name, as recorded: float32 [frame, joint, 3]."""
  joints = matlab.read_array(raw_files.read(path), "d_skel")
  skeleton = skeletons.get("utd_mhad")
  if joints.ndim != 3 or joints.shape[:2] != (skeleton.num_joints, 3):
    raise DataError(
      f"d_skel has the shape {joints.shape}; expected ({skeleton.num_joints}, 3, frames)"
    )
  person = joints.transpose(2, 0, 1)
  raw_values.check_finite(person)
  return [person.astype(np.float32)]
