"""PYSKL and MMAction2 annotation pickles (Duan et al. 2022): 2-D or 3-D key points of many clips.

A file holds {"split": {name: [frame_dir, …]}, "annotations": [annotation, …]}, or the list alone;
a folder such a list per part of the split (`…_train.pkl`, `…_val.pkl`), or an annotation per file.
An annotation is a dict of "frame_dir", "label", "total_frames", "keypoint" [person, frame, joint,
2 or 3] and, for 2-D key points, which are pixels, "img_shape" (height, width) and usually
"keypoint_score" [person, frame, joint].
"""

import argparse
import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data_prep import layouts, raw_files, raw_values
from data_prep.decode import pickles
from data_prep.readers import exchange
from data_prep.readers.interface import FRACTIONS, Clip, Coordinates, Recordings
from mstgcn_jax.data import normalise
from mstgcn_jax.errors import DataError
from mstgcn_jax.skeletons import Skeleton

_LOOKED_AT = 1000  # annotations that say what layout and units the file has
_FRACTION = 2.0  # key points of no picture in pixels are all within
_AXES = {"keypoint": "[person, frame, joint, 2 or 3]", "keypoint_score": "[person, frame, joint]"}
_MUCH = 0.05  # this share of key points outside the picture


@dataclasses.dataclass(frozen=True)
class _Annotation:
  name: str
  content: Any
  facts: Mapping[str, int | str]


