"""Experiment configuration: the defaults, how a file and overrides become a config, validation.

Files in `configs/` start from `default()` and change what their experiment needs. The sections
`model`, `optimizer` and `augment` are the fields of `ModelConfig`, `OptimizerConfig` and
`Augmentation`, which document and validate them.
"""

import dataclasses
import importlib.util
import json
import pathlib
from typing import Any

from ml_collections import ConfigDict, config_dict

from mstgcn_jax import streams
from mstgcn_jax.augment import Augmentation
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.model import ModelConfig
from mstgcn_jax.optimizer import OptimizerConfig

# Fields of ModelConfig that come from the data, not from the experiment.
_FROM_DATA = ("num_classes", "skeleton", "num_persons", "in_channels")
# Fields that may change when a run is resumed; all others change the mathematics.
_FREE = (
  "data.dir",
  "epochs",
  "eval_batch_size",
  "eval_every",
  "save_every_steps",
  "early_stopping",
  "seeds",
  "stream_devices",
  "profile_steps",
  "heartbeat_timeout",
  "allow_config_change",
)


def default() -> ConfigDict:
  """The published recipe on NTU RGB+D 60, cross-view, joint stream."""
  c = ConfigDict()
  c.seed = 0
  c.seeds = ()  # e.g. (0, 1, 2): one run a seed, below WORKDIR/seed_N, and their mean
  c.epochs = 110
  c.batch_size = 32  # of a step, over all devices and micro-batches
  c.eval_batch_size = 64
  c.streams = ("joint",)  # several: trained side by side on one reading of the data
  c.label_smoothing = 0.0
  c.mixup = 0.0  # α of Beta(α, α); 0 is off

  c.data = ConfigDict()
  c.data.dir = "data"
  c.data.name = "ntu60"
  c.data.protocol = "xview"
  c.data.holdout_subjects = ()  # of the training split: kept out, evaluated apart
  c.data.window = 300  # frames that the model sees
  c.data.num_persons = 2
  c.data.sampling = "loop"
  c.data.views = 1  # clips drawn from each recording in evaluation, scores averaged
  c.data.normalize = False  # per channel and joint, by the training split's mean and deviation

  c.model = _section(ModelConfig, skip=_FROM_DATA)
  c.optimizer = _section(OptimizerConfig)
  c.augment = _section(Augmentation)

  c.init_from = ""  # a workdir whose newest parameters to start from …
  c.init_ignore = ()  # … but for those whose path contains one of these, e.g. ('classifier',)
  c.eval_every = 1  # epochs; the last is always evaluated
  c.save_every_steps = 0  # besides the checkpoint after every evaluation
  c.early_stopping = 0  # evaluations without a new best after which to end; 0 never ends early
  c.stream_devices = 0  # devices a stream; 0 gives every stream all devices, in turn
  c.profile_steps = 0  # steps to trace (from the 10th on) for TensorBoard's profile tab
  c.heartbeat_timeout = 100  # seconds after which a lost process ends the others
  c.allow_config_change = False  # resume although the mathematics changed
  return c


def _section(cls, skip: tuple[str, ...] = ()) -> ConfigDict:
  section = ConfigDict()
  for field in dataclasses.fields(cls):
    if field.name in skip:
      continue
    # ml_collections types a field by its value; those that default to None need it said.
    kind = {"blocks": tuple, "attention": str}.get(field.name)
    section[field.name] = config_dict.placeholder(kind) if kind else field.default
  return section


def load(path: str | pathlib.Path) -> ConfigDict:
  """The config that a file's `get_config()` returns.

  Raises:
    ConfigError: the file is missing or has no `get_config`.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise ConfigError(f"config file {path} does not exist")
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if not hasattr(module, "get_config"):
    raise ConfigError(f"config file {path} has no function get_config()")
  return module.get_config()


def read(path: str | pathlib.Path) -> ConfigDict:
  """The resolved config that a run wrote into its workdir as JSON."""
  saved = default()
  with saved.ignore_type():
    saved.update(_as_tuples(json.loads(pathlib.Path(path).read_text())))
  return saved


def write(config: ConfigDict, path: str | pathlib.Path) -> None:
  """Writes a resolved config as JSON."""
  pathlib.Path(path).write_text(json.dumps(config.to_dict(), indent=2) + "\n")


def _as_tuples(value: Any) -> Any:
  if isinstance(value, dict):
    return {k: _as_tuples(v) for k, v in value.items()}
  if isinstance(value, list | tuple):
    return tuple(_as_tuples(v) for v in value)
  return value


def model_config(config: ConfigDict, **facts: Any) -> ModelConfig:
  """The config's model for data of the given skeleton, num_classes and in_channels.

  Facts that are not given are those of NTU RGB+D 60.
  """
  channels = streams.num_channels(config.streams[0], facts.pop("in_channels", 3))
  facts = {"num_classes": 60, "skeleton": "ntu_rgbd"} | facts
  return ModelConfig(
    **_options(config.model), **facts, num_persons=config.data.num_persons, in_channels=channels
  )


def optimizer_config(config: ConfigDict) -> OptimizerConfig:
  """The config's optimiser."""
  return OptimizerConfig(**_options(config.optimizer))


def augmentation(config: ConfigDict) -> Augmentation:
  """The config's augmentation."""
  return Augmentation(**_options(config.augment))


def _options(section: ConfigDict) -> dict[str, Any]:
  return _as_tuples(section.to_dict())


def validate(config: ConfigDict) -> None:
  """Raises ConfigError for the first field whose value cannot be used."""
  for field in ("epochs", "batch_size", "eval_batch_size", "eval_every"):
    if config[field] < 1:
      raise ConfigError(f"{field} is {config[field]}; it must be at least 1")
  for field in ("window", "num_persons", "views"):
    if config.data[field] < 1:
      raise ConfigError(f"data.{field} is {config.data[field]}; it must be at least 1")
  if isinstance(config.streams, str) or not config.streams:
    raise ConfigError(f"streams is {config.streams!r}; give a tuple such as ('joint', 'bone')")
  for name in config.streams:
    if name not in streams.STREAMS:
      raise ConfigError(f"streams contains {name!r}; allowed: {', '.join(streams.STREAMS)}")
  if len({streams.num_channels(name, 3) for name in config.streams}) > 1:
    raise ConfigError(f"streams {config.streams} differ in channels; train them in runs apart")
  if not 0 <= config.label_smoothing < 1:
    raise ConfigError(f"label_smoothing is {config.label_smoothing}; it must lie in [0, 1)")
  if config.mixup < 0:
    raise ConfigError(f"mixup is {config.mixup}; it must not be negative")
  model_config(config)
  optimizer_config(config)
  augmentation(config)


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
  """The fields in which two configs describe another computation, one line each.

  Paths, intervals, devices and (unless the learning rate depends on it) the number of epochs
  are left out.
  """
  flat_old, flat_new = flatten(old.to_dict()), flatten(new.to_dict())
  free = [f for f in _FREE if not (f == "epochs" and new.optimizer.schedule == "cosine")]
  return [
    f"{name}: {flat_old.get(name)!r} -> {flat_new.get(name)!r}"
    for name in sorted(flat_old | flat_new)
    if name not in free and flat_old.get(name) != flat_new.get(name)
  ]


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
  """A nested dict as one level, its keys joined by dots."""
  flat = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      flat |= flatten(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = _as_tuples(value)
  return flat
