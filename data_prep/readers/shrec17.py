"""SHREC'17 hand gestures: 22 joints of one hand as text (De Smedt et al. 2017).

`train_gestures.txt` and `test_gestures.txt` list the recordings, a line each: gesture, finger,
subject, trial, label of 14, label of 28, frames. A recording is
`gesture_G/finger_F/subject_S/essai_E/skeletons_world.txt`, one line per frame: x, y, z, metres.
The 28 classes tell gestures of one finger (finger 1) from those of the whole hand (2).
"""

import argparse
import dataclasses
import pathlib

import numpy as np

from data_prep import raw_files, raw_values
from data_prep.decode import numbers
from data_prep.readers.interface import Clip, Recordings, upright
from mstgcn_jax import skeletons
from mstgcn_jax.data import normalise
from mstgcn_jax.errors import DataError

_LISTS = {"train": "train_gestures.txt", "val": "test_gestures.txt"}
_FINGERS = {1: "one finger", 2: "whole hand"}
_CITATION = """@inproceedings{desmedt2017shrec,
  title={{SHREC}'17 Track: {3D} Hand Gesture Recognition Using a Depth and Skeletal Dataset},
  author={De Smedt, Quentin and Wannous, Hazem and Vandeborre, Jean-Philippe and Guerry, Joris and
    Le Saux, Bertrand and Filliat, David},
  booktitle={Eurographics Workshop on 3D Object Retrieval},
  year={2017}
}"""


@dataclasses.dataclass(frozen=True)
class _Gesture:
  """A line of the lists."""

  folder: pathlib.Path
  split: str
  gesture: int
  finger: int
  subject: int
  trial: int
  label: int

  @property
  def name(self) -> str:
    return f"g{self.gesture:02d}_f{self.finger}_s{self.subject:02d}_e{self.trial:02d}"

  @property
  def path(self) -> pathlib.Path:
    place = f"gesture_{self.gesture}/finger_{self.finger}/subject_{self.subject}"
    return self.folder / place / f"essai_{self.trial}" / "skeletons_world.txt"


def open_14(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """The recordings with the 14 gestures as classes."""
  return _open(raw, 14)


def open_28(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """The recordings with 28 classes, by gesture and fingers."""
  return _open(raw, 28)


def _open(raw: pathlib.Path, num_classes: int) -> Recordings:
  gestures = raw_files.labels("shrec17")
  names = list(gestures)
  if num_classes == 28:
    names = [f"class {i}" for i in range(1, 29)]
  keys: list[_Gesture] = []
  paths = {split: _list(raw, name) for split, name in _LISTS.items()}
  for split, path in paths.items():
    for row in _rows(path):
      gesture, finger, label = row[0], row[1], row[4 if num_classes == 14 else 5]
      keys.append(_Gesture(path.parent, split, *row[:4], label - 1))
      if num_classes == 28 and 1 <= label <= 28 and 1 <= gesture <= 14 and finger in _FINGERS:
        names[label - 1] = f"{gestures[gesture - 1]} ({_FINGERS[finger]})"
  return upright(
    "shrec",
    keys=keys,
    read=read_recording,
    class_names=tuple(names),
    citation=_CITATION,
    published_clips=2800,
  )


def _list(raw: pathlib.Path, name: str) -> pathlib.Path:
  found = [path for path in raw_files.walk(raw) if path.name == name]
  if len(found) != 1:
    raise DataError(
      f"--raw {raw} holds {len(found)} files {name}; expected one, beside the folders gesture_1, …"
    )
  return found[0]


def _rows(path: pathlib.Path) -> list[list[int]]:
  try:
    found = numbers.rows(raw_files.read(path), 7)
  except DataError as error:
    raise DataError(f"{path}: {error}") from error
  if not (np.abs(found) <= 1e6).all() or (found % 1 != 0).any():
    raise DataError(f"{path} holds other than whole numbers")
  return found.astype(int).tolist()


def read_recording(gesture: _Gesture) -> Clip:
  """One gesture, the hand's back (wrist to palm) upright."""
  skeleton = skeletons.get("shrec")
  found = numbers.rows(raw_files.read(gesture.path), 3 * skeleton.num_joints)
  hand = raw_values.without_nan(found.reshape(-1, skeleton.num_joints, 3))
  raw_values.check_finite(hand)
  facts = {
    "subject": gesture.subject,
    "replication": gesture.trial,
    "finger": gesture.finger,
    "split": gesture.split,
  }
  persons = normalise.normalise([hand.astype(np.float32)], skeleton, by_sum=False)
  return Clip(gesture.name, gesture.label, persons, facts)
