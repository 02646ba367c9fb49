"""A prepared data set on disk: opening it, its clip table, random access to its clips.

A folder DATA_DIR/NAME/VERSION holds a TFDS data set with one split, `clips`, in ArrayRecord shards
(TFDS loads it without this package: `tfds.builder_from_directory(path).as_data_source("clips")`),
the clip table `clips.csv`, and `report.csv`, which lists the recordings left out. TFDS's metadata
file carries what loading needs: skeleton, class names, fill, centre, scale, shard sizes and sums.

What a data set *is* (`DataSet.identity`) is its content, not these bytes: prepared again from the
same recordings, or written in other shards, it is the same.
"""

import csv
import dataclasses
import functools
import hashlib
import json
import math
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mstgcn_jax import files
from mstgcn_jax.data import facing
from mstgcn_jax.data.temporal_sampling import Sampling
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.skeletons import Skeleton

FORMAT = 1  # of the folder; a reader refuses a newer one
SPLIT = "clips"
TABLE = "clips.csv"
REPORT = "report.csv"
METADATA = "metadata.json"
# Columns of every clip table, its first, and what they hold.
FILLED = {"name": "str", "label": "int", "persons": "int", "frames": "int"}
KNOWN_FACTS = ("subject", "camera", "setup", "replication", "split")
_CHUNK = 64  # clips read at a time where all are
_LONG = 256  # characters of a text beyond which its column is not of one width
# Fields that are in the metadata as they are here, and those that an earlier version did not write.
_AS_WRITTEN = ("name", "version", "channels", "fill", "center", "scale", "citation", "columns")
_LATER = ("clips_digest", "coordinates", "upward", "by_sum", "reading")
_TOO_MUCH = (OverflowError, RecursionError)  # numbers without end, and lists in lists in JSON
# Fields that decide how clips are loaded.
_LOADING = ("channels", "fill", "center", "joint_at_zero", "rotated")


