"""PYSKL and MMAction2 annotation pickles (Duan et al. 2022): 2-D or 3-D key points of many clips.

A file holds {"split": {name: [frame_dir, …]}, "annotations": [annotation, …]}, or the list alone.
An annotation is a dict of "frame_dir", "label", "total_frames", "keypoint" [person, frame, joint,
2 or 3] and, for 2-D key points, which are pixels, "img_shape" (height, width) and usually
"keypoint_score" [person, frame, joint].
"""

import argparse
import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from data_prep import exchange, normalise, safe_pickle
from data_prep.source import Clip, Recordings
from mstgcn_jax.errors import DataError
from mstgcn_jax.skeletons import Skeleton


@dataclasses.dataclass(frozen=True)
class _Annotation:
  name: str
  content: Any
  facts: Mapping[str, int | str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """--skeleton, --classes, --as-is."""
  exchange.add_arguments(parser)
  exchange.add_as_is(parser)


def open_raw(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """The annotations of one pickle; `raw` is the file, or a folder with only one."""
  path = _the_pickle(raw)
  splits, contents = _unpack(path, safe_pickle.load(path))
  names = [_name(content, i) for i, content in enumerate(contents)]
  columns, strange = exchange.split_columns(splits)
  facts = exchange.ntu_facts(names)
  annotations = [
    _Annotation(name, content, fact | {column: of.get(name, "") for column, of in columns.items()})
    for name, content, fact in zip(names, contents, facts, strict=True)
  ]
  first = _first_keypoint(contents)
  *_, joints, dimensions = first.shape
  flat = dimensions == 2
  scored = flat and any(isinstance(c, dict) and "keypoint_score" in c for c in contents)
  skeleton = exchange.skeleton_for(args, joints)
  as_is = flat or args.as_is
  warnings = exchange.split_warnings(strange)
  if dimensions == 3 and not as_is:
    warnings += exchange.score_warnings(first, skeleton)
  if dimensions == 3 and any(isinstance(c, dict) and c.get("img_shape") for c in contents):
    warnings.append(
      "the key points have three channels, so img_shape is not used: they are taken as 3-D "
      "coordinates. Pixels belong into two channels, their scores into keypoint_score"
    )
  return Recordings(
    keys=annotations,
    read=functools.partial(read_annotation, skeleton=skeleton, scored=scored, as_is=as_is),
    skeleton=skeleton,
    class_names=exchange.class_names(args, _labels(contents)),
    channels=dimensions + scored,
    fill="loop",
    center=None if as_is else skeleton.center,
    rotated=not as_is and normalise.turns(skeleton),
    warnings=tuple(warnings),
    parallel=False,  # the annotations are in memory already
  )


def read_annotation(
  annotation: _Annotation, *, skeleton: Skeleton, scored: bool, as_is: bool
) -> Clip:
  """One clip: 3-D upright unless `as_is`; 2-D as x/width - 0.5, 0.5 - y/height and the score."""
  content = annotation.content
  if not isinstance(content, dict):
    raise DataError(f"the annotation is a {type(content).__name__}, not a dict")
  for field in ("frame_dir", "label", "keypoint"):
    if field not in content:
      raise DataError(f"the annotation has no {field!r}")
  if not exchange.is_label(content["label"]):
    raise DataError(f"label {exchange.shown(content['label'])} is not one class number")
  if not exchange.is_name(content["frame_dir"]):
    raise DataError(f"frame_dir {exchange.shown(content['frame_dir'])} is not a name")
  keypoint = _numbers(content, "keypoint", 4)
  frames = content.get("total_frames", keypoint.shape[1])
  if frames != keypoint.shape[1]:
    found = exchange.shown(frames)
    raise DataError(f"total_frames is {found}, keypoint has {keypoint.shape[1]} frames")
  if keypoint.shape[3] == 2:
    keypoint = _flat(content, keypoint, scored)
  elif scored or keypoint.shape[3] != 3:
    raise DataError(f"keypoint has the shape {keypoint.shape}, not [person, frame, joint, 2 or 3]")
  persons = list(keypoint)
  if as_is:
    persons = normalise.cut_together(persons)
  else:
    if keypoint.shape[2] != skeleton.num_joints:
      raise DataError(f"{keypoint.shape[2]} joints; skeleton {skeleton.name} has another number")
    persons = normalise.normalise(persons, skeleton, by_sum=False)
  return Clip(annotation.name, content["label"], persons, annotation.facts)


def _flat(content: Mapping[str, Any], keypoint: np.ndarray, scored: bool) -> np.ndarray:
  """Pixels to image fractions about the centre, y up; what was not detected is 0."""
  try:
    height, width = safe_pickle.as_array(content["img_shape"]).astype(float).ravel()
  except (KeyError, TypeError, ValueError, DataError):
    height = width = 0.0
  if not (0 < height < np.inf and 0 < width < np.inf):
    found = exchange.shown(content.get("img_shape"))
    raise DataError(f"img_shape is {found}; 2-D key points need (height, width)")
  x, y = keypoint[..., 0], keypoint[..., 1]
  clip = np.stack([x / width - 0.5, 0.5 - y / height], axis=-1)
  if not scored:
    return clip * keypoint.any(axis=-1, keepdims=True)
  score = _numbers(content, "keypoint_score", 3)
  if score.shape != keypoint.shape[:3]:
    raise DataError(f"keypoint_score has the shape {score.shape}, keypoint {keypoint.shape}")
  return np.concatenate([clip, score[..., None]], axis=-1) * (score != 0)[..., None]


def _numbers(content: Mapping[str, Any], field: str, ndim: int) -> np.ndarray:
  if field not in content:
    raise DataError(f"the annotation has no {field!r}")
  array = safe_pickle.as_array(content[field])
  if array.dtype.kind not in "iuf" or array.ndim != ndim:
    raise DataError(f"{field} holds {array.dtype} of the shape {array.shape}; expected {ndim} axes")
  return exchange.as_float32(array)


def _the_pickle(raw: pathlib.Path) -> pathlib.Path:
  if not raw.is_dir():
    return raw
  paths = sorted([*raw.glob("*.pkl"), *raw.glob("*.pickle")])
  if len(paths) != 1:
    found = ", ".join(path.name for path in paths) or "none"
    raise DataError(f"--raw {raw} should name one annotation pickle; in this folder: {found}")
  return paths[0]


def _unpack(path: pathlib.Path, content: Any) -> tuple[dict[str, list[str]], list[Any]]:
  splits: Any = {}
  if isinstance(content, dict):
    splits, content = content.get("split") or {}, content.get("annotations")
  if not isinstance(content, list) or not content:
    raise DataError(f'{path} holds no list of annotations: expected {{"split", "annotations"}}')
  well_formed = isinstance(splits, dict) and all(
    isinstance(key, str)
    and isinstance(names, (list, tuple, set))
    and all(isinstance(name, str) for name in names)
    for key, names in splits.items()
  )
  if not well_formed:
    raise DataError(f'{path}: "split" is not a dict of lists of names')
  return splits, content


def _name(content: Any, index: int) -> str:
  name = content.get("frame_dir") if isinstance(content, dict) else None
  return name if exchange.is_name(name) else f"annotation {index}"


def _first_keypoint(contents: Iterable[Any]) -> np.ndarray:
  """The first key points in which anybody is tracked: they say what layout the file has."""
  for content in contents:
    with contextlib.suppress(DataError, TypeError):
      if (keypoint := _numbers(content, "keypoint", 4)).any():
        return keypoint
  raise DataError(
    "no annotation has a keypoint array [person, frame, joint, 2 or 3] in which anybody is tracked"
  )


def _labels(contents: Iterable[Any]) -> list[int]:
  labels = [content.get("label") for content in contents if isinstance(content, dict)]
  return [label for label in labels if exchange.is_label(label)]