def open_raw(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """The annotations of a pickle, or of a folder's: one per part of the split, or per clip."""
  splits, contents = _read(raw)
  names = [_name(content, i) for i, content in enumerate(contents)]
  facts, warnings = exchange.clip_facts(splits, names)
  annotations = [_Annotation(*one) for one in zip(names, contents, facts, strict=True)]
  usual = _usual(contents)
  keypoints = [_numbers(content, "keypoint") for content in raw_values.some(usual, _LOOKED_AT)]
  doubts = layouts.check_axes([keypoint.shape for keypoint in keypoints])
  warnings += doubts
  dimensions = keypoints[0].shape[-1]
  flat = dimensions == 2
  scored = flat and raw_values.majority(
    content.get("keypoint_score") is not None for content in usual
  )
  # y of a picture points down; which way 3-D coordinates do is not known
  up = "-y" if flat else ""
  skeleton, notes = layouts.skeleton_for(args.skeleton, keypoints, doubts, up=up, doubtful=True)
  # A rotation needs three coordinates; what four or more are is not known.
  as_is = args.as_is or dimensions != 3
  if flat:
    warnings += _image_warnings(raw_values.some(usual, _LOOKED_AT))
  elif not as_is:
    warnings += layouts.score_warnings(keypoints, skeleton)
  if not flat and any(content.get("img_shape") is not None for content in usual):
    warnings.append(
      "the key points have three channels, so img_shape is not used: they are taken as 3-D "
      "coordinates. Pixels belong into two channels, their scores into keypoint_score"
    )
  labelled = not getattr(args, "unlabelled", False)
  return Recordings(
    keys=annotations,
    read=functools.partial(
      read_annotation,
      skeleton=skeleton,
      dimensions=dimensions,
      scored=scored,
      as_is=as_is,
      labelled=labelled,
    ),
    skeleton=skeleton,
    class_names=exchange.class_names(args, _labels(contents)) if labelled else ("unlabelled",),
    channels=dimensions + scored,
    **exchange.turning(skeleton, as_is),
    coordinates=_coordinates(skeleton, dimensions, scored, as_is),
    reading={"pyskl": exchange.turning_options(args)},
    notes=notes,
    warnings=tuple(warnings),
    parallel=False,  # the annotations are in memory already
  )


def _coordinates(skeleton: Skeleton, dimensions: int, scored: bool, as_is: bool) -> Coordinates:
  """2-D key points become fractions with y up; of 3-D ones only the turned axis is known."""
  if dimensions == 2:
    return FRACTIONS if scored else dataclasses.replace(FRACTIONS, channels=("x", "y"))
  return layouts.turned(skeleton) if dimensions == 3 and not as_is else Coordinates()


def read_annotation(
  annotation: _Annotation,
  *,
  skeleton: Skeleton,
  dimensions: int,
  scored: bool,
  as_is: bool,
  labelled: bool = True,
) -> Clip:
  """One clip: 3-D upright unless `as_is`; 2-D as x/width - 0.5, 0.5 - y/height and the score."""
  content = annotation.content
  if not isinstance(content, dict):
    raise DataError(f"the annotation is a {type(content).__name__}, not a dict")
  for field in ("frame_dir", "label") if labelled else ("frame_dir",):
    if field not in content:
      raise DataError(f"the annotation has no {field!r}")
  label = _label(content) if labelled else 0
  if not raw_values.is_label(label):
    raise DataError(f"label {raw_values.shown(label)} is not one class number")
  if not raw_values.is_name(content["frame_dir"]):
    raise DataError(f"frame_dir {raw_values.shown(content['frame_dir'])} is not a name")
  keypoint = _numbers(content, "keypoint")
  frames = content.get("total_frames", keypoint.shape[1])
  if frames != keypoint.shape[1]:
    found = raw_values.shown(frames)
    raise DataError(f"total_frames is {found}, keypoint has {keypoint.shape[1]} frames")
  if keypoint.shape[2:] != (skeleton.num_joints, dimensions):
    raise DataError(
      f"keypoint has the shape {keypoint.shape}; expected [person, frame, {skeleton.num_joints} "
      f"joints of {skeleton.name}, {dimensions} coordinates] as in most annotations"
    )
  if dimensions == 2:
    keypoint = _flat(content, keypoint, scored)
  persons = exchange.turn(list(keypoint), skeleton, as_is)
  return Clip(annotation.name, label, persons, annotation.facts)


def _flat(content: Mapping[str, Any], keypoint: np.ndarray, scored: bool) -> np.ndarray:
  """Pixels to image fractions about the centre, y up; what was not detected is 0."""
  height, width = _image_size(content)
  found = keypoint.any(axis=-1, keepdims=True)  # NaN is 0 by now
  clip = normalise.fractions(keypoint, (width, height))
  if not scored:
    return clip * found
  score = _numbers(content, "keypoint_score")
  if score.shape != keypoint.shape[:3]:
    raise DataError(f"keypoint_score has the shape {score.shape}, keypoint {keypoint.shape}")
  if keypoint.any() and not score.any():
    raise DataError(f"keypoint_score is {raw_values.NO_SCORE}")
  score = score[..., None]
  return np.concatenate([clip, score], axis=-1) * (found & (score != 0))


def _image_size(content: Mapping[str, Any]) -> tuple[float, float]:
  """Height and width in pixels."""
  try:
    height, width = pickles.as_array(content["img_shape"]).astype(float).ravel().tolist()[:2]
  except (KeyError, TypeError, ValueError, DataError):
    height = width = 0.0
  largest = float(raw_values.LARGEST)
  if not all(1 / largest < side < largest for side in (height, width)):
    found = raw_values.shown(content.get("img_shape"))
    raise DataError(f"img_shape is {found}; 2-D key points need (height, width)")
  return height, width


def _image_warnings(contents: Sequence[Any]) -> list[str]:
  """Lines to print where key points and img_shape are not in the same units, or axes."""
  fractions = exchanged = outside = count = 0
  for content in contents:
    with contextlib.suppress(DataError):
      size = np.array(_image_size(content)[::-1])  # of x and y
      keypoint = _numbers(content, "keypoint")
      points = keypoint[keypoint.any(axis=-1)]
      count += 1
      if np.abs(points).max() <= _FRACTION < size.min() / 10:
        fractions += 1
        continue
      out, turned = (((points < 0) | (points > s)).any(axis=-1).mean() for s in (size, size[::-1]))
      outside += out > _MUCH
      exchanged += out > _MUCH and turned < out / 4
  of = f"of {count:,} clips looked at"
  if fractions:
    return [
      f"in {fractions:,} {of} the key points lie within {_FRACTION:g}, as if they were divided by "
      "img_shape already; they are divided by it (again): give pixels, or img_shape (1, 1)"
    ]
  if exchanged > count * _MUCH:
    return [
      f"in {exchanged:,} {of} many key points lie outside the picture, and inside with img_shape "
      "read as (width, height); it is taken as (height, width): exchange the two"
    ]
  if outside > count / 2:
    return [
      f"in {outside:,} {of} many key points lie outside the picture; expected pixels of a picture "
      "of img_shape (height, width)"
    ]
  return []


def _numbers(content: Mapping[str, Any], field: str) -> np.ndarray:
  """A field of `_AXES` as float32; a point of which any coordinate is NaN, or a score, is 0."""
  if content.get(field) is None:
    elsewhere = ""
    if field == "keypoint" and "raw_file" in content:
      elsewhere = (
        f"; raw_file names {raw_values.shown(content['raw_file'])} for it, as PYSKL's Kinetics-400 "
        "does: only key points in the annotation itself are read"
      )
    raise DataError(f"the annotation has no {field!r}{elsewhere}")
  array = pickles.as_array(content[field])
  axes = _AXES[field]
  ndim = axes.count(",") + 1
  if array.dtype.kind not in "iuf" or array.ndim != ndim:
    hint = ""
    if array.ndim == ndim - 1:
      hint = f"; for one person save {field}[None]"
      if "frame_inds" in content:
        hint = "; it is PYSKL's compressed form (frame_inds), which is not read"
    raise DataError(
      f"{field} holds {array.dtype} of the shape {array.shape}; expected {axes}{hint}"
    )
  points = array if field == "keypoint" else array[..., None]
  return raw_values.as_float32(raw_values.without_nan(points)).reshape(array.shape)


# --- the pickles


def _read(raw: pathlib.Path) -> tuple[dict[str, list[str]], list[Any]]:
  """Splits and annotations, of one pickle or of several in a folder."""
  paths = _pickles(raw)
  contents = [pickles.load(path) for path in paths]
  if all(map(_is_annotation, contents)):  # one per clip, as MMAction2's script extracts them
    return {}, contents
  if len(paths) == 1:
    return _unpack(paths[0], contents[0])
  parts = [exchange.part_of(path.stem) for path in paths]
  if None in parts or len({protocol for protocol, _ in filter(None, parts)}) > 1:
    raise DataError(
      f"--raw {raw} should name one annotation pickle, or a folder with the train and the val part "
      f"of one split, or one pickle per clip; in this folder: {', '.join(p.name for p in paths)}"
    )
  splits: dict[str, list[str]] = {}
  annotations: list[Any] = []
  for path, content, (_, part) in zip(paths, contents, parts, strict=True):
    given, more = _unpack(path, content)
    if given:
      raise DataError(f"{path} has splits of its own; name it alone")
    splits.setdefault(part, []).extend(
      _name(one, i) for i, one in enumerate(more, start=len(annotations))
    )
    annotations += more
  return splits, annotations


def _pickles(raw: pathlib.Path) -> list[pathlib.Path]:
  if not raw.is_dir():
    return [raw]
  paths = sorted(p for p in raw_files.walk(raw) if p.suffix.lower() in (".pkl", ".pickle"))
  paths = [path for path in paths if path.parent == raw] or paths
  if not paths:
    raise DataError(f"--raw {raw} holds no annotation pickle (.pkl)")
  return paths


def _is_annotation(content: Any) -> bool:
  return isinstance(content, dict) and "keypoint" in content


def _unpack(path: pathlib.Path, content: Any) -> tuple[dict[str, list[str]], list[Any]]:
  splits: Any = {}
  if isinstance(content, dict):
    splits, content = content.get("split") or {}, content.get("annotations")
  try:
    annotations = pickles.as_list(content)
  except DataError:
    annotations = []
  if not annotations:
    raise DataError(f'{path} holds no list of annotations: expected {{"split", "annotations"}}')
  try:
    lists = {key: pickles.as_list(names) for key, names in splits.items()}
    well_formed = all(isinstance(text, str) for key in lists for text in (key, *lists[key]))
  except (AttributeError, DataError):
    well_formed = False
  if not well_formed:
    raise DataError(f'{path}: "split" is not a dict of lists of names')
  return lists, annotations


def _name(content: Any, index: int) -> str:
  name = content.get("frame_dir") if isinstance(content, dict) else None
  return name if raw_values.is_name(name) else f"annotation {index}"


def _usual(contents: Sequence[Any]) -> list[Any]:
  """Of some annotations, those of the layout that most have, and in which anybody is tracked."""

  def shape(content: Any) -> tuple[int, ...]:
    keypoint = _numbers(content if isinstance(content, dict) else {}, "keypoint")
    return keypoint.shape[2:] if keypoint.any() else ()

  return raw_values.alike(
    raw_values.some(contents, _LOOKED_AT),
    shape,
    "no annotation has a keypoint array [person, frame, joint, 2 or 3] in which anybody is tracked",
  )


def _label(content: Mapping[str, Any]) -> Any:
  """The class number, which may be in an array or a list of its own; else what is there."""
  label = content.get("label")
  with contextlib.suppress(DataError):
    array = pickles.as_array(label)
    if array.size == 1 and array.dtype.kind in "iu":
      return int(array.item())
  return label


def _labels(contents: Iterable[Any]) -> list[int]:
  found = [_label(content) for content in contents if isinstance(content, dict)]
  labels = [label for label in found if raw_values.is_label(label)]
  if not labels:
    raise DataError(
      f"no annotation has a class number as its label (first: {raw_values.shown(found[0])}); "
      "expected numbers from 0, and their names with --classes FILE"
    )
  return labels
