"""Batches of a prepared data set, by tf.data; the only module here that imports TensorFlow.

Batch number s is a pure function of (data set, configuration, seed, s): every epoch has its own
permutation, computed and not remembered, and clips are read at random. So a run that resumes at s
repeats and skips nothing, and P processes see the slices of the batch that one would.
"""

import atexit
import functools
import os
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # keep its notes off the screen
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
import tensorflow as tf

from mstgcn_jax import temporal_sampling
from mstgcn_jax.data_set import DataSet
from mstgcn_jax.errors import ConfigError, DataError, first_line

Batch = dict[str, np.ndarray]

_PARALLEL = 4  # batches in the making
_PREFETCH = 4  # batches ready
_FOREVER = np.iinfo(np.int64).max


def steps_per_epoch(num_clips: int, batch_size: int) -> int:
  """Training batches an epoch; the last partial one is dropped."""
  steps = num_clips // batch_size
  if not steps:
    raise ConfigError(
      f"{num_clips} training clips do not fill one batch of {batch_size}; "
      "make batch_size smaller or use more clips"
    )
  return steps


def train_batches(
  data_set: DataSet,
  indices: Sequence[int],
  *,
  batch_size: int,
  window: int,
  num_persons: int,
  sampling: str = "loop",
  seed: int,
  first_step: int = 0,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[Batch]:
  """Training batches from number `first_step` on, without end.

  Args:
    data_set: an opened data set.
    indices: rows of its clip table that train.
    batch_size: clips in the global batch; this process gets its share of every batch.
    window: frames the model sees.
    num_persons: people the model sees; further ones are left out, missing ones are zero.
    sampling: one of `temporal_sampling.SAMPLINGS`.
    seed: of the permutations and of random sampling.
    first_step: number of the first batch.
    process_index: which slice of the batch.
    process_count: slices; divides batch_size.
  Yields:
    clips: float32 [clip, person, frame, joint, channel]; label: int32 [clip];
    index: int32 [clip], rows of the clip table.
  """
  _check(window, num_persons, sampling)
  local = _share(batch_size, process_count)
  indices = np.asarray(indices, dtype=np.int64)
  steps = steps_per_epoch(len(indices), batch_size)
  labels = data_set.table["label"]

  @functools.lru_cache(maxsize=2)
  def permutation(epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(indices)

  def batch(step: int) -> tuple[np.ndarray, ...]:
    epoch, number = divmod(step, steps)
    first = process_index * local
    start = number * batch_size + first
    rows = permutation(epoch)[start : start + local]
    clips = _empty(data_set, local, num_persons, window)
    for i, persons in enumerate(data_set.read(rows)):
      rng = None if sampling == "loop" else np.random.default_rng([seed, step, first + i])
      temporal_sampling.sample(persons, sampling, data_set.fill, data_set.center, clips[i], rng)
    return clips, labels[rows].astype(np.int32), rows.astype(np.int32)

  return _batches(range(first_step, _FOREVER), batch, {"label": tf.int32, "index": tf.int32})


def eval_batches(
  data_set: DataSet,
  indices: Sequence[int],
  *,
  batch_size: int,
  window: int,
  num_persons: int,
  sampling: str = "loop",
  views: int = 1,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[Batch]:
  """Every clip exactly once a view, in the order of `indices`; scores of a clip's views are meant
  to be averaged, by `index`.

  Args:
    views: windows a clip is seen through, by `sampling`; with 'loop' they would all be the same, so
      there is one.
    Otherwise as `train_batches`.
  Yields:
    As `train_batches`, and valid: bool [clip], False where the last batch is filled up (such rows
    have zero clips and labels, and index -1). All processes get the same number of batches.
  """
  _check(window, num_persons, sampling, views)
  local = _share(batch_size, process_count)
  rows_of = np.repeat(np.asarray(indices, dtype=np.int64), views)
  labels = data_set.table["label"]

  def batch(step: int) -> tuple[np.ndarray, ...]:
    start = step * batch_size + process_index * local
    rows = rows_of[start : start + local]
    clips = _empty(data_set, local, num_persons, window)
    for i, persons in enumerate(data_set.read(rows)):
      view = (start + i) % views
      temporal_sampling.sample(
        persons, sampling, data_set.fill, data_set.center, clips[i], view=view, views=views
      )
    clips[len(rows) :] = 0
    label, index = np.zeros(local, np.int32), np.full(local, -1, np.int32)
    label[: len(rows)], index[: len(rows)] = labels[rows], rows
    return clips, label, index, np.arange(local) < len(rows)

  num_batches = -(-len(rows_of) // batch_size)
  types = {"label": tf.int32, "index": tf.int32, "valid": tf.bool}
  return _batches(range(num_batches), batch, types)


def _check(window: int, num_persons: int, sampling: str, views: int = 1) -> None:
  temporal_sampling.check(sampling, views)
  for name, value in (("window", window), ("num_persons", num_persons)):
    if value < 1:
      raise ConfigError(f"{name}={value}: expected 1 or more")


def _share(batch_size: int, process_count: int) -> int:
  if batch_size < 1 or batch_size % process_count:
    raise ConfigError(
      f"batch_size={batch_size} cannot be divided among {process_count} processes; "
      f"expected a positive multiple of {process_count}"
    )
  return batch_size // process_count


def _empty(data_set: DataSet, clips: int, persons: int, window: int) -> np.ndarray:
  shape = (clips, persons, window, data_set.skeleton.num_joints, data_set.channels)
  return np.empty(shape, np.float32)


def _batches(
  steps: range, batch: Callable[[int], tuple[np.ndarray, ...]], types: dict[str, tf.DType]
) -> Iterator[Batch]:
  """Runs `batch` ahead of the caller, in threads, in order; its first array is the clips."""
  tf.config.set_visible_devices([], "GPU")  # the accelerator belongs to JAX
  types = {"clips": tf.float32, **types}
  failures: list[DataError] = []  # TensorFlow makes a page of text of them

  def numpy_batch(step: np.ndarray) -> tuple[np.ndarray, ...]:
    try:
      return batch(int(step))
    except DataError as error:
      failures.append(error)
      raise

  def load(step: tf.Tensor) -> dict[str, tf.Tensor]:
    arrays = tf.numpy_function(numpy_batch, [step], list(types.values()), stateful=False)
    return dict(zip(types, arrays, strict=True))

  data = tf.data.Dataset.range(steps.start, steps.stop)
  data = data.map(load, num_parallel_calls=_PARALLEL, deterministic=True)
  batches = _as_numpy(data.prefetch(_PREFETCH), failures)
  _open_iterators.add(batches)
  return batches


_open_iterators: weakref.WeakSet[Generator[Batch, None, None]] = weakref.WeakSet()


@atexit.register
def _close_iterators() -> None:
  """Ends tf.data's threads, which would crash the interpreter when it ends below them."""
  for batches in tuple(_open_iterators):
    batches.close()


def _as_numpy(data: tf.data.Dataset, failures: list[DataError]) -> Generator[Batch, None, None]:
  try:
    yield from data.as_numpy_iterator()
  except tf.errors.OpError as error:
    if failures:
      raise failures[0] from error
    raise DataError(f"reading the data set failed: {first_line(error)}") from error
