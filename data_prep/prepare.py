"""Recordings to a prepared data set, in worker processes; it appears whole or not at all.

Everything is written into a hidden folder beside the final one, read back, compared with what was
meant, and then takes the final name: a preparation that is killed leaves nothing that opens, and
the next one clears it away.
"""

import argparse
import collections
import dataclasses
import functools
import itertools
import math
import multiprocessing
import os
import pathlib
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import tqdm

from data_prep import raw_values, shards
from data_prep.readers.interface import Clip, Recordings, Source, name_of
from mstgcn_jax import files as whole_files
from mstgcn_jax import words
from mstgcn_jax.data import data_set
from mstgcn_jax.errors import ConfigError, DataError

_CHUNK = 16  # recordings per task of a worker
_FILES = (data_set.METADATA, data_set.TABLE, data_set.REPORT)  # one at least is in a data set
_SHARD = ".array_record"
_FEW = 1000  # up to so many recordings, all are tried before giving up over bad ones
_NOBODY = "nobody is tracked"
_SHOWN = 5  # bad recordings printed
_SECONDS_BETWEEN_LINES = 30.0


@dataclasses.dataclass(frozen=True)
class _Bad:
  """A recording left out, and why."""

  name: str
  reason: str

  def __str__(self) -> str:
    return f"{self.name}: {self.reason}"


def prepare(source: Source, args: argparse.Namespace) -> None:
  """Writes args.out/args.name/VERSION from the recordings in args.raw; says what it did.

  A data set that exists is left as it is unless args.overwrite.

  Raises:
    ConfigError: wrong usage.
    DataError: nothing can be read, too much is bad, or the disk refuses.
  """
  if not re.fullmatch(r"[a-z][a-z0-9_]*", args.name):
    raise ConfigError(f"--name {args.name!r}: expected small letters, digits and _, as in my_clips")
  if not source.makes_raw and not args.raw.exists():
    raise DataError(f"--raw {args.raw} does not exist; expected the recordings")
  whole_files.check_is_text(args.out)
  folder = args.out / args.name
  target = folder / shards.VERSION
  try:
    with whole_files.only_writer(folder):
      _put_back(target)
      _check_ours(target)
      if target.exists() and not args.overwrite:
        opened = _open_existing(target)
        clips = words.counted(len(opened), "clip")
        print(
          f"{args.name}: {target} is there already ({clips}); left as it is, "
          "--overwrite prepares it again"
        )
        return
      recordings = source.open_raw(args.raw, args)
      _check_class_names(recordings.class_names)
      for note in recordings.notes:
        _say(f"{args.name}: {note}")
      for warning in recordings.warnings:
        _say(f"{args.name}: warning: {warning}")
      _prepare(recordings, target, args)
  except BrokenProcessPool as error:
    raise DataError(
      "a worker process was ended from outside (out of memory?); try fewer --workers. "
      "Nothing was written."
    ) from error
  except OSError as error:
    at = f" {error.filename}" if error.filename else ""
    raise DataError(f"{error.strerror or error}{at}. Nothing was written.") from error


def _prepare(recordings: Recordings, target: pathlib.Path, args: argparse.Namespace) -> None:
  started = time.monotonic()
  temporary = target.with_name(f".{target.name}.incomplete")
  try:
    try:
      summary, table = _write(recordings, temporary, args)
    except shards.InexactError as error:
      _say(f"{args.name}: {error}; starting again, storing float32")
      recordings = dataclasses.replace(recordings, storage_scale=0)
      summary, table = _write(recordings, temporary, args)
    _compare(temporary, table)
    _move(temporary, target)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
  seconds = time.monotonic() - started
  print(f"{args.name}: {summary}, {seconds:.0f} s: {target}")


def _compare(folder: pathlib.Path, table: shards.Table) -> None:
  """DataError unless the data set in `folder` opens and holds the clips and the table meant."""
  try:
    written = data_set.open_data_set(folder)
    columns = [column.tolist() for column in written.table.values()]
    if list(zip(*columns, strict=True)) != table.rows:
      raise DataError(f"{data_set.TABLE} reads otherwise than it was written")
    found_and_meant = zip(written.clip_digests(), table.digests, strict=True)
    for row, (found, meant) in enumerate(_bar(found_and_meant, len(table.rows), "reading back")):
      if found != meant:
        raise DataError(f"the shards hold another clip than {table.rows[row][0]} in its place")
  except (DataError, ValueError) as error:  # a ValueError: other numbers of columns or clips
    raise DataError(
      f"what was written cannot be read back ({error}): a fault of the disk, the memory or this "
      "program. Nothing was kept."
    ) from error


