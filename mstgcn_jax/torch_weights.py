"""Published PyTorch checkpoints in and out: names, layouts, and the reference's YAML fields.

A file of weights is a PyTorch state dict (.pt, .pth) or .safetensors, which does not need PyTorch.
`use.weights` makes workdirs of them.

The reference cannot be run with ACON activations. Their tensors are named here as in the code of
"Activate or Not" (p1, p2, beta; fc1, bn1, fc2, bn2), below `act` where they end a layer and below
`2` where they follow a convolution and its norm. Layers of your own keep their own names.
"""

import pathlib
import pickle
import warnings
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from mstgcn_jax import files, words
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.model import torch_names
from mstgcn_jax.model.norm import Shift
from mstgcn_jax.model.reference_config import config_from_reference, config_from_state_dict
from mstgcn_jax.model.torch_names import UNUSED_THERE

__all__ = [
  "UNUSED_THERE",
  "config_from_reference",
  "config_from_state_dict",
  "load_state_dict",
  "read_state_dict",
  "state_dict",
  "write_state_dict",
]

# Where a checkpoint has its state dict: PYSKL's, and one as PyTorch's tutorials save it.
_STATES = ("state_dict", "model_state_dict")
_NAMED = 5  # tensors in a message, of a network's hundreds


def load_state_dict(model: nnx.Module, state: Mapping[str, Any]) -> list[str]:
  """Sets a model's parameters and running statistics to those of a reference's state dict.

  Args:
    state: name -> array; a prefix `module.` (of DataParallel) is tolerated.
  Returns:
    Names of the tensors that have no counterpart here, such as the normalisations that the
    reference owns without using them.
  Raises:
    DataError: tensors are missing, have another shape, or another graph than the model, or hold
      numbers that are not finite, or variances below 0; the first such tensors are named and
      the model is left as it was.
    ConfigError: as `state_dict`.
  """
  state = {name: np.asarray(value) for name, value in torch_names.without_prefix(state).items()}
  _check_all_have_names(model)
  tensors = list(torch_names.tensors(model))
  constants = torch_names.constants(model)
  missing = [name for name, *_ in tensors if name not in state]
  if missing:
    known = {name for name, *_ in tensors} | constants.keys()
    others = [name for name in state if name not in known][:3]
    there = f"; it has others, such as {', '.join(others)}" if others else ""
    lacking = words.counted(len(missing), "tensor")
    raise DataError(f"the state dict lacks {lacking}: {words.listed(missing, _NAMED)}{there}")
  wrong = [
    f"{name} has shape {state[name].shape}, the model needs {shape}"
    for name, _, _, shape in tensors
    if state[name].shape != shape
  ]
  if wrong:
    count, named = words.counted(len(wrong), "tensor"), words.listed(wrong, _NAMED, between="; ")
    raise DataError(f"the state dict is of another model, in {count}: {named}")
  # Of the constants the skeleton's, not counters or start values.
  fixed = [n for n in constants if n.split(".")[-1] in ("A", "joints") and n in state]
  read = [*(name for name, *_ in tensors), *fixed]
  if bad := [name for name in read if not _is_sound(name, state[name])]:
    raise DataError(
      f"the state dict is damaged: not all numbers of {words.listed(bad, _NAMED)} are real and "
      "finite, and of a variance 0 or more"
    )
  for name in fixed:
    # The tolerance is bfloat16's; other graphs differ by more.
    same = state[name].shape == constants[name].shape
    if not (same and np.allclose(state[name], constants[name], rtol=2**-8, atol=1e-6)):
      raise DataError(f"{name} of the state dict is not what the model's skeleton gives")
  for name, variable, axes, _ in tensors:
    split = [variable.shape[axis] for axis in axes]
    value = state[name].reshape(split).transpose(np.argsort(axes))
    variable.set_value(jnp.asarray(value, variable.dtype))
  used = {name for name in constants if UNUSED_THERE not in name}
  return sorted(state.keys() - {name for name, *_ in tensors} - used)


def _is_sound(name: str, array: np.ndarray) -> bool:
  """Whether a tensor holds real finite numbers, none below 0 where they are variances."""
  real = any(jnp.issubdtype(array.dtype, kind) for kind in (np.floating, np.integer))
  lowest = 0 if name.endswith("running_var") else -np.inf
  return real and bool((np.isfinite(array) & (array >= lowest)).all())


def state_dict(model: nnx.Module) -> dict[str, np.ndarray]:
  """A model's variables under the reference's names, complete.

  Buffers that only the reference has get its initial values. `load_state_dict` there takes it where
  the network is a published one, with options that its code has (`model.unpublished` names others).

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
      f"{len(left_out)} parameters have no counterpart in PyTorch: "
      f"{words.listed(left_out, _NAMED)}; of layers of your own, those of nnx.Linear and of this "
      "package's modules have one"
    )


def read_state_dict(path: str | pathlib.Path) -> dict[str, np.ndarray]:
  """Tensors of a .pt or .safetensors file, as NumPy arrays.

  A .pt file is a pickle, which could run any code; PyTorch's loader for weights alone reads it.
  Before PyTorch 2.10 a file could get around that (CVE-2025-32434, CVE-2026-24747).

  Raises:
    DataError: the file is missing, damaged, or holds more than tensors.
    ConfigError: PyTorch is needed and not installed, or older than 2.10.
  """
  path = pathlib.Path(path)
  files.check_is_file(path)
  if path.suffix == ".safetensors":
    import safetensors.numpy

    try:
      return safetensors.numpy.load_file(path)
    except Exception as error:  # SafetensorError, not exported under a stable name
      raise DataError(f"{path} is not a whole .safetensors file ({error})") from error
  torch = _torch(path)
  if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10):
    raise ConfigError(
      f"{path} is not read with PyTorch {torch.__version__}: before 2.10 what is in a file could "
      "run; pip install 'mstgcn-jax[torch]' (or use a .safetensors file)"
    )
  with path.open("rb") as file:
    if file.read(2)[:1] not in (b"P", b"\x80"):  # a zip archive, before PyTorch 1.6 a pickle
      raise DataError(f"{path} is not a PyTorch file")
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # how to read a TorchScript program
      state = torch.load(path, map_location="cpu", weights_only=True)
  except Exception as error:  # PyTorch raises many types for a file that is none of its own
    message = " ".join(str(error).split())
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in message:
      raise DataError(
        f"{path} holds more than tensors, and running what it asks for could harm; not read. If "
        "you trust its source, save its state dict alone: torch.save(model.state_dict(), path)"
      ) from error
    raise DataError(f"{path} is not a whole PyTorch file ({message})") from error
  for name in _STATES:
    if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
      state = state[name]
  if not isinstance(state, Mapping):
    raise DataError(f"{path} is not a state dict, a mapping of names to tensors")
  if others := [str(name) for name, v in state.items() if not isinstance(v, torch.Tensor)]:
    raise DataError(
      f"{path} is not a state dict, a mapping of names to tensors: it holds "
      f"{words.listed(others, 5)}"
    )
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
  # Not np.ascontiguousarray, which gives counters an axis.
  state = {name: np.asarray(value, order="C") for name, value in state.items()}
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
