"""Northwestern-UCLA Multiview Action 3D: Kinect v1 skeletons as JSON (Wang et al. 2014).

A file `a<action>_s<subject>_e<take>_v<view>.json` holds {"file_name", "skeletons", "label"}:
`skeletons` is [frame, joint 20, x y z] in metres, one person; `label` counts the ten actions from
1, in the order of their numbers, which leave out 7 and 10. Three Kinects, the views, record every
take at once. Usual protocol: views 1 and 2 train, 3 tests: leave_one_out:column=camera,value=3.
"""

import argparse
import json
import pathlib
import re
from typing import Any

import numpy as np

from data_prep import raw_files, raw_values
from data_prep.readers.interface import Clip, Recordings, upright
from mstgcn_jax import skeletons
from mstgcn_jax.data import normalise
from mstgcn_jax.errors import DataError

_NAME = re.compile(r"a(\d+)_s(\d+)_e(\d+)_v(\d+)")
_ACTIONS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)
_CITATION = """@inproceedings{wang2014cross,
  title={Cross-view Action Modeling, Learning and Recognition},
  author={Wang, Jiang and Nie, Xiaohan and Xia, Yin and Wu, Ying and Zhu, Song-Chun},
  booktitle={CVPR},
  year={2014}
}"""


def open_raw(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """The `.json` files below a folder."""
  paths, warnings = raw_files.find(raw, ".json")
  return upright(
    "nw_ucla",
    keys=paths,
    read=read_unlabelled if getattr(args, "unlabelled", False) else read_recording,
    class_names=raw_files.labels("nw_ucla"),
    citation=_CITATION,
    published_clips=1494,
    warnings=tuple(warnings),
  )


def read_recording(path: pathlib.Path) -> Clip:
  """Reads one recording; DataError says what is wrong with its name or content."""
  match = _NAME.fullmatch(path.stem)
  if match is None:
    raise DataError("the name is not of the form a<action>_s<subject>_e<take>_v<view>.json")
  action, subject, take, view = map(int, match.groups())
  if action not in _ACTIONS:
    raise DataError(f"action {action} is none of nw_ucla's: {', '.join(map(str, _ACTIONS))}")
  label = _ACTIONS.index(action)
  content = _content(raw_files.read(path))
  for field, expected in (("file_name", path.stem), ("label", label + 1)):
    if field in content and content[field] != expected:
      raise DataError(f"{field} is {content[field]!r}; expected {expected!r} by the file's name")
  facts = {"subject": subject, "camera": view, "replication": take}
  return Clip(path.stem, label, _persons(content), facts)


def read_unlabelled(path: pathlib.Path) -> Clip:
  """A recording of any name; its class is 0, whatever it shows."""
  return Clip(path.stem, 0, _persons(_content(raw_files.read(path))))


def _persons(content: dict[str, Any]) -> list[np.ndarray]:
  """The one person of a recording, turned upright."""
  skeleton = skeletons.get("nw_ucla")
  person = _person(content["skeletons"], skeleton.num_joints)
  raw_values.check_finite(person)
  return normalise.normalise([person.astype(np.float32)], skeleton, by_sum=False)


def _content(data: bytes) -> dict[str, Any]:
  try:
    content = json.loads(data)
  except (ValueError, RecursionError) as error:
    raise DataError(f"is not JSON ({error})") from error
  if not isinstance(content, dict) or "skeletons" not in content:
    raise DataError("is not an object with the field skeletons, [frame, joint, x y z]")
  return content


def _person(joints: Any, num_joints: int) -> np.ndarray:
  """What JSON holds as float64 [frame, joint, 3]."""
  try:
    person = np.array(joints)
  except (ValueError, OverflowError) as error:
    raise DataError(f"skeletons is not [frame, joint, x y z] ({error})") from error
  if person.dtype.kind not in "if" or person.shape[1:] != (num_joints, 3):
    found = person.shape if person.dtype.kind in "if" else "no numbers"
    raise DataError(f"skeletons is {found}; expected (frames, {num_joints}, 3) numbers")
  return person.astype(np.float64)
