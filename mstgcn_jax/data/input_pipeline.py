"""Batches of a prepared data set, by tf.data; the only module here that imports TensorFlow.

Batch number s is a pure function of (data set, configuration, seed, s): every epoch has its own
permutation, computed and not remembered, and clips are read at random. So a run that resumes at s
repeats and skips nothing, and P processes see the slices of the batch that one would.

A batch holds the clips' frames once each and as they are stored, and for every clip the numbers of
those that its window shows; `temporal_sampling.expand` makes clips of them, on the device (all of
this in Python would keep threads waiting for each other: benchmarks/README.md).
"""

import atexit
import contextlib
import functools
import os
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np

from mstgcn_jax import words
from mstgcn_jax.data import temporal_sampling
from mstgcn_jax.data.data_set import DataSet
from mstgcn_jax.data.temporal_sampling import Sampling
from mstgcn_jax.errors import ConfigError, DataError, first_line

Batch = dict[str, np.ndarray]

THREADS = 4  # each with a batch in the making
_PREFETCH = 4  # batches ready
_FOREVER = np.iinfo(np.int64).max


def steps_per_epoch(num_clips: int, batch_size: int) -> int:
  """Training batches in a pass over the clips; the last partial one is dropped."""
  steps = num_clips // batch_size
  if not steps:
    raise ConfigError(
      f"{words.counted(num_clips, 'training clip')} cannot fill one batch of {batch_size}; "
      "make batch_size smaller or use more clips"
    )
  return steps


