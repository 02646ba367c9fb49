"""JHMDB's 2-D joints in the pickles of DD-Net (Jhuang et al. 2013; Yang et al. 2019).

`GT_train_1.pkl` and `GT_test_1.pkl` are the first of three splits, each {"pose": [[frame, 15, 2],
…], "label": ["brush_hair", …]}: the joints about the picture's middle in units of its height and of
the person's scale, y down. Every split holds the same clips, which have no names: they are told by
their content, and numbered by class. Published protocol: the mean over the three splits.
"""

import argparse
import collections
import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Iterator

import numpy as np

from data_prep import raw_files, raw_values
from data_prep.decode import pickles
from data_prep.readers.interface import Clip, Coordinates, Recordings
from mstgcn_jax import skeletons
from mstgcn_jax.data import normalise
from mstgcn_jax.errors import DataError

_FILE = re.compile(r"GT_(train|test)_([1-9])\.pkl")
_CITATION = """@inproceedings{jhuang2013towards,
  title={Towards Understanding Action Recognition},
  author={Jhuang, Hueihan and Gall, Juergen and Zuffi, Silvia and Schmid, Cordelia and Black,
    Michael J.},
  booktitle={ICCV},
  year={2013}
}"""


@dataclasses.dataclass(frozen=True)
class _Pose:
  """A clip's name, class and joints, and its place in the splits."""

  name: str
  label: int
  joints: np.ndarray
  facts: dict[str, str]


def open_raw(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """The clips of the `GT_*.pkl` in a folder; no pickle is executed."""
  files = {path: match for path in raw_files.walk(raw) if (match := _FILE.fullmatch(path.name))}
  if not files:
    raise DataError(f"--raw {raw} holds no GT_train_1.pkl or GT_test_1.pkl of DD-Net's")
  splits = sorted({match[2] for match in files.values()})
  parts: dict[tuple[str, str, int], dict[str, str]] = {}
  joints: dict[tuple[str, str, int], np.ndarray] = {}
  for split in splits:
    seen: collections.Counter[tuple[str, str]] = collections.Counter()
    for path, match in files.items():
      if match[2] != split:
        continue
      for label, pose in _clips(path):
        digest = hashlib.sha256(pose.tobytes()).hexdigest()
        key = (label, digest, seen[label, digest])  # twice the same in a split: two clips
        seen[label, digest] += 1
        joints[key] = pose
        parts.setdefault(key, {})[split] = {"train": "train", "test": "val"}[match[1]]
  names = tuple(sorted({label for label, _, _ in joints}))
  poses, numbers = [], collections.Counter()
  for key in sorted(joints):
    label = key[0]
    numbers[label] += 1
    facts = {f"split_{split}": parts[key].get(split, "") for split in splits}
    name = f"{label}_{numbers[label]:03d}"
    poses.append(_Pose(name, names.index(label), joints[key], facts))
  return Recordings(
    keys=poses,
    read=read_recording,
    skeleton=skeletons.get("jhmdb"),
    class_names=names,
    channels=2,
    coordinates=Coordinates(("x", "y"), "picture heights, by the person's scale", "y"),
    citation=_CITATION,
    published_clips=928,
    warnings=_warnings(parts, splits),
    parallel=False,  # the clips are in memory already
  )


def _clips(path: pathlib.Path) -> Iterator[tuple[str, np.ndarray]]:
  content = pickles.load(path)
  try:
    labels, poses = (pickles.as_list(content[field]) for field in ("label", "pose"))
    arrays = [pickles.as_array(pose) for pose in poses]
  except (KeyError, TypeError, DataError) as error:
    raise DataError(
      f'{path} holds no {{"pose": …, "label": …}} as DD-Net has it ({error!r:.200})'
    ) from error
  if len(labels) != len(poses) or not all(map(raw_values.is_name, labels)):
    raise DataError(f"{path} has {len(poses)} poses and {len(labels)} labels; expected a name each")
  for label, array in zip(labels, arrays, strict=True):
    if array.dtype.kind not in "iuf":
      raise DataError(f"{path}: a pose of {label} holds {array.dtype}; expected numbers")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite, later
      yield str(label), np.ascontiguousarray(array, np.float32)


def _warnings(
  parts: dict[tuple[str, str, int], dict[str, str]], splits: list[str]
) -> tuple[str, ...]:
  """A line to print where the splits do not hold the same clips."""
  missing = sum(len(of) < len(splits) for of in parts.values())
  return (f"{missing:,} clips are not in all of the splits {', '.join(splits)}",) if missing else ()


def read_recording(pose: _Pose) -> Clip:
  """One clip, with y up."""
  skeleton = skeletons.get("jhmdb")
  if pose.joints.shape[1:] != (skeleton.num_joints, 2):
    raise DataError(f"the pose has the shape {pose.joints.shape}; expected (frames, 15, 2)")
  person = raw_values.without_nan(pose.joints) * np.float32([1, -1])
  persons = normalise.cut_together([person + np.float32(0)])
  return Clip(pose.name, pose.label, persons, pose.facts)
