"""NTU RGB+D 60 and 120: `.skeleton` text files (Shahroudy et al. 2016, Liu et al. 2020).

A file holds the number of frames; per frame the number of bodies; per body a line of 10 fields, the
number of joints, and a line of 12 fields per joint that starts with x, y, z in metres. Only these
three are converted to numbers, which is where the time goes.
"""

import argparse
import dataclasses
import functools
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from data_prep import raw_files, raw_values
from data_prep.readers.interface import Clip, Recordings, upright
from mstgcn_jax import skeletons
from mstgcn_jax.data import normalise
from mstgcn_jax.errors import DataError, first_line

MAX_BODIES = 4  # further bodies of a frame are not read
MAX_PERSONS = 2
_NUM_JOINTS = 25
_JOINT_FIELDS = 12
NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
_CITATION_60 = """@inproceedings{shahroudy2016ntu,
  title={{NTU RGB+D}: A Large Scale Dataset for {3D} Human Activity Analysis},
  author={Shahroudy, Amir and Liu, Jun and Ng, Tian-Tsong and Wang, Gang},
  booktitle={CVPR},
  year={2016}
}"""
_CITATION_120 = """@article{liu2020ntu,
  title={{NTU RGB+D} 120: A Large-Scale Benchmark for {3D} Human Activity Understanding},
  author={Liu, Jun and Shahroudy, Amir and Perez, Mauricio and Wang, Gang and Duan, Ling-Yu and
    Kot, Alex C.},
  journal={IEEE Transactions on Pattern Analysis and Machine Intelligence},
  year={2020}
}"""
# recordings in all, and what is left without the official list of missing skeletons
_PUBLISHED = {"ntu60": (56_880, 56_578), "ntu120": (114_480, 113_945)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """--ignore-list."""
  parser.add_argument(
    "--ignore-list",
    type=pathlib.Path,
    metavar="FILE",
    help="names of recordings to leave out, as the official list of missing skeletons has them",
  )


def open_ntu60(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """The 60 classes of NTU RGB+D."""
  return _open(raw, args, "ntu60", raw_files.labels("ntu120")[:60], _CITATION_60)


def open_ntu120(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """The 120 classes of NTU RGB+D 120."""
  return _open(raw, args, "ntu120", raw_files.labels("ntu120"), _CITATION_120)


def _open(
  raw: pathlib.Path,
  args: argparse.Namespace,
  source: str,
  class_names: Sequence[str],
  citation: str,
) -> Recordings:
  total, kept = _PUBLISHED[source]
  if args.ignore_list is not None:
    ignored, warnings = read_ignore_list(args.ignore_list), ()
  else:
    ignored = frozenset()
    warnings = (
      f"no --ignore-list: the published protocols leave out the {total - kept} recordings of the "
      "official list of missing skeletons; here only clips without any body are left out",
    )
  recordings = open_recordings(raw, source=source, class_names=class_names, ignored=ignored)
  warnings += recordings.warnings
  return dataclasses.replace(recordings, citation=citation, published_clips=kept, warnings=warnings)


def open_recordings(
  raw: pathlib.Path,
  *,
  source: str,
  class_names: Sequence[str],
  ignored: frozenset[str] = frozenset(),
) -> Recordings:
  """The `.skeleton` files below a folder, in the order of their names.

  Args:
    raw: folder; files in folders below it count, too.
    source: named in messages.
    class_names: action A001 is the first.
    ignored: names (without ending) to leave out.
  """
  found, warnings = raw_files.find(raw, ".skeleton")
  paths = [path for path in found if path.stem not in ignored]
  if not paths:
    raise DataError(f"all {len(found)} recordings in {raw} are on the list of those to leave out")
  return upright(
    "ntu_rgbd",
    keys=paths,
    read=functools.partial(read_recording, source=source, num_classes=len(class_names)),
    class_names=tuple(class_names),
    by_sum=True,
    warnings=tuple(warnings),
  )


def read_ignore_list(path: pathlib.Path) -> frozenset[str]:
  """Names in a list of missing skeletons; its header lines and anything else are passed over."""
  try:
    text = path.read_text(errors="replace")
  except OSError as error:
    raise DataError(f"--ignore-list {path} cannot be read: {error.strerror}") from error
  names = frozenset(match.group() for match in NAME.finditer(text))
  if not names:
    raise DataError(f"--ignore-list {path} names no recording such as S001C002P005R002A008")
  return names


def read_recording(path: pathlib.Path, *, source: str, num_classes: int) -> Clip:
  """Reads one recording: body selection, each person's own length, upright.

  Raises:
    DataError: saying what is wrong with the file's name or content.
  """
  match = NAME.fullmatch(path.stem)
  if match is None:
    raise DataError("the name is not of the form SsssCcccPpppRrrrAaaa.skeleton")
  setup, camera, subject, replication, action = map(int, match.groups())
  if not 1 <= action <= num_classes:
    hint = "; did you mean ntu120?" if source == "ntu60" and 60 < action <= 120 else ""
    raise DataError(f"action {action} is outside 1..{num_classes} for {source}{hint}")
  persons = normalise.normalise(read_bodies(path), skeletons.get("ntu_rgbd"), by_sum=True)
  facts = {"setup": setup, "camera": camera, "subject": subject, "replication": replication}
  return Clip(path.stem, action - 1, persons, facts)


def read_bodies(path: pathlib.Path) -> list[np.ndarray]:
  """Who moves most in a recording of any name, as recorded: float32 [frame, joint, 3] each.

  Raises:
    DataError: saying what is wrong with the file's content.
  """
  bodies = parse(raw_files.read(path))
  for body in bodies:
    raw_values.check_finite(body)
  return [body.astype(np.float32) for body in normalise.liveliest(bodies, MAX_PERSONS)]


def parse(data: bytes) -> np.ndarray:
  """The bodies of a `.skeleton` file, by their position in the frame.

  Returns:
    float64 [body, frame, joint, 3], at most 4 bodies, zero where a frame has fewer.
  Raises:
    DataError: where the text ends early, goes on after its last frame, or is something else.
  """
  try:
    text = data.decode("utf-8-sig")  # a byte order mark is no reason to refuse
  except UnicodeDecodeError as error:
    raise DataError("is not text, so not a .skeleton file") from error
  lines = text.splitlines()
  while lines and not lines[-1].strip():
    lines.pop()
  if not lines:
    raise DataError("is empty; expected the number of frames in its first line")
  num_frames = _whole_number(lines[0], "1 should be the number of frames")
  if num_frames > len(lines) - 1:
    raise DataError(f"ends after {len(lines)} lines, too few for {num_frames} frames: truncated?")
  fields: list[str] = []
  places: list[tuple[int, int]] = []  # (body, frame) of every 3 * _NUM_JOINTS fields
  at = 1
  last_is_joint = False
  try:
    for frame in range(num_frames):
      num_bodies = _whole_number(lines[at], f"{at + 1} should be the number of bodies")
      at += 1
      for body in range(num_bodies):
        joints = _whole_number(lines[at + 1], f"{at + 2} should be the number of joints")
        if joints != _NUM_JOINTS:
          raise DataError(f"line {at + 2}: a body has {joints} joints; expected {_NUM_JOINTS}")
        end = at + 2 + _NUM_JOINTS
        lines[end - 1]  # all of them are there
        if body < MAX_BODIES:
          places.append((body, frame))
          for line in lines[at + 2 : end]:
            fields += line.split(None, 3)[:3]
        at = end
      last_is_joint = num_bodies > 0
  except IndexError:
    raise DataError(f"ends within frame {frame + 1} of {num_frames}: truncated?") from None
  if at < len(lines):
    raise DataError(f"goes on after frame {num_frames}, its last by its first line")
  if last_is_joint and len(lines[-1].split()) != _JOINT_FIELDS:
    raise DataError(f"its last line has not {_JOINT_FIELDS} fields: truncated?")
  try:
    values = np.array(list(map(float, fields))).reshape(len(places), _NUM_JOINTS, 3)
  except ValueError as error:
    raise DataError(f"a joint's x, y, z are not three numbers ({first_line(error)})") from None
  num_bodies = max((body for body, _ in places), default=-1) + 1
  bodies = np.zeros((num_bodies, num_frames, _NUM_JOINTS, 3))
  if places:
    body_of, frame_of = np.array(places).T
    bodies[body_of, frame_of] = values
  return bodies


def _whole_number(line: str, where: str) -> int:
  try:
    value = int(line)
  except ValueError:
    value = -1
  if value < 0:
    raise DataError(f"line {where}, but is {line[:40]!r}")
  return value
