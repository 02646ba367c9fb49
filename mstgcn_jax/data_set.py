"""A prepared data set on disk: opening it, its clip table, random access to its clips.

A folder DATA_DIR/NAME/VERSION holds a TFDS data set with one split, `clips`, in ArrayRecord shards
(TFDS loads it without this package: `tfds.builder_from_directory(path).as_data_source("clips")`),
the clip table `clips.csv`, and `report.csv`, which lists the recordings left out. TFDS's metadata
file carries what loading needs: skeleton, class names, fill, centre, scale, shard sizes and sums.
"""

import csv
import dataclasses
import functools
import itertools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mstgcn_jax import files, temporal_sampling
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.skeletons import Skeleton

FORMAT = 1  # of the folder; a reader refuses a newer one
SPLIT = "clips"
TABLE = "clips.csv"
REPORT = "report.csv"
METADATA = "metadata.json"
KNOWN_FACTS = ("subject", "camera", "setup", "replication", "split")


class Persons(list):
  """The persons of a clip as data sets store them: turned as the source has it, not yet centred.

  By this `classifier.Classifier.window` tells them from those of a recording, which it turns.
  """

  def __getitem__(self, index):
    found = super().__getitem__(index)
    return Persons(found) if isinstance(index, slice) else found


@dataclasses.dataclass(frozen=True, eq=False)
class DataSet:
  """An opened data set.

  Attributes:
    path: the version's folder.
    name: such as 'ntu60'.
    version: such as '1.0.0'.
    skeleton: layout of the joints.
    class_names: one a label.
    channels: coordinates of a joint.
    fill: 'loop' or 'zero': what follows a person's last frame.
    center: joint of the first person to be subtracted; None for none.
    rotated: whether the clips were turned, upright or to the front; None where they came as
      arrays that somebody else may have turned and centred.
    scale: stored whole numbers divided by this are coordinates; 0 where floats are stored.
    citation: BibTeX.
    missing_facts: of KNOWN_FACTS, those the source does not have.
    columns: names of the clip table's columns, and whether 'int' or 'str'.
    shards: file name, bytes, sha256 and number of clips of every shard.
    table_sha256: of the clip table's file.
  """

  path: pathlib.Path
  name: str
  version: str
  skeleton: Skeleton
  class_names: tuple[str, ...]
  channels: int
  fill: str
  center: int | None
  rotated: bool | None
  scale: float
  citation: str
  missing_facts: tuple[str, ...]
  columns: dict[str, str]
  shards: tuple[dict[str, Any], ...]
  num_clips: int
  table_sha256: str

  def __len__(self) -> int:
    return self.num_clips

  @functools.cached_property
  def table(self) -> dict[str, np.ndarray]:
    """The clip table by column: name, label, persons, frames and the source's facts."""
    path = self.path / TABLE
    try:
      if files.sha256(path) != self.table_sha256:
        raise ValueError("it is not the table that was written")
      return _read_table(path, self.columns)
    except (OSError, ValueError) as error:
      raise DataError(f"{path} is damaged ({error}); prepare the data set again") from error

  def column(self, name: str) -> np.ndarray:
    """A column of the clip table; ConfigError where the source does not have this fact."""
    if name not in self.table:
      raise ConfigError(
        f"data set {self.name} has no column {name!r}; it has {', '.join(self.table)}"
      )
    return self.table[name]

  def read(self, indices: Sequence[int]) -> list[list[np.ndarray]]:
    """The clips of these rows of the table, in this order.

    Returns:
      A list over clips of lists over persons of float32 [frames_m, joint, channel], neither looped
      nor centred.
    """
    rows = np.asarray(indices, dtype=np.int64)
    if len(rows) and not 0 <= rows.min() <= rows.max() < self.num_clips:
      raise IndexError(f"clips {rows.min()}..{rows.max()} of a data set of {self.num_clips}")
    shards = np.searchsorted(self._ends, rows, side="right")
    clips: list[list[np.ndarray]] = [[]] * len(rows)
    for shard in np.unique(shards):
      places = np.flatnonzero(shards == shard)
      start = self._ends[shard] - self.shards[shard]["clips"]
      records = self._read_shard(shard, (rows[places] - start).tolist())
      for place, record in zip(places, records, strict=True):
        clips[place] = self._decode(record)
    return clips

  def sample(
    self, index: int, window: int, num_persons: int = 2, sampling: str = "loop"
  ) -> np.ndarray:
    """One clip as the model sees it in evaluation: float32 [person, window, joint, channel]."""
    out = np.empty((num_persons, window, self.skeleton.num_joints, self.channels), np.float32)
    (persons,) = self.read([index])
    return temporal_sampling.sample(persons, sampling, self.fill, self.center, out)

  def _read_shard(self, shard: int, positions: list[int]) -> list[bytes]:
    try:
      return self._readers[shard].read(positions)
    except (RuntimeError, ValueError, IndexError) as error:
      raise DataError(
        f"{self.path / self.shards[shard]['file']} is damaged ({error}); prepare the data set "
        "again with --overwrite or copy it again"
      ) from error

  @functools.cached_property
  def _ends(self) -> np.ndarray:
    return np.cumsum([shard["clips"] for shard in self.shards])

  @functools.cached_property
  def _readers(self) -> list[Any]:
    # TFDS's own data source starts a thread pool every time; a reader may be shared by threads.
    from array_record.python import array_record_module

    options = "readahead_buffer_size:0"
    return [
      array_record_module.ArrayRecordReader(
        str(self.path / shard["file"]), options=options, file_reader_buffer_size=1 << 15
      )
      for shard in self.shards
    ]

  def _decode(self, record: bytes) -> Persons:
    # What TFDS's features.deserialize_example_np(record) does, for the two fields needed here: it
    # takes five times as long, more than reading and looping the clip.
    fields = _example_type().FromString(record).features.feature
    joints = np.frombuffer(
      fields["coordinates"].bytes_list.value[0], np.int16 if self.scale else np.float32
    ).reshape(-1, self.skeleton.num_joints, self.channels)
    if self.scale:
      joints = np.divide(joints, self.scale, dtype=np.float32)
    ends = list(itertools.accumulate(fields["lengths"].int64_list.value))
    return Persons(joints[start:end] for start, end in zip([0, *ends], ends, strict=False))


