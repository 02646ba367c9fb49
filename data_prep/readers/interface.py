"""What a source of recordings is; `data_prep/sources.py` lists them all.

To add a source, write a module with one function `open_raw(raw, args) -> Recordings` and put
`Source("name", "one line for --help", open_raw)` into the list there. Everything else (worker
processes, progress, --max-bad, the clip table, shards, atomic writing) is done once, in
`data_prep/prepare.py` and `data_prep/shards.py`.

`open_raw` looks at the folder or file given with --raw, quickly: it lists the recordings and says
what they have in common. `Recordings.read` then reads one of them and runs in a worker process: it
must be a top-level function, or a `functools.partial` of one with small arguments.

    def open_raw(raw, args):
      keys = sorted(raw.glob("*.npy"))
      if not keys:
        raise DataError(f"{raw} holds no .npy recording")   # the command adds "SOURCE: " in front
      return Recordings(keys=keys, read=read_clip, skeleton=skeletons.get("ntu_rgbd"),
                        class_names=("wave", "clap"))

    def read_clip(path):
      persons = normalise.cut_together([np.load(path)])
      return Clip(name=path.stem, label=0, persons=persons, facts={"subject": 3})

Readers share: `raw_files` (finding and reading files, published class names), `raw_values` (what is
untracked, finite, a name), `normalise` (turning and cutting), `layouts` (which joints these are),
`exchange` and `tables` (--skeleton, --classes, --as-is, splits, CSVs).

Errors: `open_raw` raises DataError where nothing can be prepared, ConfigError for a wrong option.
`read` raises DataError for a bad recording: it is skipped, counted, listed in the report with the
message as its reason, and is fatal only beyond --max-bad. Any other exception is a bug and stops
the preparation. A clip in which nobody is tracked, `persons=[]` or all zero, is dropped and counted
apart, not bad.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mstgcn_jax import skeletons
from mstgcn_jax.data import normalise
from mstgcn_jax.data.data_set import Persons
from mstgcn_jax.skeletons import Skeleton


@dataclasses.dataclass(frozen=True)
class Clip:
  """One clip as it is stored: every person at its own length, neither looped nor centred.

  Attributes:
    name: unique in the data set, without folder and ending, such as 'S001C003P008R002A058'.
    label: class, counted from 0; -1 where it has none: bad, unless a run is to give it one.
    persons: float32 [frames_m, joint, channel] each, the main person first; zero where untracked.
      Frame t is the same moment for all. Frames in which a person is untracked at its end are cut
      off by `Recordings.as_stored` where fill is 'zero' (they come back as zeros). Where it is
      'loop' the reader must have cut them off, or they loop as if they were part of the clip:
      `normalise.normalise` cuts everybody alone, `normalise.cut_together` where the last person
      ends. A gap inside stays as zeros; who is never tracked is not stored.
    facts: columns of the clip table beside name, label, persons and frames; int or str. The same
      keys for all clips of a data set. Names with a meaning to the protocols: 'subject', 'camera',
      'setup', 'replication' (int), and 'split' ('train', 'val', or '' for neither; further given
      splits are 'split_NAME').
  """

  name: str
  label: int
  persons: Sequence[np.ndarray]
  facts: Mapping[str, int | str] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    object.__setattr__(self, "persons", Persons(self.persons))


@dataclasses.dataclass(frozen=True)
class Coordinates:
  """What the numbers of a joint are, as they are stored; '' or () where the source cannot know.

  Attributes:
    channels: what each is: 'x', 'y', 'z', 'score'.
    units: of x, y, z: 'metres', 'image fractions', 'pixels'.
    up: the axis that points up: 'x', '-x', 'y', '-y', 'z', '-z'.
    picture: width and height in pixels of what fractions are of; () where unknown or not all alike.
  """

  channels: tuple[str, ...] = ()
  units: str = ""
  up: str = ""
  picture: tuple[float, float] | tuple[()] = ()

  def known(self) -> dict[str, Any]:
    """What is known, as `DataSet.coordinates` has it."""
    return {name: value for name, value in dataclasses.asdict(self).items() if value}


METRES_UPRIGHT = Coordinates(("x", "y", "z"), "metres", "z")  # as `normalise.normalise` leaves them
FRACTIONS = Coordinates(("x", "y", "score"), "image fractions", "y")


@dataclasses.dataclass(frozen=True)
class Recordings:
  """The recordings below --raw and what they have in common.

  Attributes:
    keys: one per recording, small and picklable (a path, an index), in the order of the clip table.
    read: key -> Clip; see above.
    skeleton: layout of the joints; a clip with another number of joints is bad.
    class_names: one per label; a label outside is bad.
    channels: coordinates of a joint (a score counts as one).
    fill: what a window beyond a person's last frame shows: 'loop' (the person again from its first
      frame) or 'zero'.
    center: joint of the first person that loading subtracts, frame by frame, from every tracked
      joint; None where the coordinates are to be taken as they are.
    rotated: whether `read` has turned the clip, upright or to the front (`normalise.normalise`);
      None where somebody else has decided that before.
    upward: the recordings' axis about which `read` has turned the clip first, so that it faces the
      camera (`normalise.normalise`); '' where it has not.
    by_sum: whether `read` has turned it as the reference does (`normalise.normalise`).
    storage_scale: coordinates times this are whole numbers in int16, which is then what is stored
      (1000 for three decimals); 0 stores float32. Where a clip turns out not to be exact, all are
      stored as float32.
    coordinates: what the numbers of a joint are; `info` says it, `show` draws by it.
    reading: source -> those of its options, as on the command line, by which a run that was trained
      on these reads recordings of that source.
    citation: of the recordings, as BibTeX.
    published_clips: clips of the published data set; where the number prepared differs, the command
      says by how many. 0 where there is no such number.
    notes: lines to print before the preparation starts: what was chosen, and why.
    warnings: such lines about what may be wrong.
    parallel: False where `read` holds everything in memory (one big file): it then runs in the
      command's own process.
  """

  keys: Sequence[Any]
  read: Callable[[Any], Clip]
  skeleton: Skeleton
  class_names: tuple[str, ...]
  channels: int = 3
  fill: str = "loop"
  center: int | None = None
  rotated: bool | None = False
  upward: str = ""
  by_sum: bool = False
  storage_scale: float = 0
  coordinates: Coordinates = Coordinates()
  reading: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
  citation: str = ""
  published_clips: int = 0
  notes: tuple[str, ...] = ()
  warnings: tuple[str, ...] = ()
  parallel: bool = True

  def as_stored(self, persons: Sequence[np.ndarray]) -> Persons:
    """What a data set stores of the persons that `read` gives; windows depend on their lengths."""
    persons = [np.asarray(person, dtype=np.float32) for person in persons]
    if self.fill == "zero":
      return Persons(normalise.cut_ends(persons))
    return Persons([person for person in persons if person.any()])


def name_of(key: Any) -> str:
  """What a recording is called in messages: its own or its file's name, where it has one."""
  if isinstance(key, tuple):
    return name_of(key[0])
  return str(getattr(key, "name", key))


def upright(layout: str, **fields: Any) -> Recordings:
  """Recordings of a layout in metres, turned by `normalise.normalise`; `fields`: all else."""
  skeleton, kept = skeletons.get(layout), {"rotated": True, "coordinates": METRES_UPRIGHT}
  return Recordings(skeleton=skeleton, center=skeleton.center, **kept, **fields)


@dataclasses.dataclass(frozen=True)
class Source:
  """A source of `mstgcn prepare NAME --raw … --out …`.

  Attributes:
    name: the command's word, and by default the data set's folder.
    help: one line.
    open_raw: (--raw as a path that exists, parsed arguments) -> Recordings. The arguments have
      `unlabelled`, true, where a run is to label the recordings: what labels they have is then of
      no account.
    add_arguments: adds the source's own options, if any, to its parser.
    makes_raw: True where `open_raw` creates what --raw names (the command then does not ask that it
      exists).
    labelled: True where recordings are read only as their set has them, with labels, in its lists
      or names; a run can then label no others.
  """

  name: str
  help: str
  open_raw: Callable[[pathlib.Path, argparse.Namespace], Recordings]
  add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None
  makes_raw: bool = False
  labelled: bool = False
