"""Data sets that come as a few big arrays, already padded and centred: kept as they are.

- 2s-AGCN and MST-GCN (Shi et al. 2019): `train_data_joint.npy` [clip, channel, frame, joint,
  person] and `train_label.pkl`, (names, labels); the same for `val`. ST-GCN (Yan et al. 2018) calls
  the array `train_data.npy`.
- CTR-GCN (Chen et al. 2021): a `.npz` with `x_train` [clip, frame, person * joint * channel] and
  one-hot `y_train` [clip, class]; `x_test`, `y_test`. Clips have no names there.

Neither is ever loaded whole.
"""

import argparse
import contextlib
import dataclasses
import itertools
import math
import pathlib
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import numpy as np

from data_prep import layouts, raw_files, raw_values
from data_prep.decode import pickles
from data_prep.readers import exchange
from data_prep.readers.interface import Clip, Coordinates, Recordings
from mstgcn_jax import skeletons
from mstgcn_jax.errors import DataError
from mstgcn_jax.skeletons import Skeleton

_ARRAY = re.compile(r"(.+)_data(?:_joint)?\.npy")
_LOOKED_AT = 20  # clips of an array that say what layout it has
_EXPECTED = "expected x_train [clip, frame, person * joint * 3] and one-hot y_train [clip, class]"


@dataclasses.dataclass(frozen=True)
class _Row:
  """A clip's place in an array."""

  name: str
  label: int
  facts: Mapping[str, int | str]
  part: str
  index: int


def _recordings(rows: list[_Row], skeleton: Skeleton, **fields: Any) -> Recordings:
  """What both formats say of themselves: padded with zeros or by looping, as somebody decided."""
  return Recordings(keys=rows, skeleton=skeleton, fill="zero", rotated=None, **fields)


# --- 2s-AGCN


