"""MSR-Action3D: skeletons as text, in metres (Li, Zhang and Liu 2010).

`a01_s01_e01_skeleton3D.txt` (the archive MSRAction3DSkeletonReal3D) has 20 lines per frame, x, y, z
and a confidence of a joint, in an order of its own. The files `…_skeleton.txt` have places in the
picture and depths instead, which are not read. Published protocols: odd subjects train
(`cross_subject`), over all 20 actions or in each of the sets AS1, AS2, AS3 (`split_as1`, …).
"""

import argparse
import pathlib
import re

import numpy as np

from data_prep import raw_files, raw_values
from data_prep.decode import numbers
from data_prep.readers.interface import Clip, Recordings, upright
from mstgcn_jax import skeletons
from mstgcn_jax.data import normalise
from mstgcn_jax.errors import DataError

_NAME = re.compile(r"a(\d+)_s(\d+)_e(\d+)_skeleton3D")
_NUM_CLASSES = 20
_UPWARD = "y"
# Actions of each set, from 1 (Li et al. 2010, table 1).
_SETS = {
  "as1": (2, 3, 5, 6, 10, 13, 18, 20),
  "as2": (1, 4, 7, 8, 9, 11, 12, 14),
  "as3": (6, 14, 15, 16, 17, 18, 19, 20),
}
_CITATION = """@inproceedings{li2010action,
  title={Action Recognition Based on A Bag of {3D} Points},
  author={Li, Wanqing and Zhang, Zhengyou and Liu, Zicheng},
  booktitle={CVPR Workshops},
  year={2010}
}"""


def open_raw(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """The `…_skeleton3D.txt` files below a folder."""
  names = [path.name.lower() for path in raw_files.walk(raw)]
  flat = sum(name.endswith("_skeleton.txt") for name in names)
  if flat and not any(name.endswith("_skeleton3d.txt") for name in names):
    raise DataError(
      f"--raw {raw} holds {flat} files …_skeleton.txt, which are places in the picture; "
      "expected …_skeleton3D.txt, of the archive MSRAction3DSkeletonReal3D"
    )
  paths, warnings = raw_files.find(raw, "_skeleton3d.txt")
  return upright(
    "msr_action3d",
    keys=paths,
    read=read_recording,
    class_names=raw_files.labels("msr_action3d"),
    upward=_UPWARD,
    citation=_CITATION,
    published_clips=567,
    warnings=tuple(warnings),
  )


def read_recording(path: pathlib.Path) -> Clip:
  """Reads one recording; DataError says what is wrong with its name or content."""
  match = _NAME.fullmatch(path.stem)
  if match is None:
    raise DataError("the name is not of the form a<action>_s<subject>_e<take>_skeleton3D.txt")
  action, subject, take = map(int, match.groups())
  if not 1 <= action <= _NUM_CLASSES:
    raise DataError(f"action {action} is outside 1..{_NUM_CLASSES} for msr_action3d")
  skeleton = skeletons.get("msr_action3d")
  found = numbers.rows(raw_files.read(path), 4)
  if len(found) % skeleton.num_joints:
    raise DataError(f"has {len(found)} lines; expected {skeleton.num_joints} per frame")
  found = found.reshape(-1, skeleton.num_joints, 4)
  person, confidence = raw_values.without_nan(found[..., :3]), np.nan_to_num(found[..., 3], nan=0.0)
  if confidence.any():
    person = person * (confidence > 0)[..., None]
  raw_values.check_finite(person)
  part = "train" if subject % 2 else "val"
  sets = {f"split_{name}": part if action in of else "" for name, of in _SETS.items()}
  person = person.astype(np.float32)
  persons = normalise.normalise([person], skeleton, by_sum=False, upward=_UPWARD)
  return Clip(path.stem, action - 1, persons, {"subject": subject, "replication": take, **sets})
