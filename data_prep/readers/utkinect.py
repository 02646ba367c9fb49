"""UTKinect-Action3D: Kinect v1 skeletons as text (Xia, Chen and Aggarwal 2012).

`joints_s01_e01.txt` holds one line per frame, its number and 20 joints of x, y, z in metres,
in the order of Kinect's SDK. `actionLabel.txt` names a recording in a line, and in the next ten its
actions with their first and last frame ("walk: 252 390"; one has NaN, as it is missing). Every
action is a clip here. Published protocol: leave one recording out, over all 20.
"""

import argparse
import dataclasses
import pathlib
import re

import numpy as np

from data_prep import raw_files, raw_values
from data_prep.decode import numbers
from data_prep.readers.interface import Clip, Recordings, upright
from mstgcn_jax import skeletons
from mstgcn_jax.data import normalise
from mstgcn_jax.errors import DataError

_LABELS = "actionLabel.txt"
_UPWARD = "y"
_RECORDING = re.compile(r"s(\d+)_e(\d+)")
_ACTION = re.compile(r"(\w+)\s*:\s*(\S+)\s+(\S+)")
_CITATION = """@inproceedings{xia2012view,
  title={View Invariant Human Action Recognition Using Histograms of {3D} Joints},
  author={Xia, Lu and Chen, Chia-Chih and Aggarwal, J. K.},
  booktitle={CVPR Workshops},
  year={2012}
}"""


@dataclasses.dataclass(frozen=True)
class _Span:
  """A clip: an action's frames in a recording."""

  name: str
  path: pathlib.Path
  label: int
  first: int
  last: int


def open_raw(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """The actions of the recordings below a folder that holds `actionLabel.txt`, too."""
  paths, warnings = raw_files.find(raw, ".txt")
  tables = [path for path in paths if path.name == _LABELS]
  if len(tables) != 1:
    raise DataError(f"--raw {raw} holds {len(tables)} files {_LABELS}; expected one")
  names = raw_files.labels("utkinect")
  files = {path.stem.removeprefix("joints_"): path for path in paths}
  return upright(
    "nw_ucla",  # the order of Kinect's SDK, here too
    keys=_spans(tables[0], files, names),
    read=read_recording,
    class_names=names,
    upward=_UPWARD,
    citation=_CITATION,
    published_clips=199,
    warnings=tuple(warnings),
  )


def _spans(
  table: pathlib.Path, files: dict[str, pathlib.Path], names: tuple[str, ...]
) -> list[_Span]:
  # sitDown there is "sit down" here
  labels = {name.replace(" ", ""): label for label, name in enumerate(names)}
  spans, recording = [], ""
  lines = raw_files.read(table).decode("utf-8", errors="replace").splitlines()
  for number, line in enumerate(map(str.strip, lines), start=1):
    if _RECORDING.fullmatch(line):
      recording = line
    elif line:
      match = _ACTION.fullmatch(line)
      label = labels.get(match[1].lower()) if match else None
      if match is None or label is None or not recording:
        raise DataError(f"{table}: line {number} is {line!r:.60}; expected such as 'walk: 252 390'")
      if "nan" in (match[2].lower(), match[3].lower()):
        continue
      try:
        first, last = int(match[2]), int(match[3])
      except ValueError:
        raise DataError(f"{table}: line {number}: {line!r:.60} has no two frame numbers") from None
      path = files.get(recording, table.with_name(f"joints_{recording}.txt"))
      spans.append(_Span(f"{recording}_{match[1]}", path, label, first, last))
  if not spans:
    raise DataError(f"{table} lists no action")
  return spans


def read_recording(span: _Span) -> Clip:
  """One action; DataError says what is wrong with its recording."""
  skeleton = skeletons.get("nw_ucla")
  found = numbers.rows(raw_files.read(span.path), 1 + 3 * skeleton.num_joints)
  frames = found[:, 0]
  inside = (frames >= span.first) & (frames <= span.last)
  inside &= np.concatenate([[True], np.diff(frames) != 0])  # some frames are there twice
  person = found[inside, 1:].reshape(-1, skeleton.num_joints, 3)
  if not len(person):
    raise DataError(f"{span.path.name} has no frame in {span.first} to {span.last}")
  person = raw_values.without_nan(person)
  raw_values.check_finite(person)
  sequence = span.name.rsplit("_", 1)[0]
  subject, repetition = map(int, _RECORDING.fullmatch(sequence).groups())
  facts = {"subject": subject, "replication": repetition, "sequence": sequence}
  person = person.astype(np.float32)
  persons = normalise.normalise([person], skeleton, by_sum=False, upward=_UPWARD)
  return Clip(span.name, span.label, persons, facts)