def _check_class_names(names: Sequence[str]) -> None:
  for i, name in enumerate(names):
    if not raw_values.is_name(name) or name in names[:i]:
      raise DataError(f"class {i} is named {name!r}; names must be printable and different")


def _open_existing(target: pathlib.Path) -> data_set.DataSet:
  try:
    return data_set.open_data_set(target)
  except DataError as error:
    raise DataError(f"{target} is there already, but damaged ({error})") from error


def _check_ours(target: pathlib.Path) -> None:
  """DataError where something else than a data set, even a damaged one, would be overwritten."""
  if not target.is_dir():
    found = [target] if target.exists() else []
  else:
    found = sorted(target.iterdir())
  if found and not any(path.name in _FILES or _SHARD in path.name for path in found):
    raise DataError(
      f"{target} is no data set, but holds {found[0].name}, and would be replaced by one: move it "
      "away, or give another --out or --name"
    )


def _old(target: pathlib.Path) -> pathlib.Path:
  return target.with_name(f".{target.name}.replaced")


def _put_back(target: pathlib.Path) -> None:
  """Ends what a preparation that was killed while replacing `target` had begun."""
  old = _old(target)
  if old.exists() and not target.exists():
    old.rename(target)
  shutil.rmtree(old, ignore_errors=True)
  shutil.rmtree(target.with_name(f".{target.name}.incomplete"), ignore_errors=True)


def _move(temporary: pathlib.Path, target: pathlib.Path) -> None:
  old = _old(target)
  try:
    if target.exists():
      target.rename(old)
    temporary.rename(target)
  except BaseException:  # Ctrl-C, too
    _put_back(target)
    raise
  _sync(target.parent)
  shutil.rmtree(old, ignore_errors=True)


def _sync(path: pathlib.Path) -> None:
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _bar(items: Iterable[Any], total: int, title: str) -> Iterator[Any]:
  """The items, with a progress bar on a terminal, elsewhere a plain line now and then."""
  bar = tqdm.tqdm(total=total, desc=title, unit=" recordings", disable=None)
  said = time.monotonic()
  with bar:
    for done, item in enumerate(items, 1):
      yield item
      bar.update()
      if bar.disable and time.monotonic() - said > _SECONDS_BETWEEN_LINES:
        said = time.monotonic()
        _say(f"{title}: {done:,} of {total:,} recordings")


def _say(line: str) -> None:
  tqdm.tqdm.write(line, file=sys.stderr)


# --- reading, in worker processes


def _read_chunk(recordings: Recordings, keys: Sequence[Any]) -> list[Clip | _Bad]:
  return [_read_one(recordings, key) for key in keys]


def _read_one(recordings: Recordings, key: Any) -> Clip | _Bad:
  try:
    clip = recordings.read(key)
    _check(clip, recordings)
    return dataclasses.replace(clip, persons=recordings.as_stored(clip.persons))
  except DataError as error:
    return _Bad(name_of(key), str(error))


def _check(clip: Clip, recordings: Recordings) -> None:
  joints, classes = recordings.skeleton.num_joints, len(recordings.class_names)
  if clip.label == -1:
    raise DataError("it has no label; expected a name, or a number from 0")
  if not 0 <= clip.label < classes:
    raise DataError(f"label {clip.label} is outside 0..{classes - 1}")
  for person in clip.persons:
    if person.shape[1:] != (joints, recordings.channels):
      raise DataError(
        f"a person has the shape {person.shape}; expected (frames, {joints}, "
        f"{recordings.channels}): the joints of skeleton {recordings.skeleton.name} and their "
        "channels"
      )
    raw_values.check_finite(person)


def _start_worker() -> None:
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command's own process ends the pool
  parent = multiprocessing.parent_process()

  def follow_parent():  # a killed command leaves no workers behind
    parent.join()
    os._exit(1)

  threading.Thread(target=follow_parent, daemon=True).start()