class Persons(list):
  """The persons of a clip as data sets store them: turned as the source has it, not yet centred.

  By this `Classifier.from_recording` tells them from those of a recording, which it turns.
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
    class_names: one per label.
    channels: coordinates of a joint.
    fill: 'loop' or 'zero': what follows a person's last frame.
    center: joint of the first person to be subtracted; None for none.
    joint_at_zero: joint of the first person that lies at 0 in a sample although it is tracked:
      `center`, or the skeleton's where clips came as arrays centred on it; None for none.
    rotated: whether the clips were turned, upright or to the front; None where they came as
      arrays that somebody else may have turned and centred.
    upward: the recordings' axis about which the clips were turned first, to the front; '' for none.
    by_sum: whether they were turned as the reference does it (`normalise.normalise`).
    scale: stored whole numbers divided by this are coordinates; 0 where floats are stored.
    citation: BibTeX.
    missing_facts: of KNOWN_FACTS, those the source does not have.
    columns: names of the clip table's columns, and whether 'int' or 'str'.
    shards: file name, bytes, sha256 and number of clips of every shard.
    table_sha256: of the clip table's file.
    clips_digest: `joined_digest` of `clip_digests`; '' where an earlier version did not record it.
    copies: (row, earlier row) of clips that have all frames of an earlier one: recordings that are
      in the data twice, whatever their names and labels are.
    coordinates: what the numbers of a joint are, as far as the source says: 'channels', 'units',
      'up' (the axis that points up) and 'picture' (its width and height, of fractions).
    reading: source -> options by which a run reads recordings of that source as these were.
  """

  path: pathlib.Path
  name: str
  version: str
  skeleton: Skeleton
  class_names: tuple[str, ...]
  channels: int
  fill: str
  center: int | None
  joint_at_zero: int | None
  rotated: bool | None
  scale: float
  citation: str
  missing_facts: tuple[str, ...]
  columns: dict[str, str]
  shards: tuple[dict[str, Any], ...]
  num_clips: int
  table_sha256: str
  clips_digest: str = ""
  copies: tuple[tuple[int, int], ...] = ()
  coordinates: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  upward: str = ""
  by_sum: bool = False
  reading: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

  def __len__(self) -> int:
    return self.num_clips

  def __getstate__(self) -> dict[str, Any]:
    """Without the open files: worker processes, of PyTorch's DataLoader, say, open their own."""
    return {name: value for name, value in vars(self).items() if name != "_readers"}

  @property
  def stored_type(self) -> type[np.int16] | type[np.float32]:
    """Of the coordinates on the disk."""
    return np.int16 if self.scale else np.float32

  @property
  def stored_joint_at_zero(self) -> int | None:
    """As `joint_at_zero`, of the clips on the disk: centred only where they came so."""
    return self.joint_at_zero if self.rotated is None else None

  @property
  def num_coordinates(self) -> int:
    """How many of a joint's channels are coordinates, 2 or 3; 2 where nobody said what they are."""
    if names := self.coordinates.get("channels"):
      return 3 if "z" in names else 2
    return 3 if self.channels == 3 and self.center is not None else 2

  @functools.cached_property
  def table(self) -> dict[str, np.ndarray]:
    """The clip table by column: name, label, persons, frames and the source's facts."""
    path = self.path / TABLE
    try:
      if files.sha256(path) != self.table_sha256:
        raise ValueError("it is not the table that was written")
      table = _read_table(path, self.columns)
      if missing := FILLED.items() - self.columns.items():
        raise ValueError(f"it has no column {min(missing)}")
      labels, classes = table["label"], len(self.class_names)
      if len(labels) != self.num_clips or not set(labels.tolist()) <= set(range(classes)):
        raise ValueError(f"it is not of {self.num_clips} clips of {classes} classes")
      return table
    except (OSError, ValueError, OverflowError) as error:
      raise DataError(f"{path} is damaged ({error}); prepare the data set again") from error

  def column(self, name: str) -> np.ndarray:
    """A column of the clip table; ConfigError where the source does not have this fact."""
    if name not in self.table:
      raise ConfigError(
        f"data set {self.name} has no column {name!r}; it has {', '.join(self.table)}"
      )
    return self.table[name]

  def copies_of(
    self, others: Sequence[int] | np.ndarray, rows: Sequence[int] | np.ndarray
  ) -> dict[int, int]:
    """Row -> one of `others`, for those of `rows` that are not among them but copies of them."""
    # Of the clips that are there twice.
    first = dict(self.copies) | {one: one for _, one in self.copies}
    others, rows = (set(np.asarray(given).tolist()) for given in (others, rows))
    there = {first[row]: row for row in sorted(first.keys() & others)}
    apart = sorted(first.keys() & (rows - others))
    return {row: there[first[row]] for row in apart if first[row] in there}

  def read(self, indices: Sequence[int] | np.ndarray) -> list[list[np.ndarray]]:
    """The clips of these rows of the table, in this order.

    Returns:
      A list over clips of lists over persons of float32 [frames_m, joint, channel], neither looped
      nor centred.
    """
    return [self._as_floats(persons) for persons in self.read_stored(indices)]

  def _as_floats(self, persons: Persons) -> Persons:
    if not self.scale:
      return persons
    return Persons(np.divide(person, self.scale, dtype=np.float32) for person in persons)

  def read_stored(self, indices: Sequence[int] | np.ndarray) -> list[list[np.ndarray]]:
    """As `read`, but coordinates as they are stored: int16, `scale` times as large, or float32."""
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
        try:
          clips[place] = self._decode(record)
        except (ValueError, IndexError, KeyError) as error:
          raise DataError(
            f"{self.path / self.shards[shard]['file']}: clip {rows[place]} is not what was written "
            f"({error!r:.200}); prepare the data set again with --overwrite or copy it again"
          ) from error
    return clips

  def sample(
    self,
    index: int,
    window: int,
    num_persons: int = 2,
    sampling: str = "loop",
    view: int = 0,
    views: int = 1,
  ) -> np.ndarray:
    """One clip as the model sees it in evaluation: float32 [person, window, joint, channel]."""
    (persons,) = self.read([index])
    windows = self.sampling(window, num_persons, sampling, views).windows(persons)
    return windows if views == 1 else windows[view]

  def sampling(
    self,
    window: int,
    num_persons: int = 2,
    kind: str = "loop",
    views: int = 1,
    *,
    origin: str = "frame",
    body_size: bool = False,
  ) -> Sampling:
    """How this data set's clips become windows; arguments as of `Sampling`.

    Args:
      body_size: whether bodies are scaled to one size. Clips that are not centred are not.
    Raises:
      ConfigError: an argument is wrong, or the layout has no bones to tell the size by.
    """
    parents = self.skeleton.bone_parents
    if body_size and parents == tuple(range(len(parents))):
      raise ConfigError(
        f"data.body_size needs bones, and the layout {self.skeleton.name} of {self.name} has none: "
        "every joint is its own parent; give it bone_parents, or set data.body_size=False"
      )
    bone_parents = parents if body_size and self.center is not None else None
    return Sampling(window, num_persons, kind, views, self.fill, self.center, origin, bone_parents)

  @functools.cached_property
  def identity(self) -> dict[str, Any]:
    """What decides what is trained on and measured, by name, as JSON; compare by `differences`.

    Long things are given by a digest. For a data set of an earlier version every clip is read.
    """
    long = {"class names": self.class_names, "skeleton": self.skeleton.to_dict()}
    long |= {f"column {name!r}": column.tolist() for name, column in self.table.items()}
    return {
      "clips": self.clips_digest or joined_digest(self.clip_digests()),
      **{name: _digest(json.dumps(value, sort_keys=True)) for name, value in long.items()},
      **{name: getattr(self, name) for name in _LOADING},
    }

  def clip_digests(self) -> Iterator[str]:
    """`clip_digest` of every clip as its record on the disk has it; reads them all."""
    for shard, facts in enumerate(self.shards):
      for start in range(0, facts["clips"], _CHUNK):
        positions = list(range(start, min(start + _CHUNK, facts["clips"])))
        for record in self._read_shard(shard, positions):
          (start, stop), (label, _) = _find(record, b"name", b"label")
          persons = self._as_floats(self._decode(record))
          yield clip_digest(record[start:stop].decode(), _varint(record, label)[0], persons)

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
    readers = [
      array_record_module.ArrayRecordReader(
        str(self.path / shard["file"]), options=options, file_reader_buffer_size=1 << 15
      )
      for shard in self.shards
    ]
    # What is open stays what it is, but another may have taken its place before.
    if files.read_json(self.path / METADATA).get("shards") != list(self.shards):
      raise DataError(f"{self.path} was prepared again since it was opened; open it again")
    return readers

  def _decode(self, record: bytes) -> Persons:
    (start, stop), (first, last) = _find(record, b"coordinates", b"lengths")
    joints = np.frombuffer(memoryview(record)[start:stop], self.stored_type)
    joints = joints.reshape(-1, self.skeleton.num_joints, self.channels)
    persons, begin = Persons(), 0
    while first < last:
      length, first = _varint(record, first)
      persons.append(joints[begin : begin + length])
      begin += length
    return persons


