"""What a config describes, made concrete: data, split, model, task and devices."""

import contextlib
import dataclasses
import functools
import logging
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from mstgcn_jax import skeletons, words
from mstgcn_jax.data import input_pipeline, protocols, streams, temporal_sampling
from mstgcn_jax.data.augment import Augmentation
from mstgcn_jax.data.data_set import DataSet, open_data_set
from mstgcn_jax.data.temporal_sampling import Sampling
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.model import ModelConfig, abstract_network, make_network, own
from mstgcn_jax.model.config import own_code
from mstgcn_jax.training import checkpoints, device_batches, own_parts, train_step
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training.train_step import Batch
from mstgcn_jax.training.workdir import RunFacts

_log = logging.getLogger("mstgcn_jax")


@dataclasses.dataclass(frozen=True)
class Split:
  """Rows of the clip table: trained on, reported on, held out of training."""

  train: np.ndarray
  eval: np.ndarray
  holdout: np.ndarray


@dataclasses.dataclass(frozen=True)
class Experiment:
  """A config and all that follows from it and its data set.

  Attributes:
    sampling: how a clip becomes the windows that the network sees.
    abstract: the network without its values (`abstract_network`).
    meshes: stream -> the devices that it sits on.
  """

  config: ConfigDict
  data_set: DataSet
  sampling: Sampling
  split: Split
  model_config: ModelConfig
  abstract: nnx.Module
  task: train_step.Task
  meshes: dict[str, Mesh]

  def facts(self) -> RunFacts:
    """What a workdir says of its run."""
    return RunFacts(
      model=self.model_config,
      class_names=tuple(self.data_set.class_names),
      streams=tuple(self.task.streams),
      sampling=self.sampling,
      joint_at_zero=self.data_set.joint_at_zero,
      rotated=self.data_set.rotated,
      scored="score" in self.data_set.coordinates.get("channels", ()),
      upward=self.data_set.upward,
      by_sum=self.data_set.by_sum,
      units=self.data_set.coordinates.get("units", ""),
      picture=tuple(self.data_set.coordinates.get("picture", ())),
      reading=self.data_set.reading,
      data_name=self.data_set.name,
      data_identity=self.data_set.identity,
      code=own_parts.digest(own_parts.modules(self.model_config)),
      loss_code=own_parts.digest([own.module_of(self.config.loss)]),
    )

  def stale_code(self) -> list[str]:
    """Modules of one's own whose files are no longer what was imported, a line each."""
    return [
      f"the file of {name} has changed since it was imported, and what was imported is used; "
      f"importlib.reload({name}), or a new process, takes the file"
      for name in own.changed(own_parts.modules(self.model_config, self.config.loss))
    ]

  def abstract_states(self) -> dict[str, train_step.TrainState]:
    """stream -> shapes, types and shardings of its state, without computing it."""
    _, params, batch_stats = train_step.split_model(self.abstract)
    init = functools.partial(train_step.init_state, self.task, seed=0)
    state = jax.eval_shape(init, params, batch_stats)
    if self.config.data.normalize:
      shape = (self.task.skeleton.num_joints, self.model_config.in_channels)
      one = jax.ShapeDtypeStruct(shape, np.float32)
      state = state.replace(normalization={"mean": one, "std": one})

    def on(mesh: Mesh) -> train_step.TrainState:
      whole = NamedSharding(mesh, PartitionSpec())
      return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), state)

    return {name: on(mesh) for name, mesh in self.meshes.items()}

  def initial_states(self) -> dict[str, train_step.TrainState]:
    """stream -> its state before the first step, on its devices; equal seeds, equal weights."""
    config = self.config
    model = make_network(self.model_config, rngs=nnx.Rngs(config.seed))
    _, *fresh = train_step.split_model(model)
    states = {}
    for name, mesh in self.meshes.items():
      params, batch_stats = fresh
      if config.init_from:
        params, batch_stats = checkpoints.warm_start(
          config.init_from, name, *fresh, ignore=config.init_ignore
        )
      state = train_step.init_state(self.task, params, batch_stats, seed=config.seed)
      if config.data.normalize:
        state = state.replace(normalization=self._normalization(name))
      states[name] = train_step.replicate(mesh, state)
    return states

  def train_batches(
    self, first_step: int, *, fields: tuple[str, ...] = ("label",)
  ) -> Iterator[dict[Mesh, Batch]]:
    """Endless training batches on the devices of each mesh, from step `first_step` on: clips and
    label, or what else `fields` names of label and index."""
    batches = input_pipeline.train_batches(
      self.data_set,
      self.split.train,
      self.sampling,
      batch_size=self.config.batch_size,
      seed=self.config.seed,
      first_step=first_step,
      **self._reading(),
    )
    return self._on_devices(batches, fields)

  def eval_batches(self, rows: np.ndarray) -> Iterator[dict[Mesh, Batch]]:
    """Batches that cover these rows of the clip table once a view, on the devices of each mesh:
    clips, index and valid."""
    views, devices = self.sampling.views, jax.device_count()
    all_at_once = -(-len(rows) * views // devices) * devices
    batches = input_pipeline.eval_batches(
      self.data_set,
      rows,
      self.sampling,
      batch_size=min(self.config.eval_batch_size, all_at_once),
      **self._reading(),
    )
    return self._on_devices(batches, ("index", "valid"))

  def _on_devices(self, batches, fields: tuple[str, ...]) -> Iterator[dict[Mesh, Batch]]:
    scale, center = self.data_set.scale, self.data_set.center
    return device_batches.on_devices(
      batches, fields, self.meshes.values(), scale=scale, center=center
    )

  def _reading(self) -> dict[str, Any]:
    return {
      "process_index": jax.process_index(),
      "process_count": jax.process_count(),
      "shares": next(iter(self.meshes.values())).size // jax.process_count(),
    }

  def _normalization(self, stream: str) -> dict[str, np.ndarray]:
    """Mean and deviation of a stream per joint and channel, over what is tracked in training."""
    all_clips = words.counted(len(self.split.train), "training clip")
    _log.info("data.normalize: reading %s for the mean and deviation of %s …", all_clips, stream)
    total = square = count = np.float64(0)
    batches = input_pipeline.eval_batches(
      self.data_set,
      self.split.train,
      dataclasses.replace(self.sampling, kind="loop", views=1),
      batch_size=self.config.eval_batch_size,
    )
    scale, center = self.data_set.scale, self.data_set.center
    expand = jax.jit(functools.partial(temporal_sampling.expand, scale=scale, center=center))
    skeleton = self.task.skeleton
    for batch in batches:
      windows = {k: batch[k] for k in temporal_sampling.EXPANDED if k in batch}
      clips = np.asarray(expand(**windows))[batch["valid"]]
      seen = skeletons.tracked(clips, self.task.center)[..., None]
      x = np.asarray(streams.apply(clips, stream, skeleton.bone_parents), np.float64) * seen
      total = total + x.sum((0, 1, 2))
      square = square + (x**2).sum((0, 1, 2))
      count = count + seen.sum((0, 1, 2))
    mean = total / np.maximum(count, 1)
    variance = square / np.maximum(count, 1) - mean**2
    # What never changes has none, but for the rounding of the sums.
    variance = np.where(variance < 1e-12 * mean**2, 0, variance)
    return {"mean": np.float32(mean), "std": np.float32(np.sqrt(variance))}


def set_up(
  config: ConfigDict, *, train: bool = True, data_set: DataSet | None = None
) -> Experiment:
  """Opens the data and derives model, task and devices from a config.

  Args:
    train: False where nothing will be trained, so that training clips need not fill a batch.
    data_set: instead of the one that the config names.
  Raises:
    ConfigError, DataError: config and data don't fit each other, or one of them is wrong.
  """
  config_lib.validate(config)
  if data_set is None:
    data_set = open_data_set(pathlib.Path(config.data.dir) / config.data.name)
  sampling = make_sampling(config, data_set)
  split = make_split(config, data_set)
  model_config = config_lib.model_config(
    config,
    skeleton=data_set.skeleton,
    num_classes=len(data_set.class_names),
    channels=data_set.channels,
  )
  if own_code(model_config):
    abstract = own_parts.network(model_config, sampling.window)
  else:
    abstract = abstract_network(model_config)
  steps_per_epoch = _steps_per_epoch(config, len(split.train)) if train else 0
  loss = train_step.cross_entropy
  if train and config.loss:
    loss = own_parts.loss(config.loss, abstract, model_config, sampling.window)
  optimizer = config_lib.optimizer_config(config)
  task = train_step.Task(
    graphdef=train_step.split_model(abstract)[0],
    random_streams=train_step.random_streams(abstract),
    skeleton=data_set.skeleton,
    center=data_set.joint_at_zero,
    num_classes=model_config.num_classes,
    streams=tuple(config.streams),
    augmentation=_augmentation(config, data_set),
    optimizer=optimizer,
    steps_per_epoch=steps_per_epoch,
    # Where it is all the same, a longer run compiles to the same step.
    epochs=config.epochs if optimizer.knows_its_end else 0,
    batch_size=config.batch_size,
    label_smoothing=config.label_smoothing,
    mixup=config.mixup,
    loss=loss,
  )
  meshes = place_streams(config.streams, config.stream_devices)
  for mesh in meshes.values():
    if train:
      check_divisible("batch_size", config.batch_size, mesh, task.optimizer.accumulate)
      if config.mixup and mesh.size > 1 and config.batch_size % (2 * mesh.size):
        raise ConfigError(
          f"batch_size is {config.batch_size}; mixup blends pairs of clips that are on one of "
          f"{mesh.size} devices; take a multiple of {2 * mesh.size}"
        )
    check_divisible("eval_batch_size", config.eval_batch_size, mesh)
  return Experiment(config, data_set, sampling, split, model_config, abstract, task, meshes)


def _steps_per_epoch(config: ConfigDict, clips: int) -> int:
  """Of this many training clips; ConfigError where a step's number would not fit 32 bits."""
  one_pass = input_pipeline.steps_per_epoch(clips, config.batch_size)
  steps = max(one_pass, config.min_steps_per_epoch)
  counts = {"epochs": config.epochs, "optimizer.warmup_epochs": config.optimizer.warmup_epochs}
  for field, epochs in counts.items():
    if steps * epochs >= 2**31:
      raise ConfigError(f"{field} is {epochs}: more than 2**31 steps; take fewer")
  return steps


def _augmentation(config: ConfigDict, data_set: DataSet) -> Augmentation:
  """The config's, as these clips allow it; ConfigError where it takes a score for a coordinate."""
  count, names = data_set.num_coordinates, data_set.coordinates.get("channels", ())
  fitted = config_lib.augmentation(config).fitted(count, data_set.skeleton)
  if names and fitted.openpose_match and "score" not in names:
    raise ConfigError(
      "augment.openpose_match follows people by their scores, but the channels of "
      f"{data_set.name} are {', '.join(names)}"
    )
  if names and fitted.dimensions > count and fitted.changes_coordinates:
    raise ConfigError(
      f"augment.dimensions is {fitted.dimensions}, but the channels of {data_set.name} are "
      f"{', '.join(names)}; set it to {count}, or to 0 for what the clips allow"
    )
  return fitted


def make_sampling(config: ConfigDict, data_set: DataSet) -> Sampling:
  """How the config says that this data set's clips become windows."""
  data = config.data
  return data_set.sampling(
    data.window,
    data.num_persons,
    data.sampling,
    data.views,
    origin=data.center,
    body_size=data.body_size,
  )


def data_set_of(workdir: str | pathlib.Path) -> DataSet | None:
  """The data set that a run's config names, seen from the folder that this program runs in.

  None where it is not there, or the run has no config.
  """
  with contextlib.suppress(ConfigError, DataError):
    data = config_lib.read(pathlib.Path(workdir) / "config.json").data
    return open_data_set(pathlib.Path(data.dir) / data.name)
  return None


def make_split(config: ConfigDict, data_set: DataSet) -> Split:
  """The config's protocol, its held-out training subjects set apart."""
  train, evaluated = protocols.split(data_set, config.data.protocol)
  if not len(train) or not len(evaluated):
    raise ConfigError(
      f"data.protocol {config.data.protocol!r} gives {len(train)} training and {len(evaluated)} "
      f"evaluation clips of {len(data_set)}; both are needed"
    )
  held = np.zeros(len(train), bool)
  if wanted := tuple(config.data.holdout_subjects):
    subjects = data_set.column("subject")[train]
    held = np.isin(subjects, wanted)
    if not np.isin(wanted, subjects).all() or held.all():
      raise ConfigError(
        f"data.holdout_subjects {wanted} would hold out {held.sum()} of {len(train)} training "
        f"clips; the training subjects are {np.unique(subjects).tolist()}"
      )
  return Split(train[~held], evaluated, train[held])


def place_streams(names: tuple[str, ...], devices_each: int) -> dict[str, Mesh]:
  """stream -> mesh: all devices for every stream, or `devices_each` apart for each in turn."""
  devices = jax.devices()
  if not devices_each:
    return dict.fromkeys(names, train_step.make_mesh(devices))
  if jax.process_count() > 1:
    raise ConfigError("stream_devices places streams within one process; this run has several")
  if len(devices) % devices_each:
    raise ConfigError(f"stream_devices is {devices_each}; it must divide {len(devices)} devices")
  starts = range(0, len(devices), devices_each)
  meshes = [train_step.make_mesh(devices[i : i + devices_each]) for i in starts]
  return {name: meshes[i % len(meshes)] for i, name in enumerate(names)}


def check_divisible(field: str, batch_size: int, mesh: Mesh, accumulate: int = 1) -> None:
  """Raises ConfigError unless the batch can be split over devices and micro-batches."""
  parts = mesh.size * accumulate
  if batch_size % parts:
    raise ConfigError(
      f"{field} is {batch_size}, which cannot be split evenly over {mesh.size} device(s)"
      + (f" and {accumulate} micro-batches" if accumulate > 1 else "")
      + f"; take a multiple of {parts}"
    )