def _read_all(recordings: Recordings, workers: int) -> Iterator[Clip | _Bad]:
  """All recordings in the order of their keys; a bounded number is in memory."""
  keys = recordings.keys
  workers = min(workers, -(-len(keys) // _CHUNK)) if recordings.parallel else 1
  if workers == 1:
    yield from (_read_one(recordings, key) for key in keys)
    return
  read = functools.partial(_read_chunk, dataclasses.replace(recordings, keys=()))
  chunks = iter(range(0, len(keys), _CHUNK))
  with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker) as pool:
    pending: collections.deque = collections.deque()
    try:
      while True:
        for start in itertools.islice(chunks, 4 * workers - len(pending)):
          pending.append(pool.submit(read, keys[start : start + _CHUNK]))
        if not pending:
          return
        yield from pending.popleft().result()
    finally:
      pool.shutdown(wait=True, cancel_futures=True)


# --- writing


def _write(
  recordings: Recordings, folder: pathlib.Path, args: argparse.Namespace
) -> tuple[str, shards.Table]:
  """Writes the whole data set into `folder`; a line that says what is in it, and its table."""
  shutil.rmtree(folder, ignore_errors=True)
  folder.mkdir(parents=True)
  features = shards.features(recordings)
  table = shards.Table(recordings)
  left_out: list[_Bad] = []
  bad: list[_Bad] = []  # of these, all but the empty ones
  total = len(recordings.keys)
  too_many = lambda: 100 * len(bad) > args.max_bad * total  # a quotient might be rounded down
  with shards.Shards(folder, compress=bool(recordings.storage_scale)) as files:
    for clip in _bar(_read_all(recordings, args.workers), total, args.name):
      if isinstance(clip, Clip) and not any(len(person) for person in clip.persons):
        left_out.append(_Bad(clip.name, _NOBODY))
        continue
      if isinstance(clip, Clip) and (reason := table.refuses(clip)):
        clip = _Bad(clip.name, reason)
      if isinstance(clip, _Bad):
        left_out.append(clip)
        bad.append(clip)
        if too_many() and total > _FEW:
          break
      else:
        files.add(shards.serialize(clip, features, recordings.storage_scale))
        table.add(clip)
  if too_many():
    raise DataError(_too_many_bad(bad, total, args))
  if not table.rows:
    raise DataError(_no_clip(bad, total, args))
  shard_infos = files.finish(args.name)
  table.write(folder / data_set.TABLE)
  shards.write_csv(
    folder / data_set.REPORT, ("name", "reason"), [dataclasses.astuple(one) for one in left_out]
  )
  shards.write_metadata(recordings, features, folder, args.name, shard_infos, table)
  for path in folder.iterdir():
    _sync(path)
  _sync(folder)
  _say_what_is_odd(recordings, table, left_out, args.name)
  size = sum(info["bytes"] for info in shard_infos) / 1e6
  notes = f" ({len(bad):,} bad and {len(left_out) - len(bad):,} without a body left out)"
  summary = f"{words.counted(len(table.rows), 'clip')}, {size:,.1f} MB{notes if left_out else ''}"
  return summary, table


def _no_clip(bad: Sequence[_Bad], total: int, args: argparse.Namespace) -> str:
  if not bad:
    why = f"{_NOBODY} in any of {total:,} recordings"
  else:
    why = f"{len(bad):,} of {total:,} recordings could not be read (first: {bad[0]})"
    why += f", and {_NOBODY} in the others" if len(bad) < total else ""
  return f"{args.raw} holds no clip: {why}. Nothing was written."


def _too_many_bad(bad: Sequence[_Bad], total: int, args: argparse.Namespace) -> str:
  some = "at least " if total > _FEW else ""
  enough = "" if some else f"; --max-bad {math.ceil(100 * len(bad) / total)} would leave them out"
  return (
    f"{some}{len(bad):,} of {total:,} recordings in {args.raw} could not be read (first: {bad[0]})."
    f" Nothing was written; --max-bad {args.max_bad:g} allows {args.max_bad:g} %{enough}."
  )


def _say_what_is_odd(
  recordings: Recordings, table: shards.Table, left_out: Sequence[_Bad], name: str
) -> None:
  """Lines on what was left out, a number of clips that is not the published one, and copies."""
  for one in left_out[:_SHOWN]:
    _say(f"{name}: left out {one}")
  if len(left_out) > _SHOWN:
    _say(f"{name}: … all {len(left_out):,} are listed in {data_set.REPORT}")
  more = len(table.rows) - recordings.published_clips
  if recordings.published_clips and more:
    _say(
      f"{name}: warning: {words.counted(len(table.rows), 'clip')}, {abs(more):,} "
      f"{'more' if more > 0 else 'fewer'} than the published {recordings.published_clips:,}"
    )
  if table.copies:
    said = data_set.say_copies(table.copies, [row[0] for row in table.rows])
    copies = words.counted(len(table.copies), "clip")
    _say(f"{name}: warning: {copies} with the frames of an earlier one ({said})")