def _find(record: bytes, *names: bytes) -> list[tuple[int, int]]:
  """Where in a serialised tf.train.Example the contents of these features lie.

  What a protobuf class does for all of it, without copying and without an import that takes
  seconds. An Example is nested fields of a one-byte tag, a size and so many bytes: features > one
  entry each > key, value > list > content.
  """
  found = {}
  ((start, stop),) = _fields(record, 0, len(record))
  for entry in _fields(record, start, stop):
    (start, stop), value = _fields(record, *entry)
    if (name := record[start:stop]) in names:
      ((start, stop),) = _fields(record, *value)
      (found[name],) = _fields(record, start, stop)
  return [found[name] for name in names]


def _fields(record: bytes, at: int, end: int) -> list[tuple[int, int]]:
  """First byte of every field between `at` and `end`, and one beyond its last."""
  found = []
  while at < end:
    size, at = _varint(record, at + 1)
    found.append((at, at + size))
    at += size
  return found


def _varint(record: bytes, at: int) -> tuple[int, int]:
  """A whole number of seven bits a byte, lowest first, and where the next thing begins."""
  value = shift = 0
  while record[at] >= 128:
    value |= (record[at] - 128) << shift
    shift += 7
    at += 1
  return value | record[at] << shift, at + 1


def _digest(content: str | bytes) -> str:
  content = content.encode() if isinstance(content, str) else content
  return hashlib.blake2b(content, digest_size=16).hexdigest()


