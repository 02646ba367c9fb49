"""A prepared data set's files: records in ArrayRecord shards, the clip table, TFDS's metadata."""

import csv
import io
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from data_prep.readers.interface import Clip, Recordings
from mstgcn_jax import files
from mstgcn_jax.data import data_set

VERSION = "1.0.0"
_SHARD_BYTES = 256 << 20
# Compression saves a third of whole numbers, but 8 % of floats, and costs half of the reading time.
_WHOLE = "group_size:1,zstd:3"
_FLOATS = "group_size:1,uncompressed"


class InexactError(Exception):
  """A coordinate that the storage scale cannot hold exactly."""


def features(recordings: Recordings) -> Any:
  """The data set's TFDS features. Facts are in the clip table; here is what a clip is."""
  import tensorflow_datasets as tfds

  return tfds.features.FeaturesDict(
    {
      # everybody's frames, one person after the other; `lengths` says how many each
      "coordinates": tfds.features.Tensor(
        shape=(None, recordings.skeleton.num_joints, recordings.channels),
        dtype=np.int16 if recordings.storage_scale else np.float32,
        encoding=tfds.features.Encoding.BYTES,
      ),
      "lengths": tfds.features.Tensor(shape=(None,), dtype=np.int64),
      "label": tfds.features.ClassLabel(names=list(recordings.class_names)),
      "name": tfds.features.Text(),
    }
  )


def serialize(clip: Clip, features: Any, scale: float) -> bytes:
  from tensorflow_datasets.proto import tf_example_pb2

  joints = np.concatenate(clip.persons)
  if scale:
    whole = np.rint(joints.astype(np.float64) * scale)
    fits = np.abs(whole).max() <= np.iinfo(np.int16).max
    if not fits or not np.array_equal(np.divide(whole, scale).astype(np.float32), joints):
      raise InexactError(f"{clip.name} has coordinates that are not whole multiples of 1/{scale:g}")
    joints = whole.astype(np.int16)
  record = features.serialize_example(
    {
      "coordinates": joints,
      "lengths": np.array([len(person) for person in clip.persons]),
      "label": clip.label,
      "name": clip.name,
    }
  )
  # Its fields in order: else that differs by process.
  return tf_example_pb2.Example.FromString(record).SerializeToString(deterministic=True)


def _unfit(value: Any) -> str:
  """Why a cell of the clip table would not come back as this value; '' where it does."""
  if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
    return "" if -(2**63) <= value < 2**63 else f"is {value:.3g}, beyond 64 bits"
  if not isinstance(value, str):
    return f"is {value!r}; expected a whole number or a text"
  if len(value) > csv.field_size_limit():
    return f"has {len(value):,} characters; expected at most {csv.field_size_limit():,}"
  try:
    value.encode("utf-8")
  except UnicodeEncodeError:
    return f"is {value!r}, which is no text in UTF-8"
  return f"is {value!r}; a NUL cannot be stored" if "\0" in value else ""


class Table:
  """The clip table while it grows, and what is known of all clips together."""

  def __init__(self, recordings: Recordings):
    # Arrays that somebody else may have centred: as long as no clip's centre lies elsewhere.
    self._looks = recordings.rotated is None
    self.joint_at_zero = recordings.skeleton.center if self._looks else recordings.center
    self.rows: list[tuple[int | str, ...]] = []
    self.columns: dict[str, str] = {}
    self.digests: list[str] = []  # `data_set.clip_digest` of every clip
    self.copies: list[tuple[int, int]] = []  # as of `DataSet`
    self._first: dict[str, int] = {}  # `data_set.frames_digest` -> row
    self._names: set[str] = set()

  def refuses(self, clip: Clip) -> str:
    """Why this clip cannot be added; '' where it can."""
    if clip.name in self._names:
      return f"a second recording has the name {clip.name}"
    for fact, value in {"name": clip.name, **clip.facts}.items():
      if reason := _unfit(value):
        return f"its {fact} {reason}"
    if taken := sorted(clip.facts.keys() & data_set.FILLED):
      return f"its facts include {taken[0]!r}, which the preparation fills"
    columns = self._columns_of(clip)
    if self.columns and columns != self.columns:
      return f"its facts are {columns}; those of the recordings before are {self.columns}"
    return ""

  @staticmethod
  def _columns_of(clip: Clip) -> dict[str, str]:
    facts = {key: "str" if isinstance(value, str) else "int" for key, value in clip.facts.items()}
    return data_set.FILLED | facts

  def add(self, clip: Clip) -> None:
    self.columns = self.columns or self._columns_of(clip)
    self._names.add(clip.name)
    at_zero = self.joint_at_zero
    if self._looks and at_zero is not None and clip.persons[0][:, at_zero].any():
      self.joint_at_zero = None
    self.digests.append(data_set.clip_digest(clip.name, clip.label, clip.persons))
    first = self._first.setdefault(data_set.frames_digest(clip.persons), len(self.rows))
    if first < len(self.rows):
      self.copies.append((len(self.rows), first))
    frames = max(len(person) for person in clip.persons)
    facts = (clip.facts[fact] for fact in list(self.columns)[len(data_set.FILLED) :])
    self.rows.append((clip.name, clip.label, len(clip.persons), frames, *facts))

  def write(self, path: pathlib.Path) -> None:
    write_csv(path, tuple(self.columns), self.rows)


