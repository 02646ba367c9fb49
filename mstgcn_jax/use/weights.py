"""Workdirs made of published PyTorch checkpoints, and state dicts of workdirs."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import yaml
from flax import nnx
from ml_collections import ConfigDict

from mstgcn_jax import files, torch_weights, words
from mstgcn_jax.data import streams
from mstgcn_jax.data.temporal_sampling import Sampling
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.model import ModelConfig, abstract_network
from mstgcn_jax.model.config import NETWORKS
from mstgcn_jax.training import checkpoints, optimizer
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.training.train_step import TrainState, split_model

# `model` of the published YAML files -> `config_from_reference`'s network.
_CLASSES = {
  "net.st_gcn.Model": "st_gcn",
  "model.agcn.Model": "agcn",
  "model.aagcn.Model": "aagcn",
  "model.ctrgcn.Model": "ctrgcn",
}


def import_checkpoint(
  weights: str | pathlib.Path,
  reference: str | pathlib.Path,
  workdir: str | pathlib.Path,
  *,
  stream: str = "joint",
  data_name: str = "ntu60",
  window: int = 300,
  sampling: str = "loop",
  skeleton: str | None = None,
  num_persons: int | None = None,
) -> list[str]:
  """Makes a workdir of a checkpoint of a published code base.

  `evaluate`, `Classifier` and `init_from` of an experiment take it like any run's; `train.py` goes
  on from its step 0, by MST-GCN's recipe. Class names are numbers, the reference has none.

  Args:
    reference: the YAML file that it was trained with, of MST-GCN's, ST-GCN's, 2s-AGCN's or
      CTR-GCN's code; or the name of a network (`model.config.NETWORKS`), whose sizes are then those
      of the weights: for PYSKL, whose configs are Python files.
    stream: what the model was trained on (`mstgcn_jax.data.streams.STREAMS`).
    data_name: the prepared data set that it was trained on, which its YAML does not name.
    window, sampling: frames that it was trained to see, `config.default().data`.
    skeleton, num_persons: for a network's name, as of `config_from_state_dict`.
  Returns:
    Names of the tensors without counterpart here.
  Raises:
    DataError, ConfigError: as `read_state_dict`, `config_from_reference`, `load_state_dict`;
      nothing is written then, nor over a workdir that exists.
  """
  if stream not in streams.STREAMS:
    raise ConfigError(f"stream is {stream!r}; allowed: {', '.join(streams.STREAMS)}")
  workdir = pathlib.Path(workdir)
  checkpoints.check_path(workdir)
  if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
    kind = "is not empty" if workdir.is_dir() else "is no folder"
    raise ConfigError(f"{workdir} exists and {kind}; give a new folder")
  sizes = {"skeleton": skeleton, "num_persons": num_persons}
  model_config, state = _read(weights, reference, sizes)
  config = config_lib.from_model(model_config, stream, data_name)
  config.data.window, config.data.sampling = window, sampling
  if model_config.skeleton.center is not None:
    config.data.center = model_config.published.origin
  config_lib.validate(config)
  model = abstract_network(model_config)
  unused = _fill(model, state, weights, reference)
  try:
    workdir.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise ConfigError(f"{workdir} cannot be made ({error.strerror})") from error
  with checkpoints.make_manager(workdir) as manager:
    checkpoints.save(manager, 0, {stream: _initial_state(model, config)}, checkpoints.Progress())
    checkpoints.wait(manager)
  config_lib.write(config, workdir / "config.json")
  _facts(config, model_config).write(workdir)
  return unused


def _read(
  weights: str | pathlib.Path, reference: str | pathlib.Path, sizes: dict[str, Any]
) -> tuple[ModelConfig, dict[str, Any]]:
  """The network that a checkpoint is of, and its state dict."""
  if str(reference) in NETWORKS:
    state = torch_weights.read_state_dict(weights)
    return torch_weights.config_from_state_dict(str(reference), state, **sizes), state
  if any(value is not None for value in sizes.values()):
    raise ConfigError(f"{reference} says the skeleton and the persons; leave them out")
  model_config = torch_weights.config_from_reference(_model_args(pathlib.Path(reference)))
  return model_config, torch_weights.read_state_dict(weights)


def _fill(
  model: nnx.Module,
  state: Mapping[str, Any],
  weights: str | pathlib.Path,
  reference: str | pathlib.Path,
) -> list[str]:
  """As `load_state_dict`; its errors say, too, what a network was taken for by its name."""
  try:
    return torch_weights.load_state_dict(model, state)
  except DataError as error:
    if str(reference) not in NETWORKS:
      raise
    raise DataError(
      f"{error}. {weights} was {taken_for(model.config)}; give --skeleton or --persons where that "
      "is wrong, and the YAML file where it was trained with other options"
    ) from error


def taken_for(model: ModelConfig) -> str:
  """What a state dict alone does not tell of its network, in words."""
  return (
    f"taken for {model.skeleton.name} ({model.skeleton.num_joints} joints), "
    f"{words.counted(model.num_persons, 'person')}, strategy {model.strategy}"
  )


def _initial_state(model: nnx.Module, config: ConfigDict) -> TrainState:
  """A network as training would begin from it."""
  _, params, batch_stats = split_model(model)
  transformation = optimizer.make_optimizer(config_lib.optimizer_config(config), lambda step: 0)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    key=jax.random.key_data(jax.random.key(0)),
    params=params,
    batch_stats=batch_stats,
    opt_state=transformation.init(params),
  )


def _facts(config: ConfigDict, model: ModelConfig) -> workdir_lib.RunFacts:
  """What is known of an imported model, which doesn't know its data."""
  data, center = config.data, model.skeleton.center
  loading = workdir_lib.reference_loading(model.skeleton)
  return workdir_lib.RunFacts(
    model=model,
    class_names=tuple(str(i + 1) for i in range(model.num_classes)),
    streams=tuple(config.streams),
    sampling=Sampling(data.window, data.num_persons, data.sampling, origin=data.center, **loading),
    joint_at_zero=center,
    rotated=center is not None,
  )


