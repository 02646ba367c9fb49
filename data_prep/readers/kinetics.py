"""Kinetics-skeleton: OpenPose in 2-D, one JSON file per clip (Yan, Xiong and Lin 2018).

The folder holds `kinetics_train`, `kinetics_train_label.json`, `kinetics_val` and
`kinetics_val_label.json` (any `NAME` and `NAME_label.json`; a name that ends in `train` trains). A
clip is {"data": [{"frame_index", "skeleton": [{"pose": x, y interleaved, "score"}]}], "label",
"label_index"}, in fractions of the image. Coordinates and scores carry three decimals.
"""

import argparse
import json
import pathlib
from typing import Any

import numpy as np

from data_prep import raw_files, raw_values
from data_prep.decode import people
from data_prep.readers.interface import FRACTIONS, Clip, Recordings
from mstgcn_jax import skeletons
from mstgcn_jax.errors import DataError

NUM_CLASSES = 400
MAX_BODIES = 5  # further bodies of a frame are not read
MAX_PERSONS = 2
LABELS = "_label.json"
_NUM_JOINTS = 18
_FARTHEST = 10.0  # fractions of the image may lie outside of it, but not so far
_DAMAGE = (*people.DAMAGE, RecursionError)
_MAX_FRAMES = 10_000  # a frame number beyond is damage, not a ten-second clip
_PUBLISHED = {"train": 240_436, "val": 19_796}  # with a skeleton
_CITATION = """@inproceedings{yan2018stgcn,
  title={Spatial Temporal Graph Convolutional Networks for Skeleton-Based Action Recognition},
  author={Yan, Sijie and Xiong, Yuanjun and Lin, Dahua},
  booktitle={AAAI},
  year={2018}
}"""

Key = tuple[pathlib.Path, str, int, bool]


def open_raw(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """The clips that the `*_label.json` files in a folder list."""
  keys: list[Key] = []
  class_names = [f"class {i}" for i in range(NUM_CLASSES)]
  paths, warnings = raw_files.find(raw, LABELS)
  for path in paths:
    folder = path.parent / path.name[: -len(LABELS)]
    split = "train" if folder.name.endswith("train") else "val"
    keys += _read_labels(path, folder, split, class_names)
  if not keys:
    raise DataError(
      f"--raw {raw} holds no *_label.json that lists a clip; expected kinetics_train_label.json "
      "and kinetics_val_label.json beside the folders kinetics_train and kinetics_val"
    )
  return Recordings(
    keys=keys,
    read=read_recording,
    skeleton=skeletons.get("kinetics"),
    class_names=tuple(class_names),
    fill="zero",
    storage_scale=1000,
    coordinates=FRACTIONS,
    warnings=tuple(warnings),
    citation=_CITATION,
    published_clips=sum(_PUBLISHED[split] for split in {split for _, split, _, _ in keys}),
  )


def _read_labels(
  path: pathlib.Path, folder: pathlib.Path, split: str, class_names: list[str]
) -> list[Key]:
  """The clips of one label file; enters the names of their classes into `class_names`."""
  keys: list[Key] = []
  try:
    for name, facts in sorted(json.loads(path.read_bytes()).items()):
      label = int(facts["label_index"])
      if not 0 <= label < NUM_CLASSES:
        raise ValueError(f"label_index {label} of {name} is outside 0..{NUM_CLASSES - 1}")
      class_name = facts["label"]
      if not raw_values.is_name(name) or not raw_values.is_name(class_name):
        raise ValueError(f"{name!r} or its label {class_name!r} is not printable text")
      if class_names[label] not in (class_name, f"class {label}"):
        raise ValueError(f"label_index {label} is {class_names[label]!r}, and {class_name!r}")
      class_names[label] = class_name
      keys.append((folder / f"{name}.json", split, label, bool(facts["has_skeleton"])))
  except (OSError, *_DAMAGE) as error:
    raise DataError(f"{path} is not a list of Kinetics-skeleton labels ({error!r:.200})") from error
  return keys


def read_recording(key: Key) -> Clip:
  """Reads one clip; DataError says what is wrong with its content."""
  path, split, label, has_skeleton = key
  facts = {"split": split}
  if not has_skeleton:
    return Clip(path.stem, label, [], facts)
  return Clip(path.stem, label, read_persons(path, label), facts)


def read_persons(path: pathlib.Path, label: int | None = None) -> list[np.ndarray]:
  """Who scores highest in a clip: float32 [frame, joint, (x, y, score)] each.

  Args:
    label: that the file has to have; None where it may have any, or none.
  Raises:
    DataError: saying what is wrong with the file's content.
  """
  data = raw_files.read(path)
  try:
    content = json.loads(data)
    if label is not None and content["label_index"] != label:
      raise ValueError(f"label_index {content['label_index']}, but {label} in the list of labels")
    bodies = _bodies(content["data"])
  except _DAMAGE as error:
    raise DataError(f"is not a Kinetics-skeleton clip ({error!r:.200})") from error
  for body in bodies:
    raw_values.check_finite(body)
  if bodies[..., :2].any() and not bodies[..., 2].any():
    raise DataError(f"the score is {raw_values.NO_SCORE}")
  farthest = np.abs(bodies[..., :2]).max(initial=0)
  if farthest > _FARTHEST:
    raise DataError(
      f"a pose has the coordinate {farthest:g}; expected fractions of the image's width and height"
    )
  return list(_by_score(bodies).astype(np.float32))


def _bodies(frames: list[dict[str, Any]]) -> np.ndarray:
  """x, y, score as they stand in the file: float64 [body, frame, joint, 3]."""
  numbers = [frame["frame_index"] for frame in frames]
  if any(type(number) is not int or not 0 <= number < _MAX_FRAMES for number in numbers):
    raise ValueError(f"a frame_index is not a whole number in 0..{_MAX_FRAMES - 1}")
  bodies = np.zeros((MAX_BODIES, max(numbers, default=-1) + 1, _NUM_JOINTS, 3))
  for number, frame in zip(numbers, frames, strict=True):
    for body, found in zip(bodies, frame["skeleton"], strict=False):
      pose, score = found["pose"], found["score"]
      if len(pose) != 2 * _NUM_JOINTS or len(score) != _NUM_JOINTS:
        raise ValueError(
          f"frame {number} has a body of {len(pose)} numbers and {len(score)} scores; expected "
          f"{2 * _NUM_JOINTS} and {_NUM_JOINTS}"
        )
      body[number, :, :2] = np.array(pose, dtype=np.float64).reshape(-1, 2)
      body[number, :, 2] = score
  return bodies


def _by_score(bodies: np.ndarray) -> np.ndarray:
  """The best-scored people of every frame, with the image's centre as origin and y upwards."""
  score = bodies[..., 2:]
  moved = np.where(score == 0, 0.0, (bodies[..., :2] - 0.5) * (1, -1))
  bodies = np.concatenate([moved, score], axis=-1)
  order = np.argsort(-score.sum(axis=(2, 3)), axis=0, kind="stable")[:MAX_PERSONS]
  return np.take_along_axis(bodies, order[:, :, None, None], axis=0)
