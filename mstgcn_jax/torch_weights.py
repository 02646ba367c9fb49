"""Published PyTorch checkpoints in and out: names, layouts, and the reference's YAML fields.

  python -m mstgcn_jax.torch_weights import WEIGHTS.pt REFERENCE.yaml WORKDIR [--stream joint]
  python -m mstgcn_jax.torch_weights export WORKDIR WEIGHTS.pt [--checkpoint newest]

WEIGHTS may also be a .safetensors file, which does not need PyTorch.

The reference cannot be run with ACON activations. Their tensors are named here as in the code of
"Activate or Not" (p1, p2, beta; fc1, bn1, fc2, bn2), below `act` where they end a layer and below
`2` where they follow a convolution and its norm. Layers of your own keep their own names.
"""

import argparse
import pathlib
import pickle
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mstgcn_jax import files, skeletons
from mstgcn_jax.commands import process
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.model import make_network, torch_names
from mstgcn_jax.model.norm import Shift
from mstgcn_jax.model.reference_config import config_from_reference
from mstgcn_jax.training import devices

__all__ = [
  *("config_from_reference", "load_state_dict", "state_dict"),
  *("read_state_dict", "write_state_dict", "import_checkpoint"),
]


def load_state_dict(model: nnx.Module, state: Mapping[str, Any]) -> list[str]:
  """Sets a model's parameters and running statistics to those of a reference's state dict.

  Args:
    state: name -> array; a prefix `module.` (of DataParallel) is tolerated.
  Returns:
    Names of the tensors that have no counterpart here, such as the normalisations that the
    reference owns without using them.
  Raises:
    DataError: tensors are missing, have another shape, or another graph than the model; all such
      tensors are named and the model is left as it was.
    ConfigError: as `state_dict`.
  """
  state = {name.removeprefix("module."): np.asarray(value) for name, value in state.items()}
  _check_all_have_names(model)
  tensors = list(torch_names.tensors(model))
  constants = torch_names.constants(model)
  missing = [name for name, *_ in tensors if name not in state]
  if missing:
    raise DataError(f"the state dict lacks {len(missing)} tensors: {', '.join(missing)}")
  wrong = [
    f"{name} has shape {state[name].shape}, the model needs {shape}"
    for name, _, _, shape in tensors
    if state[name].shape != shape
  ]
  if wrong:
    raise DataError("the state dict is of another model: " + "; ".join(wrong))
  for name, value in constants.items():
    fixed = name.split(".")[-1] in ("A", "joints")
    # The tolerance is bfloat16's; other graphs differ by more.
    if fixed and name in state and not np.allclose(state[name], value, rtol=2**-8, atol=1e-6):
      raise DataError(f"{name} of the state dict is not what the model's skeleton gives")
  for name, variable, axes, _ in tensors:
    split = [variable.shape[axis] for axis in axes]
    value = state[name].reshape(split).transpose(np.argsort(axes))
    variable[...] = jnp.asarray(value, variable.dtype)
  used = constants.keys() - {name for name in constants if torch_names.UNUSED_THERE in name}
  return sorted(state.keys() - {name for name, *_ in tensors} - used)


def state_dict(model: nnx.Module) -> dict[str, np.ndarray]:
  """A model's variables under the reference's names, complete: `load_state_dict` there takes it.

  Buffers that only the reference has get its initial values.

  Raises:
    ConfigError: the model has parameters without a counterpart: it is folded, or a layer of one's
      own holds others than those of `nnx.Linear` and of this package's modules.
  """
  _check_all_have_names(model)
  state = {
    name: np.asarray(variable[...]).transpose(axes).reshape(shape)
    for name, variable, axes, shape in torch_names.tensors(model)
  }
  return state | torch_names.constants(model)


def _check_all_have_names(model: nnx.Module) -> None:
  """Raises ConfigError where a parameter or a running statistic would be left out."""
  if any(isinstance(module, Shift) for _, module in nnx.iter_modules(model)):
    raise ConfigError("the model is folded; PyTorch's names are those of the model before fold()")
  if left_out := torch_names.without_name(model):
    raise ConfigError(
      f"{len(left_out)} parameters have no counterpart in PyTorch: {', '.join(left_out)}; of "
      "layers of your own, those of nnx.Linear and of this package's modules have one"
    )


