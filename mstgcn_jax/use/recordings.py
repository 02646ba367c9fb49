"""Recordings to be classified: any file, folder or pipe that a reader of data_prep takes.

A recording needs no label here. Files that are a recording each are read as they are, whatever they
are called; other sources are opened as for a preparation.
"""

import argparse
import contextlib
import dataclasses
import functools
import io
import pathlib
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from data_prep import raw_files, raw_values
from data_prep.readers import kinetics, ntu, utd_mhad
from data_prep.readers.interface import FRACTIONS, Recordings, name_of
from data_prep.sources import SOURCES
from mstgcn_jax import skeletons, words
from mstgcn_jax.data import normalise
from mstgcn_jax.data.data_set import Persons, is_data_set
from mstgcn_jax.errors import ConfigError, DataError, of_numpy
from mstgcn_jax.skeletons import Skeleton
from mstgcn_jax.use import json_frames

_UNLABELLED = "unlabelled"  # the class of a source that insists on one
_LABELLED = (  # what sources say that read labelled recordings only, where they find nothing
  ". This source reads recordings as its set has them, with labels; joints of others can be given "
  "as a .npy array"
)
_NUMPY = b"\x93NUMPY"


@dataclasses.dataclass(frozen=True)
class Recording:
  """Who is seen in a recording.

  Attributes:
    name: without folder and ending.
    persons: [frame, joint, channel] each, the main person first: `Persons`, as the source's data
      sets store them, or a list of what was recorded.
    recorded: the same people where frame t is the same moment for all, not to be taken for stored.
    turned: whether `recorded`, too, have been or may have been turned: the source gives no others.
    skeleton: layout of the joints; None where the file does not say.
    rotated: whether `persons` have been turned; None where somebody else may have done so.
    coordinates: what the numbers of `recorded` are, as `DataSet.coordinates`; empty where the file
      does not say.
  """

  name: str
  persons: Sequence[np.ndarray]
  recorded: Sequence[np.ndarray]
  skeleton: Skeleton | None = None
  rotated: bool | None = False
  coordinates: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  turned: bool = False


@dataclasses.dataclass(frozen=True)
class Found:
  """The recordings that were found, each read when it is asked for.

  Attributes:
    read: one function per recording; DataError says what is wrong with it.
    notes: what was chosen in reading them, one line each.
  """

  read: Sequence[Callable[[], Recording]]
  notes: tuple[str, ...] = ()


@contextlib.contextmanager
def find(
  path: str | pathlib.Path,
  source: str | None = None,
  options: Sequence[str] = (),
  stdin: BinaryIO | None = None,
  picture: tuple[float, ...] = (),
  reading: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Found]:
  """The recordings in a file or folder, or the one that comes from a pipe.

  Args:
    path: '-' reads `stdin`: an array as .npy, or one JSON line per frame (`json_frames`).
    source: of data_prep; None recognises files by their ending.
    options: of that source, as on the command line of its preparation.
    picture: width and height in pixels of what key points are in, where neither the files nor the
      options say; () leaves it to the source to find one that holds them.
    reading: source -> options that hold where `options` do not say otherwise (`RunFacts.reading`).
  Raises:
    ConfigError: an unknown source, or a wrong option of it.
    DataError: nothing is there, or it is of no known kind.
  """
  if source is not None and source not in SOURCES:
    raise ConfigError(
      f"--source {source!r} is unknown{words.did_you_mean(source, SOURCES)}; known: "
      f"{', '.join(SOURCES)}"
    )
  if str(path) == "-":
    if stdin is None:
      raise ConfigError("'-' stands for standard input, which is not read here")
    if source is not None or options:
      raise ConfigError(
        "--source and its options are of files; from standard input comes an array, or JSON lines"
      )
    yield Found([functools.partial(read_pipe, stdin)])
    return
  path = _existing(pathlib.Path(path))
  below = list(raw_files.walk(path)) if path.is_dir() else [path]
  readers = _readers(path, below, source)
  if readers and not options:
    read = [functools.partial(_read_plain, reader, file) for file, reader in readers.items()]
    yield Found(read, () if source else _left_out(set(below) - readers.keys()))
    return
  name = source or _source_of(path, below)
  if SOURCES[name].makes_raw:
    raise ConfigError(f"{name} makes its recordings; leave its options out to read those there are")
  hint = "" if source else "; --source NAME says what it is otherwise"
  with contextlib.ExitStack() as stack:
    given = [*(reading or {}).get(name, ()), *options]
    try:
      recordings = _open(path, name, given, picture, stack)
    except (ConfigError, DataError) as error:
      raise type(error)(f"{str(error).replace('--raw ', '')}{hint}") from error
    if not len(recordings.keys):
      raise DataError(f"{path} holds no recording")
    read = [functools.partial(_read_of_source, recordings, key) for key in recordings.keys]
    yield Found(read, (*recordings.notes, *recordings.warnings))