def clip_digest(name: str, label: int, persons: Sequence[np.ndarray]) -> str:
  """A digest of a clip's content: name, label and everybody's float32 [frame, joint, channel]."""
  header = json.dumps([name, int(label), [person.shape for person in persons]])
  # -0 is 0: whole numbers have no other
  joints = np.concatenate(persons, dtype="<f4") + np.float32(0)
  return _digest(header.encode() + joints.tobytes())


def frames_digest(persons: Sequence[np.ndarray]) -> str:
  """A digest of a clip's frames alone, by which copies are found."""
  return clip_digest("", 0, persons)


def say_copies(copies: Sequence[tuple[int, int]], names: Sequence[str] | np.ndarray) -> str:
  """Clips and what they are copies of, the first few: 'a_1 is b_1, a_2 is b_2, …'."""
  said = [f"{names[row]} is {names[one]}" for row, one in copies[:2]]
  return ", ".join([*said, "…"] if len(copies) > len(said) else said)


def joined_digest(digests: Iterable[str]) -> str:
  """One digest for those of all clips, in their order."""
  return _digest("".join(digests))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
  """In what a data set differs from the one that a run knows, a few words each.

  Args:
    old: `DataSet.identity`, as the run recorded it.
    new: that of the data set here; columns that the run doesn't know change nothing for it.
  """

  def words(name: str) -> str:
    if name in _LOADING:
      return f"{name}: {old[name]} -> {new.get(name)}"
    if name == "clips":
      return "the clips (their joints, lengths, names or labels)"
    return f"the clip table's {name}" if name.startswith("column ") else f"the {name}"

  return [words(name) for name in old if old[name] != new.get(name)]


def is_data_set(path: pathlib.Path) -> bool:
  """Whether a folder looks like what `open_data_set` opens."""
  return any(
    (folder / METADATA).is_file() and (folder / TABLE).is_file()
    for folder in (path, *_versions(path))
  )


def open_data_set(path: str | pathlib.Path) -> DataSet:
  """Opens DATA_DIR/NAME/VERSION, or DATA_DIR/NAME where it holds one version.

      data_set = mst.open_data_set("data/synthetic")
      (persons,) = data_set.read([0])  # of each [frame, joint, channel], at its own length

  Raises:
    DataError: the folder is missing, incomplete, truncated or of a newer format.
  """
  path = _version_folder(pathlib.Path(path))
  files.check_is_text(path)
  try:
    metadata = json.loads((path / METADATA).read_text(encoding="utf-8"))
    if metadata["format"] > FORMAT:
      raise DataError(
        f"{path} has format {metadata['format']}, written by a newer mstgcn-jax; this one reads up "
        f"to {FORMAT}: update it, or prepare the data set again"
      )
    _check_shards(path, metadata["shards"])
    skeleton, rotated = Skeleton.from_dict(metadata["skeleton"]), metadata["rotated"]
    # Earlier versions did not look, and took the arrays of others for centred.
    at_zero = skeleton.center if rotated is None else metadata["center"]
    opened = DataSet(
      path=path,
      skeleton=skeleton,
      joint_at_zero=metadata.get("joint_at_zero", at_zero),
      rotated=rotated,
      num_clips=metadata["num_clips"],
      table_sha256=metadata["table"]["sha256"],
      copies=tuple((int(row), int(first)) for row, first in metadata.get("copies", ())),
      **{field: tuple(metadata[field]) for field in ("class_names", "missing_facts", "shards")},
      **{field: metadata[field] for field in _AS_WRITTEN},
      **{field: metadata[field] for field in _LATER if field in metadata},
    )
    _check(opened)
    return opened
  except (OSError, ValueError, KeyError, TypeError, AttributeError, *_TOO_MUCH) as error:
    raise DataError(
      f"{path} is not a whole prepared data set ({METADATA}: {error!r:.200}); prepare it again "
      "with --overwrite"
    ) from error