def _model_args(path: pathlib.Path) -> Mapping[str, Any]:
  # MST-GCN's weights do not tell its sizes.
  names = [name for name in NETWORKS if name != "mstgcn"]
  if not path.exists():
    hint = words.did_you_mean(str(path), names)
    raise DataError(
      f"{path} does not exist{hint}; expected the YAML file of the training run, or one of "
      f"{', '.join(names)}"
    )
  files.check_is_file(path)
  try:
    content = yaml.safe_load(path.read_text())
  except Exception as error:  # PyYAML raises many kinds, of tags and nesting above all
    raise DataError(f"{path} is not YAML ({' '.join(str(error).split())})") from error
  if not isinstance(content, Mapping) or not isinstance(content.get("model_args"), Mapping):
    raise DataError(
      f"{path} has no mapping 'model_args'; give the YAML file of the training run, or one of "
      f"{', '.join(names)}"
    )
  # The class that the code base trained; MST-GCN's, where it is none of the others'.
  network = _CLASSES.get(str(content.get("model")))
  return content["model_args"] | ({"network": network} if network else {})


def export_checkpoint(
  workdir: str | pathlib.Path,
  weights: str | pathlib.Path,
  *,
  checkpoint: str | int = "newest",
  stream: str | None = None,
  trust: bool = False,
) -> tuple[nnx.Module, int]:
  """Writes a run's parameters as the reference's state dict; its network and the step of them.

  Args:
    weights: .pt, .pth or .safetensors file to write.
    Otherwise as `checkpoints.load_model`, whose errors it raises.
  Raises:
    ConfigError: another ending, or PyTorch is needed and not installed.
    DataError: the file cannot be written.
  """
  if pathlib.Path(weights).suffix not in (".pt", ".pth", ".safetensors"):
    raise ConfigError(f"{weights} must end in .pt, .pth or .safetensors")
  model, _, step = checkpoints.load_trained(
    workdir, checkpoint=checkpoint, stream=stream, trust=trust
  )
  torch_weights.write_state_dict(torch_weights.state_dict(model), weights)
  return model, step