def write_csv(path: pathlib.Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
  # A file name on the disk need not be text.
  with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
    file.writelines(map(_csv_line, [header, *rows]))


def _csv_line(row: Sequence[Any]) -> str:
  # Only what is in `lineterminator` is quoted, and a bare \r in a cell ends a line for a reader.
  line = io.StringIO(newline="")
  csv.writer(line, lineterminator="\r\n").writerow(row)
  return line.getvalue().removesuffix("\r\n") + "\n"


class Shards:
  """ArrayRecord files of bounded size, written one after the other."""

  def __init__(self, folder: pathlib.Path, *, compress: bool):
    self._folder = folder
    self._options = _WHOLE if compress else _FLOATS
    self._paths: list[pathlib.Path] = []
    self._counts: list[int] = []
    self._bytes = 0
    self._writer: Any = None

  def __enter__(self) -> "Shards":
    return self

  def __exit__(self, *_: Any) -> None:
    self._close()

  def add(self, record: bytes) -> None:
    if self._writer is None:
      from array_record.python import array_record_module

      path = self._folder / f"shard-{len(self._paths)}"
      self._writer = array_record_module.ArrayRecordWriter(str(path), self._options)
      self._paths.append(path)
      self._counts.append(0)
      self._bytes = 0
    _as_oserror(self._writer.write, record)
    self._counts[-1] += 1
    self._bytes += len(record)
    if self._bytes >= _SHARD_BYTES:
      self._close()

  def _close(self) -> None:
    if self._writer is not None:
      writer, self._writer = self._writer, None
      _as_oserror(writer.close)

  def finish(self, name: str) -> list[dict[str, Any]]:
    """Gives the closed shards their final names; their facts for the metadata."""
    infos = []
    for i, (path, count) in enumerate(zip(self._paths, self._counts, strict=True)):
      final = f"{name}-{data_set.SPLIT}.array_record-{i:05d}-of-{len(self._paths):05d}"
      facts = {"bytes": path.stat().st_size, "sha256": files.sha256(path), "clips": count}
      infos.append({"file": final} | facts)
      path.rename(self._folder / final)
    return infos


def _as_oserror(function: Callable[..., Any], *args: Any) -> None:
  """Calls an ArrayRecord function, whose failures to write come as other exceptions."""
  try:
    function(*args)
  except (RuntimeError, ValueError) as error:
    raise OSError(f"cannot write the data set: {error}") from error


def write_metadata(
  recordings: Recordings,
  features: Any,
  folder: pathlib.Path,
  name: str,
  shard_infos: Sequence[dict[str, Any]],
  table: Table,
) -> None:
  import tensorflow_datasets as tfds

  metadata = {
    "format": data_set.FORMAT,
    "name": name,
    "version": VERSION,
    "num_clips": len(table.rows),
    "skeleton": recordings.skeleton.to_dict(),
    "class_names": list(recordings.class_names),
    "channels": recordings.channels,
    "fill": recordings.fill,
    "center": recordings.center,
    "joint_at_zero": table.joint_at_zero,
    "rotated": recordings.rotated,
    "upward": recordings.upward,
    "by_sum": recordings.by_sum,
    "scale": recordings.storage_scale,
    "coordinates": recordings.coordinates.known(),
    "reading": dict(recordings.reading),
    "citation": recordings.citation,
    "columns": table.columns,
    "missing_facts": [fact for fact in data_set.KNOWN_FACTS if fact not in table.columns],
    "table": {"sha256": files.sha256(folder / data_set.TABLE)},
    "clips_digest": data_set.joined_digest(table.digests),
    "copies": table.copies,
    "shards": list(shard_infos),
  }
  split = tfds.core.SplitInfo(
    name=data_set.SPLIT,
    shard_lengths=[info["clips"] for info in shard_infos],
    num_bytes=sum(info["bytes"] for info in shard_infos),
    filename_template=tfds.core.ShardedFileTemplate(
      dataset_name=name,
      data_dir=folder,
      split=data_set.SPLIT,
      filetype_suffix="array_record",
    ),
  )
  tfds.folder_dataset.write_metadata(
    data_dir=folder,
    features=features,
    split_infos=[split],
    version=VERSION,
    check_data=False,
    description=f"Skeleton clips of {name}, prepared by mstgcn-jax; joints in `coordinates`, "
    "everybody's frames one person after the other. See metadata.json and clips.csv.",
    citation=recordings.citation,
    metadata=tfds.core.MetadataDict(metadata),
  )