def _versions(path: pathlib.Path) -> list[pathlib.Path]:
  return sorted(metadata.parent for metadata in path.glob(f"[0-9]*/{METADATA}"))


def _version_folder(path: pathlib.Path) -> pathlib.Path:
  if (path / METADATA).is_file():
    return path
  if not path.is_dir():
    above = path.parent
    if _versions(above):
      raise DataError(
        f"there is no data set {path}, but {above} is one; the folder of data sets is "
        f"{above.parent}"
      )
    raise DataError(
      f"there is no data set {path}; prepare it: mstgcn prepare SOURCE --raw DIR --out DATA_DIR"
    )
  versions = _versions(path)
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
  """ValueError, or what a wrong type raises, for metadata that would fail later, or not at all."""
  d, said = data_set, data_set.coordinates
  clips = [shard["clips"] for shard in d.shards]
  texts = lambda *values: all(isinstance(value, str) for value in values)
  is_number = lambda value, kinds=(int, float): type(value) in kinds and 0 <= value < math.inf
  is_joint = lambda value: value is None or (is_number(value, (int,)) and value < len(joints))
  joints, picture = d.skeleton.joints, said.get("picture", ())
  holds = {
    "shards": all(is_number(count, (int,)) for count in clips),
    "num_clips": type(d.num_clips) is int and d.num_clips == sum(clips),
    **{field: texts(getattr(d, field)) for field in ("name", "version", "citation")},
    **{field: texts(*getattr(d, field)) for field in ("class_names", "missing_facts")},
    "channels": is_number(d.channels, (int,)) and d.channels > 0,
    "fill": d.fill in ("loop", "zero"),
    **{field: is_joint(getattr(d, field)) for field in ("center", "joint_at_zero")},
    "rotated": d.rotated is None or type(d.rotated) is bool,
    "upward": d.upward in ("", *facing.AXES),
    "by_sum": type(d.by_sum) is bool,
    "scale": is_number(d.scale),
    "columns": set(d.columns.values()) <= {"int", "str"},
    "copies": all(0 <= first < row < d.num_clips for row, first in d.copies),
    "coordinates": texts(*said.get("channels", ()), said.get("units", ""))
    and said.get("up", "") in ("", *facing.AXES)
    and len(picture) in (0, 2)
    and all(is_number(side) and side > 0 for side in picture),
    "reading": all(texts(source, *options) for source, options in d.reading.items()),
  }
  for field, is_so in holds.items():
    if not is_so:
      raise ValueError(f"{field} is {getattr(d, field)!r:.80}")


def _read_table(path: pathlib.Path, columns: dict[str, str]) -> dict[str, np.ndarray]:
  found: list[list[str]] = [[] for _ in columns]
  with path.open(newline="", encoding="utf-8") as file:
    lines = csv.reader(file)
    next(lines, None)
    for row in lines:  # not kept: Python's collector would search a list for each again and again
      for column, value in zip(found, row, strict=True):
        column.append(value)
  # NumPy's own texts take, in every row, the room of the longest.
  texts = lambda column: object if max(map(len, column), default=0) > _LONG else np.str_
  return {
    name: np.array(column, dtype=np.int64 if kind == "int" else texts(column))
    for (name, kind), column in zip(columns.items(), found, strict=True)
  }