def _existing(path: pathlib.Path) -> pathlib.Path:
  if not path.exists():
    raise DataError(f"{path} does not exist; expected a recording, or a folder of them")
  if is_data_set(path):
    raise DataError(
      f"{path} is a prepared data set; expected a recording, or a folder of them. mstgcn evaluate "
      "writes what a run says of a data set's clips (--data, --data-name, --protocol all), mstgcn "
      "explain takes one"
    )
  return path


# --- files that are a recording each

_Reader = Callable[[pathlib.Path], Recording]


def _turned(read: Callable[[pathlib.Path], list[np.ndarray]], layout: str) -> _Reader:
  """A reader of bodies as recorded, whose data sets are turned as the reference turns them."""

  def reader(path: pathlib.Path) -> Recording:
    bodies, skeleton = read(path), skeletons.get(layout)
    persons = Persons(normalise.normalise(bodies, skeleton, by_sum=True))
    return Recording(path.stem, persons, bodies, skeleton, rotated=True)

  return reader


def _read_kinetics(path: pathlib.Path) -> Recording:
  persons = kinetics.read_persons(path)
  skeleton, coordinates = skeletons.get("kinetics"), FRACTIONS.known()
  stored = Persons(normalise.cut_ends(persons))  # as `kinetics.open_raw`'s fill is 'zero'
  return Recording(path.stem, stored, persons, skeleton, coordinates=coordinates)


def _read_array(path: pathlib.Path) -> Recording:
  return _from_array(path.stem, raw_files.map_npy(path))


def _from_array(name: str, array: np.ndarray) -> Recording:
  """Own joints [(person,) frame, joint, channel]; NaN is untracked."""
  if array.ndim not in (3, 4) or 0 in array.shape:
    raise DataError(
      f"the array has the shape {array.shape}; expected [frame, joint, channel] or "
      "[person, frame, joint, channel]"
    )
  joints = array[None] if array.ndim == 3 else array
  persons = list(raw_values.as_float32(raw_values.without_nan(joints)))
  return Recording(name, persons, persons)


_PLAIN: dict[str, _Reader] = {
  ".skeleton": _turned(ntu.read_bodies, "ntu_rgbd"),
  ".mat": _turned(utd_mhad.read_bodies, "utd_mhad"),
  ".npy": _read_array,
  ".json": _read_kinetics,
}
# Sources whose files are such, and the ending that is theirs.
_PLAIN_SOURCES = {
  **dict.fromkeys(("ntu60", "ntu120", "synthetic"), ".skeleton"),
  "utd_mhad": ".mat",
  "own": ".npy",
  "kinetics": ".json",
}


def _readers(
  path: pathlib.Path, below: Sequence[pathlib.Path], source: str | None
) -> dict[pathlib.Path, _Reader]:
  """Who reads those files at or below `path` that are a recording each, of a source if named."""
  if source is None:
    return {
      file: _PLAIN[ending]
      for file in below
      if (ending := file.suffix.lower()) in _PLAIN and (ending != ".json" or _is_kinetics(file))
    }
  if (ending := _PLAIN_SOURCES.get(source)) is None:
    return {}
  is_one = lambda name: name.endswith(ending) and not name.endswith(kinetics.LABELS)
  files = [file for file in below if path.is_file() or is_one(file.name.lower())]
  if not files:
    raise DataError(f"{path} holds no {ending} file, which {source} reads")
  return dict.fromkeys(files, _PLAIN[ending])


def _left_out(others: Iterable[pathlib.Path]) -> tuple[str, ...]:
  """A line to print where a folder holds recordings of other kinds, too."""
  kinds = _BY_ENDING.keys() - {".csv", ".txt"}
  ours = ("skeleton.json", "synthetic.json")  # which lie beside recordings
  others = sorted(f for f in others if f.suffix.lower() in kinds and f.name not in ours)
  if not others:
    return ()
  some = words.counted(len(others), "file")
  return (f"warning: {some} of other kinds left out, such as {others[0]}; --source reads them",)