def read_state_dict(path: str | pathlib.Path) -> dict[str, np.ndarray]:
  """Tensors of a .pt or .safetensors file, as NumPy arrays.

  A .pt file is a pickle, which could run any code; PyTorch's loader for weights alone reads it.

  Raises:
    DataError: the file is missing, damaged, or holds more than tensors.
    ConfigError: PyTorch is needed and not installed.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise DataError(f"{path} does not exist")
  if path.suffix == ".safetensors":
    import safetensors.numpy

    try:
      return safetensors.numpy.load_file(path)
    except Exception as error:  # SafetensorError, not exported under a stable name
      raise DataError(f"{path} is not a whole .safetensors file ({error})") from error
  torch = _torch(path)
  with path.open("rb") as file:
    if file.read(2)[:1] not in (b"P", b"\x80"):  # a zip archive, before PyTorch 1.6 a pickle
      raise DataError(f"{path} is not a PyTorch file")
  try:
    state = torch.load(path, map_location="cpu", weights_only=True)
  except pickle.UnpicklingError as error:
    raise DataError(
      f"{path} holds more than tensors, and running what it asks for could harm; not read. If you "
      "trust its source, save its state dict alone: torch.save(model.state_dict(), path)"
    ) from error
  except Exception as error:  # PyTorch raises many types for a file that is none of its own
    message = " ".join(str(error).split())
    raise DataError(f"{path} is not a whole PyTorch file ({message})") from error
  if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
    state = state["state_dict"]
  if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
    raise DataError(f"{path} is not a state dict, a mapping of names to tensors")
  # NumPy has no bfloat16; nn.Parameters have to be detached.
  wide = lambda tensor: tensor.float() if tensor.dtype == torch.bfloat16 else tensor
  try:
    return {str(name): wide(value.detach()).numpy() for name, value in state.items()}
  except (RuntimeError, TypeError) as error:
    raise DataError(f"{path} holds tensors that are not plain arrays ({error})") from error


def write_state_dict(state: Mapping[str, np.ndarray], path: str | pathlib.Path) -> None:
  """Writes `state_dict`'s output as .safetensors or, with PyTorch, as .pt.

  Raises:
    DataError: the file cannot be written.
    ConfigError: PyTorch is needed and not installed.
  """
  path = pathlib.Path(path)
  state = {name: np.ascontiguousarray(value) for name, value in state.items()}
  if path.suffix == ".safetensors":
    import safetensors.numpy

    save = safetensors.numpy.save_file
  else:
    torch = _torch(path)
    state = {name: torch.tensor(value) for name, value in state.items()}
    save = torch.save
  if not path.parent.is_dir():
    raise DataError(f"{path} cannot be written: there is no folder {path.parent}")
  try:
    with files.written_whole(path) as aside:
      save(state, aside)
  except Exception as error:  # SafetensorError, and RuntimeError of PyTorch
    raise DataError(f"{path} cannot be written ({' '.join(str(error).split())})") from error


def _torch(path: pathlib.Path):
  try:
    import torch
  except ImportError as error:
    raise ConfigError(
      f"{path} needs PyTorch, which is not installed: pip install 'mstgcn-jax[torch]' (or use a "
      ".safetensors file)"
    ) from error
  return torch


def import_checkpoint(
  weights: str | pathlib.Path,
  reference_yaml: str | pathlib.Path,
  workdir: str | pathlib.Path,
  *,
  stream: str = "joint",
  data_name: str = "ntu60",
  window: int = 300,
  sampling: str = "loop",
) -> list[str]:
  """Makes a workdir of a checkpoint of the reference and the YAML file it was trained with.

  `evaluate`, `Classifier` and `init_from` of an experiment take it like any run's; `train.py` goes
  on from its step 0, by the published recipe. Class names are numbers, the reference has none.

  Args:
    stream: what the model was trained on (`mstgcn_jax.data.streams.STREAMS`).
    data_name: the prepared data set that it was trained on, which its YAML does not name.
    window, sampling: frames that it was trained to see, `config.default().data`.
  Returns:
    Names of the tensors without counterpart here.
  Raises:
    DataError, ConfigError: as `read_state_dict`, `config_from_reference`, `load_state_dict`;
      nothing is written then, nor over a workdir that exists.
  """
  # Orbax and ml_collections are needed for workdirs only.
  from mstgcn_jax.data import streams
  from mstgcn_jax.training import checkpoints, optimizer
  from mstgcn_jax.training import config as config_lib
  from mstgcn_jax.training.train_step import TrainState, split_model

  if stream not in streams.STREAMS:
    raise ConfigError(f"stream is {stream!r}; allowed: {', '.join(streams.STREAMS)}")
  workdir = pathlib.Path(workdir)
  checkpoints.check_path(workdir)
  if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
    kind = "is not empty" if workdir.is_dir() else "is no folder"
    raise ConfigError(f"{workdir} exists and {kind}; give a new folder")
  model_config = config_from_reference(_model_args(pathlib.Path(reference_yaml)))
  config = config_lib.from_model(model_config, stream, data_name)
  config.data.window, config.data.sampling = window, sampling
  config_lib.validate(config)
  model = make_network(model_config, rngs=nnx.Rngs(0))
  unused = load_state_dict(model, read_state_dict(weights))
  _, params, batch_stats = split_model(model)
  transformation = optimizer.make_optimizer(config_lib.optimizer_config(config), lambda step: 0)
  state = TrainState(
    step=jnp.zeros((), jnp.int32),
    key=jax.random.key_data(jax.random.key(0)),
    params=params,
    batch_stats=batch_stats,
    opt_state=transformation.init(params),
  )
  try:
    workdir.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise ConfigError(f"{workdir} cannot be made ({error.strerror})") from error
  with checkpoints.make_manager(workdir) as manager:
    checkpoints.save(manager, 0, {stream: state}, checkpoints.NO_PROGRESS)
    checkpoints.wait(manager)
  config_lib.write(config, workdir / "config.json")
  facts = {
    "model": model_config.to_dict(),
    "class_names": [str(i + 1) for i in range(model_config.num_classes)],
    "streams": [stream],
    "input": config_lib.input_facts(config),
    "loading": reference_loading(model_config.skeleton),
  }
  checkpoints.write_model_facts(workdir, facts)
  return unused


def reference_loading(skeleton: skeletons.Skeleton) -> dict[str, Any]:
  """How the reference fills and centres clips: it loops NTU's, and pads Kinetics' with zeros."""
  fill = "zero" if skeleton.name == "kinetics" else "loop"
  return {"fill": fill, "center": skeleton.center}


def _model_args(path: pathlib.Path) -> Mapping[str, Any]:
  import yaml

  if not path.is_file():
    raise DataError(f"{path} does not exist")
  try:
    content = yaml.safe_load(path.read_text())
  except (OSError, ValueError, yaml.YAMLError) as error:
    raise DataError(f"{path} is not YAML ({' '.join(str(error).split())})") from error
  if not isinstance(content, Mapping) or not isinstance(content.get("model_args"), Mapping):
    raise DataError(f"{path} has no mapping 'model_args'; give the YAML file of the training run")
  return content["model_args"]


def main(argv: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    prog="python -m mstgcn_jax.torch_weights", description=__doc__.splitlines()[0]
  )
  commands = parser.add_subparsers(dest="command", required=True)
  into = commands.add_parser("import", help="a PyTorch checkpoint -> a workdir")
  into.add_argument("weights", help=".pt or .safetensors file of the reference")
  into.add_argument("yaml", help="YAML file that it was trained with")
  into.add_argument("workdir", help="new folder")
  into.add_argument("--stream", default="joint", help="that it was trained on; default joint")
  into.add_argument("--data-name", default="ntu60", help="prepared data set; default ntu60")
  into.add_argument("--window", type=int, default=300, help="frames that it sees; default 300")
  into.add_argument("--sampling", default="loop", help="which frames it sees; default loop")
  out = commands.add_parser("export", help="a workdir -> a PyTorch state dict")
  out.add_argument("workdir")
  out.add_argument("weights", help=".pt or .safetensors file to write")
  out.add_argument("--checkpoint", default="newest", help="'newest', 'best' or a step")
  out.add_argument("--stream", help="of a run of several; default the first")
  out.add_argument("--trust", action="store_true", help="import layers that the run names")
  args = parser.parse_args(argv)
  devices.start()
  if args.command == "import":
    how = {name: getattr(args, name) for name in ("stream", "data_name", "window", "sampling")}
    unused = import_checkpoint(args.weights, args.yaml, args.workdir, **how)
    unexpected = [name for name in unused if torch_names.UNUSED_THERE not in name]
    if len(unused) > len(unexpected):
      print(
        f"{len(unused) - len(unexpected)} tensors left out that the reference has and never uses"
      )
    if unexpected:
      print(f"{len(unexpected)} tensors left out, without counterpart: {', '.join(unexpected)}")
    print(
      f"{args.workdir}: ready for mstgcn evaluate, Classifier and --config.init_from; stream "
      f"{args.stream} of {args.data_name}, {args.window} frames by {args.sampling}"
    )
  else:
    from mstgcn_jax.training import checkpoints

    if not args.weights.endswith((".pt", ".pth", ".safetensors")):
      raise ConfigError(f"{args.weights} must end in .pt, .pth or .safetensors")
    model, _, step = checkpoints.load_trained(
      args.workdir, checkpoint=args.checkpoint, stream=args.stream, trust=args.trust
    )
    write_state_dict(state_dict(model), args.weights)
    stream = checkpoints.choose_stream(checkpoints.read_model_facts(args.workdir), args.stream)
    what = (
      "the reference has no counterpart of its own layers"
      if ":" in model.config.block_type
      else "for load_state_dict of the reference's model"
    )
    print(f"{args.weights}: the state dict of stream {stream}, step {step}; {what}")


if __name__ == "__main__":
  process.quiet_libraries()
  with process.errors_in_one_line():
    main()
