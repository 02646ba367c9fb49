"""Experiment configuration: the defaults, how a file and overrides become a config, validation.

Files in `configs/` start from `default()` and change what their experiment needs. The sections
`model`, `optimizer` and `augment` are the fields of `ModelConfig`, `OptimizerConfig` and
`Augmentation`, which document and validate them.
"""

import ast
import dataclasses
import functools
import math
import pathlib
import shlex
import types
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict, config_dict

from mstgcn_jax import files, words
from mstgcn_jax.data import streams, temporal_sampling
from mstgcn_jax.data.augment import Augmentation
from mstgcn_jax.errors import ConfigError, DataError, first_line, line_in
from mstgcn_jax.model import ModelConfig
from mstgcn_jax.model.config import own_code, published_blocks, published_fields
from mstgcn_jax.skeletons import Skeleton, plain
from mstgcn_jax.training.optimizer import OptimizerConfig

# Fields of ModelConfig that come from the data, not from the experiment.
_FROM_DATA = ("num_classes", "skeleton", "num_persons", "in_channels")
# Fields that may be None; ml_collections types a field by its value, so their type has to be said.
_MAY_BE_NONE = {
  **dict.fromkeys(("model.blocks", "model.branches"), tuple),
  **dict.fromkeys(("model.width", "model.embedding"), int),
  **dict.fromkeys(("model.attention", "model.block_type", "model.edge_weights"), str),
  **dict.fromkeys(("model.graph", "model.input_norm", "model.strategy"), str),
}
_KINDS = {
  bool: "true or false",
  int: "a whole number",
  float: "a number",
  str: "text",
  tuple: "several values, such as (1, 2)",
}
# Fields that may change when a run is resumed; all others change the mathematics.
_FREE = (
  "data.dir",
  "model.remat",
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
  c.seeds = ()  # e.g. (0, 1, 2): one run per seed, below WORKDIR/seed_N, and their mean
  c.epochs = 110
  c.min_steps_per_epoch = 0  # an epoch of few clips passes through them until it has so many steps
  c.batch_size = 32  # of a step, over all devices and micro-batches
  c.eval_batch_size = 64
  c.streams = ("joint",)  # several: trained side by side on one reading of the data
  c.loss = ""  # 'package.module:function' of your own; '' is the cross-entropy
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
  c.data.center = "frame"  # "first_frame": the way that people go stays in the clip
  c.data.body_size = False  # scale everybody to one size; both do nothing where nothing is centred
  c.data.normalize = False  # per channel and joint, by the training split's mean and deviation

  c.model = _section("model", ModelConfig, skip=_FROM_DATA)
  c.optimizer = _section("optimizer", OptimizerConfig)
  c.augment = _section("augment", Augmentation)

  c.init_from = ""  # a workdir whose newest parameters to start from …
  c.init_ignore = ()  # … but for those whose path contains one of these, e.g. ('classifier',)
  c.eval_every = 1  # epochs; the last is always evaluated
  c.save_every_steps = 0  # besides the checkpoint after every evaluation
  c.early_stopping = 0  # evaluations without a new best after which to end; 0 never ends early
  c.stream_devices = 0  # devices per stream; 0 gives every stream all devices, in turn
  c.profile_steps = 0  # steps to trace (behind the first 10) for TensorBoard's profile tab
  c.heartbeat_timeout = 100  # seconds after which a lost process ends the others
  c.allow_config_change = False  # resume although recipe or data changed
  return c.lock()  # a mistyped field is an error, not a new one


def _section(name: str, cls, skip: tuple[str, ...] = ()) -> ConfigDict:
  section = ConfigDict()
  for field in dataclasses.fields(cls):
    if field.name in skip:
      continue
    kind = _MAY_BE_NONE.get(f"{name}.{field.name}")
    section[field.name] = config_dict.placeholder(kind) if kind else field.default
  return section


def shipped() -> dict[str, pathlib.Path]:
  """Name -> file of the configs that come with the package, or with a checkout of it."""
  package = pathlib.Path(__file__).parents[1]
  folder = next((f for f in (package / "configs", package.parent / "configs") if f.is_dir()), None)
  return {path.stem: path for path in sorted(folder.glob("*.py"))} if folder else {}


def load(path: str | pathlib.Path, changes: Sequence[tuple[str, str]] = ()) -> ConfigDict:
  """The config that a file's `get_config()` returns, or that a run has left as config.json.

  Args:
    path: the file, or the name of a shipped one, such as 'ntu_joint'.
    changes: fields to set in it and the texts typed for them, as of `override`.
  Raises:
    ConfigError: the file is missing, is neither, fails, or has no `get_config`; a config.json names
      code that `changes` do not name, too; or a change is wrong.
    DataError: as `read`.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    name, known = str(path), shipped()
    if name not in known:
      if path.is_dir():
        of_run = path / "config.json"
        hint = f", or {of_run}" if of_run.is_file() else ""
        raise ConfigError(f"config file {path} is a folder; name the Python file (.py){hint}")
      named = path.with_name(f"{path.name}.py")
      hint = f"; did you mean {named}?" if named.is_file() else words.did_you_mean(path.stem, known)
      raise ConfigError(f"config file {path} does not exist, nor one of that name here{hint}")
    path = known[name]
  if path.suffix not in (".py", ".json"):
    raise ConfigError(
      f"config file {path} is no Python file (.py), as those in configs/ are, nor a run's "
      "config.json"
    )
  if path.suffix == ".py":
    config = _run(path)
  else:
    config = read(path)
    config.allow_config_change = False  # was said of resuming that run, not of others
  for name, text in changes:
    override(config, name, text)
  if path.suffix == ".json":
    of_model = own_code(config.model)
    named = "model.network" if of_model == config.model.network else "model.block_type"
    for field, code in ((named, of_model), ("loss", config.loss)):
      if code and (field, code) not in changes:
        raise ConfigError(
          f"{path} names code of its own, {code!r}; if you trust it, say so by {typed(field, code)}"
        )
  return config


def name_of(path: str | pathlib.Path) -> str:
  """What a config is called: as its file, or as the workdir whose config.json it is."""
  path = pathlib.Path(path).absolute()
  return path.parent.name if path.name == "config.json" else path.stem


def _run(path: pathlib.Path) -> ConfigDict:
  """What `get_config()` of a Python file returns."""
  module = types.ModuleType(path.stem)
  module.__file__ = str(path.absolute())
  try:
    # Not imported: Python would take its bytecode of a text as long that was there in this second.
    exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), vars(module))
    if not hasattr(module, "get_config"):
      raise ConfigError(f"config file {path} has no function get_config()")
    config = module.get_config()
  except (ConfigError, DataError):
    raise
  except Exception as error:  # whatever the user's file raises
    place = line_in(error, (str(path),)) or path
    message = " ".join(str(error).split())
    raise ConfigError(f"config file {place}: {type(error).__name__}: {message}") from error
  if not isinstance(config, ConfigDict):
    raise ConfigError(f"config file {path}: get_config() returns {config!r}, not a config")
  try:
    _check_fields(flatten(config.to_dict()))
  except ConfigError as error:
    raise ConfigError(f"config file {path}: {error}") from None
  return config


def override(config: ConfigDict, name: str, text: str) -> None:
  """Sets the field of a dotted name to what was typed for it: --config.NAME=TEXT.

  What `typed` gives comes back as it was. Several values may also be typed without quotes and
  brackets: joint,bone.

  Raises:
    ConfigError: there is no such field, or the text is no value of its type.
  """
  if inside := [field for field in _kinds() if field.startswith(f"{name}.")]:
    raise ConfigError(f"{name} is a section; set a field of it, such as --config.{inside[0]}=…")
  kind = _kind(name)
  value: Any = text
  if name in _MAY_BE_NONE and text.lower() == "none":
    value = None
  elif kind is bool:
    value = {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
  elif kind is tuple:
    value = _several(text)
  elif kind is not str:
    value = _literal(text)
  config.update_from_flattened_dict({name: _fitting(name, value)})


def typed(name: str, value: Any) -> str:
  """How a field is typed in a shell: --config.seed=0, --config.streams="('joint',)"."""
  text = f'"{value!r}"' if isinstance(value, tuple) else shlex.quote(str(value))
  return f"--config.{name}={text}"


def _several(text: str) -> tuple:
  value = _literal(text)
  if isinstance(value, tuple | list):
    return plain(value)
  if value != text:
    return (value,)
  parts = text.strip().removeprefix("(").removesuffix(")").split(",")
  return tuple(_literal(part.strip()) for part in parts if part.strip())


def _literal(text: str) -> Any:
  """The Python value that a text spells, or the text itself where it spells none."""
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError, RecursionError, MemoryError):
    return text


@functools.cache
def _kinds() -> dict[str, type]:
  fields = flatten(default().to_dict())
  return {name: _MAY_BE_NONE.get(name) or type(value) for name, value in fields.items()}


def _kind(name: str) -> type:
  """The type of a field; ConfigError where there is none of that name."""
  if name not in _kinds():
    raise ConfigError(f"no such field: {name}{words.did_you_mean(name, _kinds())}")
  return _kinds()[name]


def _fitting(name: str, value: Any) -> Any:
  """The value as the field's type; ConfigError where it is of another one, or no field."""
  kind = _kind(name)
  if kind is float and type(value) is int and abs(value) < 1e308:
    return float(value)
  if type(value) is not kind and not (value is None and name in _MAY_BE_NONE):
    none = " or None" if name in _MAY_BE_NONE else ""
    raise ConfigError(f"{name} is {value!r}; it must be {_KINDS[kind]}{none}")
  return value


def read(path: str | pathlib.Path) -> ConfigDict:
  """The resolved config that a run wrote into its workdir as JSON.

  What is set up by it imports the code of its own that it names: of somebody else's run take
  `load`, which refuses such.

  Raises:
    DataError: it is missing or damaged, or of another version of this project.
  """
  content = files.read_json(pathlib.Path(path))
  saved = default()
  try:
    for name, value in flatten(content).items():
      saved.update_from_flattened_dict({name: _fitting(name, value)})
  except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
    message = f"{path} is damaged, or no config of this version ({first_line(error)})"
    raise DataError(message) from error
  return saved


def write(config: ConfigDict, path: str | pathlib.Path) -> None:
  """Writes a resolved config as JSON."""
  files.write_json(pathlib.Path(path), config.to_dict())


def model_config(
  config: ConfigDict,
  *,
  num_classes: int = 60,
  skeleton: Skeleton | str = "ntu_rgbd",
  channels: int = 3,
) -> ModelConfig:
  """The config's model for data of this kind; by default that of NTU RGB+D 60.

  Args:
    channels: of a joint; the stream may double them.
  """
  return ModelConfig(
    **_options(config.model),
    num_classes=num_classes,
    skeleton=skeleton,
    num_persons=config.data.num_persons,
    in_channels=streams.num_channels(config.streams[0], channels),
  )


def from_model(model: ModelConfig, stream: str, data_name: str = "ntu60") -> ConfigDict:
  """The default experiment with this network: the inverse of `model_config`."""
  config = default()
  config.data.name = data_name
  values = {field: getattr(model, field) for field in config.model}
  # As files in configs/ say it: what the network is published with stays open.
  for field, value in published_fields(model.network).items():
    if values[field] == value:
      values[field] = None
  if model.blocks == published_blocks(model.network, model.in_channels, model.width):
    values["blocks"] = None
  else:
    values["blocks"] = tuple(dataclasses.astuple(block) for block in model.blocks)
  values["graph"] = model.graph and model.graph.name
  config.model.update(values)
  config.data.num_persons = model.num_persons
  config.streams = (stream,)
  return config


def optimizer_config(config: ConfigDict) -> OptimizerConfig:
  """The config's optimiser."""
  return OptimizerConfig(**_options(config.optimizer))


def augmentation(config: ConfigDict) -> Augmentation:
  """The config's augmentation."""
  return Augmentation(**_options(config.augment))


def _options(section: ConfigDict) -> dict[str, Any]:
  return plain(section.to_dict())


def validate(config: ConfigDict) -> None:
  """Raises ConfigError for the first field whose value cannot be used, whatever the data."""
  fields = flatten(config.to_dict())
  _check_fields(fields)

  def require(holds: bool, field: str, expected: str) -> None:
    if not holds:
      raise ConfigError(f"{field} is {fields[field]!r}; it must be {expected}")

  in_data = [f"data.{field}" for field in ("window", "num_persons", "views")]
  for field in ("epochs", "batch_size", "eval_batch_size", "eval_every", *in_data):
    require(1 <= fields[field] < 2**31, field, "at least 1, below 2**31")
  require(0 <= config.min_steps_per_epoch < 2**31, "min_steps_per_epoch", "0 or more, below 2**31")
  for field in ("save_every_steps", "early_stopping", "stream_devices", "profile_steps"):
    require(config[field] >= 0, field, "0 or more")
  is_seed = lambda seed: type(seed) is int and 0 <= seed < 2**32  # of which JAX makes a key
  require(is_seed(config.seed), "seed", "0 or more, below 2**32")
  seeds = config.seeds
  whole = all(map(is_seed, seeds))
  require(whole and len(set(seeds)) == len(seeds), "seeds", "whole numbers from 0, each once")
  require(len(seeds) != 1, "seeds", "several, such as (0, 1, 2); for a single run set seed")
  require(config.heartbeat_timeout >= 1, "heartbeat_timeout", "at least 1")
  named = not config.loss or ":" in config.loss
  require(named, "loss", "'package.module:function', or '' for the cross-entropy")
  require(0 <= config.label_smoothing < 1, "label_smoothing", "in [0, 1)")
  require(0 <= config.mixup < math.inf, "mixup", "0 or more")
  names = config.streams
  texts = all(isinstance(name, str) for name in names)
  require(texts and len(names) > 0, "streams", "such as ('joint', 'bone')")
  require(len(set(names)) == len(names), "streams", "without repetition")
  require(set(names) <= set(streams.STREAMS), "streams", f"of {', '.join(streams.STREAMS)}")
  times = {streams.num_channels(name, 1) for name in names}
  require(len(times) == 1, "streams", "of equal channels; train apart")
  require(
    config.model.dtype != "float64" or jax.config.jax_enable_x64,
    "model.dtype",
    "float32 or bfloat16 unless JAX_ENABLE_X64=1 is set",
  )
  held = all(type(subject) in (int, str) for subject in config.data.holdout_subjects)
  require(held, "data.holdout_subjects", "whole numbers or texts of Python, such as (1, 3)")
  texts = all(isinstance(part, str) and part for part in config.init_ignore)
  require(texts, "init_ignore", "parts of the paths of tensors, such as ('classifier',)")
  temporal_sampling.check(config.data.sampling, config.data.views)
  origins = temporal_sampling.ORIGINS
  require(config.data.center in origins, "data.center", f"of {', '.join(origins)}")
  blocks = config.model.blocks
  lists = all(isinstance(b, list | tuple) and b and type(b[0]) is int for b in blocks or ())
  require(lists, "model.blocks", "(in_channels, out_channels, residual, stride) of each block")
  even = not blocks or blocks[0][0] % min(times) == 0
  require(even, "model.blocks", f"of even in_channels first: {names[0]} doubles a joint's channels")
  model_config(
    config,
    skeleton=config.model.graph or "ntu_rgbd",  # the data's fits its own graph, or set_up says not
    channels=blocks[0][0] // min(times) if blocks else 3,
  )
  optimizer_config(config)
  augmentation(config)


def _check_fields(fields: Mapping[str, Any]) -> None:
  """Raises ConfigError where fields are not the default's, or of other kinds.

  Such a config was not made by `default`, or was unlocked: its run could not be read again.
  """
  for name, value in fields.items():
    if not isinstance(value, _kind(name) | Skeleton):  # a recorded graph, in place of its name
      _fitting(name, value)
  if missing := [name for name in _kinds() if name not in fields]:
    raise ConfigError(
      f"the config has no field {words.listed(missing, 3)}; begin with config.default()"
    )


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
  """The fields in which two configs describe another computation, one line each.

  Paths, intervals, devices and (unless the learning rate depends on it) the number of epochs
  are left out.
  """
  flat_old, flat_new = _with_published_fields(old), _with_published_fields(new)
  free = set(_FREE) - ({"epochs"} if optimizer_config(new).knows_its_end else set())
  return [
    f"{name}: {flat_old.get(name)!r} -> {flat_new.get(name)!r}"
    for name in sorted(flat_old | flat_new)
    if name not in free and flat_old.get(name) != flat_new.get(name)
  ]


def _with_published_fields(config: ConfigDict) -> dict[str, Any]:
  """`flatten`ed, and what is left to the network's publication filled in."""
  flat = flatten(config.to_dict())
  for field, value in published_fields(flat["model.network"]).items():
    if flat[f"model.{field}"] is None:
      flat[f"model.{field}"] = value
  return flat


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
  """A nested dict as one level, its keys joined by dots."""
  flat = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      flat |= flatten(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = plain(value)
  return flat