@functools.cache
def _example_type() -> Any:
  from tensorflow_datasets.proto import tf_example_pb2

  return tf_example_pb2.Example


def open_data_set(path: str | pathlib.Path) -> DataSet:
  """Opens DATA_DIR/NAME/VERSION, or DATA_DIR/NAME where it holds one version.

  Raises:
    DataError: the folder is missing, incomplete, truncated or of a newer format.
  """
  path = _version_folder(pathlib.Path(path))
  try:
    metadata = json.loads((path / METADATA).read_text(encoding="utf-8"))
    if metadata["format"] > FORMAT:
      raise DataError(
        f"{path} has format {metadata['format']}, written by a newer mstgcn-jax; this one reads up "
        f"to {FORMAT}: update it, or prepare the data set again"
      )
    _check_shards(path, metadata["shards"])
    opened = DataSet(
      path=path,
      name=metadata["name"],
      version=metadata["version"],
      skeleton=Skeleton.from_dict(metadata["skeleton"]),
      class_names=tuple(metadata["class_names"]),
      channels=metadata["channels"],
      fill=metadata["fill"],
      center=metadata["center"],
      rotated=metadata["rotated"],
      scale=metadata["scale"],
      citation=metadata["citation"],
      missing_facts=tuple(metadata["missing_facts"]),
      columns=metadata["columns"],
      shards=tuple(metadata["shards"]),
      num_clips=metadata["num_clips"],
      table_sha256=metadata["table"]["sha256"],
    )
    _check(opened)
    return opened
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise DataError(
      f"{path} is not a whole prepared data set ({METADATA}: {error!r}); prepare it again with "
      "--overwrite"
    ) from error


def _version_folder(path: pathlib.Path) -> pathlib.Path:
  if (path / METADATA).is_file():
    return path
  if not path.is_dir():
    raise DataError(
      f"there is no data set {path}; prepare it: "
      "python -m data_prep SOURCE --raw DIR --out DATA_DIR"
    )
  versions = sorted(p.parent for p in path.glob(f"[0-9]*/{METADATA}"))
  if len(versions) == 1:
    return versions[0]
  if versions:
    names = ", ".join(version.name for version in versions)
    raise DataError(f"{path} holds the versions {names}; name one: {versions[-1]}")
  below = sorted(str(p.parent) for p in path.glob(f"[!.]*/[0-9]*/{METADATA}"))
  hint = f"; below it: {', '.join(below)}" if below else ""
  raise DataError(f"{path} holds no prepared data set (no {METADATA}){hint}")


def _check_shards(path: pathlib.Path, shards: Sequence[dict[str, Any]]) -> None:
  for shard in shards:
    file = path / shard["file"]
    size = file.stat().st_size if file.is_file() else None
    if size != shard["bytes"]:
      found = "is missing" if size is None else f"has {size:,} bytes"
      raise DataError(
        f"{file} {found}; expected {shard['bytes']:,} bytes: the data set is damaged, prepare it "
        "again with --overwrite or copy it again"
      )


def _check(data_set: DataSet) -> None:
  """ValueError for metadata that would fail later, or not at all."""
  clips = sum(shard["clips"] for shard in data_set.shards)
  if clips != data_set.num_clips:
    raise ValueError(f"{data_set.num_clips} clips, {clips} in the shards")
  if data_set.fill not in ("loop", "zero"):
    raise ValueError(f"fill {data_set.fill!r}")
  if data_set.center is not None and not 0 <= data_set.center < data_set.skeleton.num_joints:
    raise ValueError(f"center {data_set.center}")
  if not set(data_set.columns.values()) <= {"int", "str"}:
    raise ValueError(f"columns {data_set.columns}")


def _read_table(path: pathlib.Path, columns: dict[str, str]) -> dict[str, np.ndarray]:
  with path.open(newline="", encoding="utf-8") as file:
    _, *rows = csv.reader(file)
  values = zip(*rows, strict=True) if rows else [()] * len(columns)
  return {
    name: np.array(column, dtype=np.int64 if kind == "int" else np.str_)
    for (name, kind), column in zip(columns.items(), values, strict=True)
  }