def open_agcn(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """The `*_data_joint.npy` of a folder with their `*_label.pkl`; `raw` may be one of the files."""
  paths = _agcn_arrays(raw)
  folders = sorted({path.parent for path in paths})
  if len(folders) > 1:
    raise DataError(
      f"--raw {raw} holds arrays of several protocols, with the same clips; name one of: "
      f"{', '.join(map(str, folders))}"
    )
  names, labels, places, shapes, clips = [], [], [], set(), []
  for path in paths:
    array = _mapped(path)
    shapes.add(array.shape[1:])
    clips += [
      raw_values.plausible(array[i].transpose(3, 1, 2, 0))
      for i in raw_values.some(range(len(array)), _LOOKED_AT)
    ]
    for index, (name, label) in enumerate(_names_and_labels(path, len(array))):
      names.append(name)
      labels.append(label)
      places.append((path, index))
  if len({(channels, joints) for channels, _, joints, _ in shapes}) > 1:
    raise DataError(f"the arrays in {folders[0]} differ in channels or joints: {sorted(shapes)}")
  if not clips:
    raise DataError(f"the arrays in {folders[0]} hold no clip")
  members: dict[str, list[str]] = {}
  for name, (path, _) in zip(names, places, strict=True):
    members.setdefault(_part(path), []).append(name)
  facts, warnings = exchange.clip_facts(members, names)
  rows = [
    _Row(name, label, fact, str(path), index)
    for name, label, fact, (path, index) in zip(names, labels, facts, places, strict=True)
  ]
  doubt = "the arrays have their axes in another order than [clip, channel, frame, joint, person]"
  skeleton, notes = layouts.skeleton_for(args.skeleton, clips, [doubt], doubtful=True)
  return _recordings(
    rows,
    skeleton,
    read=read_agcn,
    class_names=exchange.class_names(args, labels),
    channels=clips[0].shape[-1],
    coordinates=Coordinates(layouts.channel_names(clips)),
    notes=notes,
    warnings=tuple(warnings + _axis_warnings(shapes)),
  )


def _agcn_arrays(raw: pathlib.Path) -> list[pathlib.Path]:
  """One array per part: `PART_data_joint.npy`, or `PART_data.npy` where that is not there."""
  found = sorted(raw_files.walk(raw)) if raw.is_dir() else [raw]
  paths = {}
  for path in found:
    if _ARRAY.fullmatch(path.name):
      paths.setdefault((path.parent, _part(path)), []).append(path)
  if paths:
    return [max(same, key=lambda path: path.name) for same in paths.values()]
  others = ", ".join(sorted(path.name for path in found if path.suffix == ".npy")[:5])
  hint = f"; rename what holds joints (there: {others})" if others else ""
  raise DataError(
    f"--raw {raw} holds no array called train_data_joint.npy or val_data_joint.npy, or as ST-GCN's "
    f"train_data.npy or val_data.npy{hint}"
  )


def _part(path: pathlib.Path) -> str:
  """'train' of 'train_data_joint.npy'."""
  match = _ARRAY.fullmatch(path.name)
  return match[1] if match else path.stem


def _axis_warnings(shapes: Iterable[tuple[int, ...]]) -> list[str]:
  """A line to print where arrays [clip, …] may have their axes in another order."""
  if not all(shape[0] == 2 and shape[-1] == 3 for shape in shapes):
    return []
  return [
    "the arrays are read as [clip, channel, frame, joint, person], 3 persons in 2-D; if they are "
    "[clip, person, frame, joint, channel], save array.transpose(0, 4, 2, 3, 1) and prepare again"
  ]


def read_agcn(row: _Row) -> Clip:
  """One clip of the array, which is mapped into memory, not loaded."""
  clip = raw_values.as_float32(_mapped(pathlib.Path(row.part))[row.index])
  return Clip(row.name, row.label, list(clip.transpose(3, 1, 2, 0)), row.facts)


def _mapped(path: pathlib.Path) -> np.ndarray:
  array = raw_files.map_npy(path)
  if array.ndim != 5 or 0 in array.shape[1:] or not 2 <= array.shape[1] <= layouts.MAX_CHANNELS:
    raise DataError(
      f"{path} has the shape {array.shape}; expected [clip, channel, frame, joint, person]"
    )
  return array


def _names_and_labels(path: pathlib.Path, count: int) -> list[tuple[str, int]]:
  labels_path = path.with_name(f"{_part(path)}_label.pkl")
  content = pickles.load(labels_path)
  try:
    names, labels = map(pickles.as_list, pickles.as_list(content))
  except (DataError, ValueError) as error:
    raise DataError(f"{labels_path} holds no pair (names, labels)") from error
  if len(names) != count or len(labels) != count:
    raise DataError(
      f"{path.name} has {count} clips, {labels_path.name} beside it {len(names)} names and "
      f"{len(labels)} labels"
    )
  if not all(map(raw_values.is_name, names)) or not all(map(raw_values.is_label, labels)):
    raise DataError(f"{labels_path}: expected names as text and labels as whole numbers")
  return [
    (name.removesuffix(".skeleton").removesuffix(".json"), label)
    for name, label in zip(names, labels, strict=True)
  ]


# --- CTR-GCN


def open_ctrgcn(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """The clips of a `.npz` archive; `raw` is the file, or a folder with only one."""
  path = raw
  if raw.is_dir():
    paths = sorted(path for path in raw.glob("*.npz") if not raw_files.is_hidden(path.name))
    if len(paths) != 1:
      found = ", ".join(path.name for path in paths) or "none"
      raise DataError(f"--raw {raw} should name one .npz archive; in this folder: {found}")
    path = paths[0]
  skeleton = skeletons.resolve(args.skeleton or "ntu_rgbd")
  notes = (
    () if args.skeleton else ("skeleton ntu_rgbd, as CTR-GCN's archives have; else --skeleton",)
  )
  rows, classes = [], set()
  for part, split in (("train", "train"), ("test", "val")):
    with _member(path, f"x_{part}.npy") as (_, shape, dtype):
      if len(shape) != 3 or dtype.kind not in "iuf" or 0 in shape[1:]:
        raise DataError(f"{path}: x_{part} holds {dtype} of the shape {shape}: {_EXPECTED}")
      if shape[2] % (3 * skeleton.num_joints):
        raise DataError(
          f"{path}: x_{part} has {shape[2]} numbers per frame, which are no whole persons of "
          f"{skeleton.num_joints} joints ({skeleton.name}) in 3-D; choose another with --skeleton"
        )
      count = shape[0]
    one_hot = _one_hot(path, part)
    if len(one_hot) != count:
      raise DataError(f"{path}: x_{part} has {count} clips, y_{part} {len(one_hot)}")
    classes.add(one_hot.shape[1])
    hits = (one_hot == 1).sum(axis=1) * ((one_hot != 0).sum(axis=1) == 1)
    labels = np.where(hits == 1, one_hot.argmax(axis=1), -1).tolist()
    rows += [
      _Row(f"{part}_{i:06d}", label, {"split": split}, part, i) for i, label in enumerate(labels)
    ]
  if len(classes) != 1:
    raise DataError(f"{path}: y_train and y_test differ in their number of classes: {classes}")
  return _recordings(
    rows,
    skeleton,
    read=_Archive(path, skeleton.num_joints),
    class_names=exchange.class_names(args, [max(classes) - 1]),
    coordinates=Coordinates(("x", "y", "z")),
    notes=notes,
    parallel=False,  # clips are read one after the other from a stream, which may be compressed
  )


class _Archive:
  """Reads rows of `x_train` and `x_test` in order, holding one clip at a time."""

  def __init__(self, path: pathlib.Path, num_joints: int):
    self._path = path
    self._joints = num_joints
    self._rows: Iterator[np.ndarray] = iter(())
    self._at = ("", 0)

  def __call__(self, row: _Row) -> Clip:
    if row.label < 0:
      raise DataError(f"y_{row.part} has no single 1 in row {row.index}")
    part, index = self._at
    if part != row.part or index > row.index:
      self._rows, index = _rows(self._path, f"x_{row.part}.npy"), 0
    self._at = (row.part, row.index + 1)
    frames = next(itertools.islice(self._rows, row.index - index, None), None)
    if frames is None:
      raise DataError("the archive is damaged before this clip")
    clip = (
      raw_values.as_float32(frames).reshape(len(frames), -1, self._joints, 3).transpose(1, 0, 2, 3)
    )
    return Clip(row.name, row.label, list(clip), row.facts)


def _rows(path: pathlib.Path, member: str) -> Iterator[np.ndarray]:
  """Clips [frame, numbers] of an array in the archive, one by one."""
  with _member(path, member) as (stream, shape, dtype):
    for _ in range(shape[0]):
      yield _read(path, stream, shape[1:], dtype)


def _one_hot(path: pathlib.Path, part: str) -> np.ndarray:
  with _member(path, f"y_{part}.npy") as (stream, shape, dtype):
    if len(shape) != 2 or dtype.kind not in "biuf" or not shape[1]:
      raise DataError(f"{path}: y_{part} holds {dtype} of the shape {shape}: {_EXPECTED}")
    return _read(path, stream, shape, dtype)


def _read(path: pathlib.Path, stream: IO[bytes], shape: tuple[int, ...], dtype: Any) -> np.ndarray:
  size = math.prod(shape) * dtype.itemsize
  try:
    data = stream.read(size)
  except Exception as error:  # damaged compression
    raise DataError(f"{path} is damaged ({error})") from error
  if len(data) != size:
    raise DataError(f"{path} ends early")
  return np.frombuffer(data, dtype).reshape(shape) if size else np.zeros(shape, dtype)


@contextlib.contextmanager
def _member(path: pathlib.Path, name: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], Any]]:
  """An array of the archive as (stream at its numbers, shape, dtype)."""
  with contextlib.ExitStack() as stack:
    try:
      stream = stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open(name))
      major, _ = np.lib.format.read_magic(stream)
      read_header = (
        np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
      )
      shape, fortran, dtype = read_header(stream)
    except KeyError as error:
      raise DataError(f"{path} holds no {name.removesuffix('.npy')}: {_EXPECTED}") from error
    except OSError as error:
      raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zipfile and numpy raise many kinds on damaged files
      hint = raw_files.pointer_hint(path) or f" ({error})"
      raise DataError(f"{path} is not a .npz archive, or a damaged one{hint}") from error
    if any(size < 0 for size in shape) or dtype.hasobject:
      raise DataError(f"{path}: {name} has a damaged header ({dtype}, {shape})")
    if fortran and len(shape) > 1:
      raise DataError(f"{path}: {name} is in Fortran order; save it again from C order")
    yield stream, shape, dtype