def _is_kinetics(path: pathlib.Path) -> bool:
  """Whether a JSON file is a clip of Kinetics-skeleton, by how it begins."""
  with contextlib.suppress(OSError, UnicodeDecodeError):
    with path.open(encoding="utf-8") as file:
      start = file.read(200)
    return '"data"' in start and '"frame_index"' in start
  return False


def _read_plain(reader: _Reader, path: pathlib.Path) -> Recording:
  try:
    return reader(path)
  except DataError as error:
    text = str(error)
    raise DataError(text if str(path) in text else f"{path}: {text}") from error


# --- sources that are opened as for a preparation


# Of files that are no recording each.
_BY_ENDING = {".pkl": "pyskl"} | dict.fromkeys(
  (".json", ".jsonl", ".txt", ".csv", ".npz", ".npy"), "poses"
)


def _source_of(path: pathlib.Path, below: Sequence[pathlib.Path]) -> str:
  """The source that reads files of these endings; DataError where none does."""
  if not below:
    raise DataError(f"{path} is an empty folder; expected a recording, or a folder of them")
  found = {_BY_ENDING.get(file.suffix.lower(), "") for file in below}
  if path.suffix.lower() == ".npz":
    # zipfile raises many kinds on what is no whole archive, which is then read as any other's
    with contextlib.suppress(Exception), zipfile.ZipFile(path) as archive:
      found = {"ctrgcn" if "x_test.npy" in archive.namelist() else "poses"}
  if len(found) == 1 and (name := min(found)):
    return name
  if "poses" in found:
    return "poses"
  kinds = ", ".join(sorted(_PLAIN))
  raise DataError(
    f"{path} is no recording whose kind is known by its ending ({kinds}, .pkl, .npz); say what it "
    f"is with --source, one of {', '.join(SOURCES)}"
  )


def _open(
  path: pathlib.Path,
  name: str,
  options: Sequence[str],
  picture: tuple[float, ...],
  stack: contextlib.ExitStack,
) -> Recordings:
  """A source's recordings at `path`, or at a folder of one class around it, where it asks for one.

  Args:
    stack: removes that folder, which holds a link to `path`.
  """
  source = SOURCES[name]
  parser = argparse.ArgumentParser(prog=f"options of --source {name}", add_help=False)
  source.add_arguments(parser)
  args = parser.parse_args(options)
  args.usual_picture, args.unlabelled = picture or None, True
  try:
    return source.open_raw(path, args)
  except DataError as error:
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    (folder / _UNLABELLED).mkdir()
    (folder / _UNLABELLED / path.name).symlink_to(path.absolute())
    try:
      # What it warns of is of a data set: of classes, above all.
      return dataclasses.replace(source.open_raw(folder, args), warnings=())
    except (ConfigError, DataError) as other:
      # A folder may be one of classes, of which the first error speaks.
      says = str(other if path.is_file() or isinstance(other, ConfigError) else error)
      for ours in (folder / _UNLABELLED / path.name, folder):
        says = says.replace(str(ours), str(path))
      says = says.replace(f"{_UNLABELLED}/", "")
      hint = _LABELLED if source.labelled else ""
      raise DataError(f"{name}: {says}{hint}") from other


def _read_of_source(recordings: Recordings, key: Any) -> Recording:
  try:
    clip = recordings.read(key)
  except DataError as error:
    name, text = name_of(key).removeprefix(f"{_UNLABELLED}/"), str(error)
    raise DataError(text if text.startswith(name) else f"{name}: {text}") from error
  name = clip.name.removeprefix(f"{_UNLABELLED}/")
  stored = recordings.as_stored(clip.persons)
  # Who is never tracked is in neither.
  recorded = stored if recordings.fill == "loop" else clip.persons
  return Recording(
    name,
    stored,
    list(recorded),
    recordings.skeleton,
    recordings.rotated,
    recordings.coordinates.known(),
    turned=recordings.rotated is not False,
  )


# --- pipes


def read_pipe(stdin: BinaryIO) -> Recording:
  """The recording of standard input, called '-': a .npy array, or one JSON line per frame."""
  data = stdin.read()
  if data.startswith(_NUMPY):
    try:
      array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # numpy raises many kinds on damaged headers
      said = of_numpy(error)
      raise DataError(f"standard input is no whole .npy array of numbers{said}") from error
    if array.dtype.kind not in "iuf":
      raise DataError("standard input holds no array of numbers")
    return _from_array("-", array)
  frames = list(json_frames.frames_of(data.splitlines()))
  if not frames:
    raise DataError("standard input is empty; expected a .npy array, or one JSON line per frame")
  return _from_array("-", json_frames.stack_frames(frames))