def train_batches(
  data_set: DataSet,
  indices: Sequence[int] | np.ndarray,
  sampling: Sampling,
  *,
  batch_size: int,
  seed: int,
  first_step: int = 0,
  process_index: int = 0,
  process_count: int = 1,
  shares: int = 1,
) -> Iterator[Batch]:
  """Training batches from number `first_step` on, without end.

  Args:
    data_set: an opened data set.
    indices: rows of its clip table that train.
    sampling: how a clip becomes the window (`DataSet.sampling`); people beyond it are left out,
      missing ones are zero.
    batch_size: clips in the global batch; this process gets its share of every batch.
    seed: of the permutations and of random sampling.
    first_step: number of the first batch.
    process_index: which slice of the batch.
    process_count: slices; divides batch_size.
    shares: devices that a slice is divided among; each gets the frames of its clips.
  Yields:
    frames: [shares x frame, joint, channel], as stored; every share of every process has as many,
      with some to spare, so that they are of few different numbers.
    shown: int32 [clip, person, window], numbers of the share's frames, or UNTRACKED.
    origin: float32 [clip, channel], factor: float32 [clip], where `sampling` asks for them
      (`temporal_sampling.placement`).
    label: int32 [clip]; index: int32 [clip], rows of the clip table.
  """
  pack = _packer(data_set, sampling, batch_size, process_index, process_count, shares)
  indices, s = np.asarray(indices, dtype=np.int64), sampling
  steps = steps_per_epoch(len(indices), batch_size)

  @functools.lru_cache(maxsize=2)
  def permutation(epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(indices)

  def batch(step: int) -> Batch:
    epoch, number = divmod(step, steps)

    def times(place: int, persons: Sequence[np.ndarray]) -> np.ndarray:
      rng = None if s.kind == "loop" else np.random.default_rng([seed, step, place])
      return temporal_sampling.sample_times(persons, s.window, s.kind, s.fill, rng)

    return pack(permutation(epoch)[number * batch_size :][:batch_size], times)

  return _batches(data_set, sampling, range(first_step, _FOREVER), batch)


def eval_batches(
  data_set: DataSet,
  indices: Sequence[int] | np.ndarray,
  sampling: Sampling,
  *,
  batch_size: int,
  process_index: int = 0,
  process_count: int = 1,
  shares: int = 1,
) -> Iterator[Batch]:
  """Every clip exactly once a view, in the order of `indices`; scores of a clip's views are meant
  to be averaged, by `index`. Arguments as of `train_batches`.

  Yields:
    As `train_batches`, and valid: bool [clip], False where the last batch is filled up (such rows
    show nobody and have label 0 and index -1). All processes get the same number of batches.
  """
  s, views = sampling, sampling.views
  pack = _packer(data_set, sampling, batch_size, process_index, process_count, shares)
  rows = np.repeat(np.asarray(indices, dtype=np.int64), views)

  def batch(step: int) -> Batch:
    start = step * batch_size

    def times(place: int, persons: Sequence[np.ndarray]) -> np.ndarray:
      view = (start + place) % views
      return temporal_sampling.sample_times(
        persons, s.window, s.kind, s.fill, view=view, views=views
      )

    arrays = pack(rows[start : start + batch_size], times)
    return arrays | {"valid": arrays["index"] >= 0}

  num_batches = -(-len(rows) // batch_size)
  return _batches(data_set, sampling, range(num_batches), batch, valid=np.bool_)


def _share(batch_size: int, process_count: int, shares: int) -> int:
  for parts, name in ((process_count, "processes"), (process_count * shares, "devices")):
    if batch_size < 1 or batch_size % parts:
      raise ConfigError(
        f"batch_size={batch_size} cannot be divided among {parts} {name}; "
        f"expected a positive multiple of {parts}"
      )
  return batch_size // process_count


def _packer(
  data_set: DataSet,
  sampling: Sampling,
  batch_size: int,
  process_index: int,
  process_count: int,
  shares: int,
) -> Callable[[np.ndarray, Callable], Batch]:
  """Function of (rows of the whole batch, times of the clip in a place of it) that makes this
  process's slice; rows that fill it up show nobody and have label 0 and index -1."""
  local = _share(batch_size, process_count, shares)
  table, window, num_persons = data_set.table, sampling.window, sampling.num_persons
  placement = lambda persons: temporal_sampling.placement(
    persons, sampling, data_set.channels, data_set.scale
  )
  most = np.minimum(table["persons"], num_persons) * np.minimum(table["frames"], window)
  joint_shape = (data_set.skeleton.num_joints, data_set.channels)
  first, each = process_index * local, local // shares

  def pack(rows: np.ndarray, times: Callable[[int, Sequence[np.ndarray]], np.ndarray]):
    # All processes have to come to the same size, so they all look at the whole batch.
    size = _round_up(np.add.reduceat(most[rows], range(0, len(rows), each)).max())
    frames = np.zeros((shares, size, *joint_shape), data_set.stored_type)
    shown = np.full((local, num_persons, window), temporal_sampling.UNTRACKED, np.int32)
    label, index = np.zeros(local, np.int32), np.full(local, -1, np.int32)
    rows = rows[first : first + local]
    label[: len(rows)], index[: len(rows)] = table["label"][rows], rows
    clips = data_set.read_stored(rows)
    placed = [placement(persons) for persons in clips + [[]] * (local - len(clips))]
    for share in range(-(-len(clips) // each)):
      parts, used = [frames[share, :0]], 0
      for i, persons in enumerate(clips[share * each :][:each], share * each):
        persons = persons[:num_persons]
        at = times(first + i, persons)
        selected = temporal_sampling.select(persons, at, sampling.fill, used, shown[i])
        parts += selected
        used += sum(map(len, selected))
      # Once, not clip by clip: it lets go of Python's lock, and getting it back takes long.
      np.concatenate(parts, out=frames[share, :used])
    placed = {name: np.stack([one[name] for one in placed]) for name in placed[0]}
    frames = frames.reshape(-1, *joint_shape)
    return {"frames": frames, "shown": shown, "label": label, "index": index, **placed}

  return pack


def _round_up(count: int) -> int:
  """To one of four numbers between two powers of 2: every other shape has to be compiled."""
  step = 1 << max(0, int(count).bit_length() - 3)
  return max(1, -(-int(count) // step) * step)


def _batches(
  data_set: DataSet,
  sampling: Sampling,
  steps: range,
  batch: Callable[[int], Batch],
  **types: np.typing.DTypeLike,
) -> Iterator[Batch]:
  """Runs `batch` ahead of the caller, in threads, in order; `types` are those of its arrays beside
  what `_packer` makes."""
  tf = tensorflow()
  # Imports what reading needs and opens the files, here: two threads that first import something
  # at the same time can wait for each other for ever.
  data_set.read_stored([0])
  placed = temporal_sampling.placement([], sampling, data_set.channels)
  types |= {"frames": data_set.stored_type, **dict.fromkeys(placed, np.float32)}
  types |= dict.fromkeys(("shown", "label", "index"), np.int32)
  failures: list[DataError] = []  # TensorFlow makes a page of text of them

  def numpy_batch(step: np.ndarray) -> tuple[np.ndarray, ...]:
    try:
      arrays = batch(int(step))
      return tuple(arrays[name] for name in types)
    except DataError as error:
      failures.append(error)
      raise

  def load(step):
    arrays = tf.numpy_function(numpy_batch, [step], list(types.values()), stateful=False)
    return dict(zip(types, arrays, strict=True))

  data = tf.data.Dataset.range(steps.start, steps.stop)
  data = data.map(load, num_parallel_calls=THREADS, deterministic=True)
  batches = _as_numpy(data.prefetch(_PREFETCH), failures)
  _open_iterators.add(batches)
  return batches


@functools.cache
def tensorflow() -> Any:
  """TensorFlow, quiet, with the accelerator left to JAX, all of whose memory it would take.

  Imported, before others import it, when it is asked for: that takes seconds, which labelling a
  clip does without.
  """
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # keep its notes off the screen
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  import tensorflow as tf

  with contextlib.suppress(RuntimeError):  # of a program that has used TensorFlow on it before
    tf.config.set_visible_devices([], "GPU")
  atexit.register(_close_iterators)  # after TensorFlow's own, so that it runs before them
  return tf


_open_iterators: weakref.WeakSet[Generator[Batch, None, None]] = weakref.WeakSet()


def _close_iterators() -> None:
  """Ends tf.data's threads, which would crash the interpreter when it ends below them."""
  for batches in tuple(_open_iterators):
    batches.close()


def _as_numpy(data: Any, failures: list[DataError]) -> Generator[Batch, None, None]:
  try:
    yield from data.as_numpy_iterator()
  except tensorflow().errors.OpError as error:
    if failures:
      raise failures[0] from error
    raise DataError(f"reading the data set failed: {first_line(error)}") from error
