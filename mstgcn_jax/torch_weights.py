"""Published PyTorch checkpoints in and out: names, layouts, and the reference's YAML fields.

A file of weights is a PyTorch state dict (.pt, .pth) or .safetensors, which does not need PyTorch.
`use.weights` makes workdirs of them.

The reference cannot be run with ACON activations. Their tensors are named here as in the code of
"Activate or Not" (p1, p2, beta; fc1, bn1, fc2, bn2), below `act` where they end a layer and below
`2` where they follow a convolution and its norm. Layers of your own keep their own names.
"""

import dataclasses
import pathlib
import pickle
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from mstgcn_jax import files, skeletons
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.model import MSTGCN, ModelConfig
from mstgcn_jax.model.activations import Acon, MetaAcon
from mstgcn_jax.model.attention import PartGate
from mstgcn_jax.model.norm import BatchNorm, Shift
from mstgcn_jax.model.spatial import DepthwiseGraphConv, GraphConv
from mstgcn_jax.model.temporal import TemporalConv

# Part of the names of the norms that the reference owns and never uses.
UNUSED_THERE = ".mstcn.bn_in."
# Path of a module here -> its name in the reference. All rules apply, one after the other.
_NAMES = (
  (r"^norm_in$", "data_bn"),
  (r"^classifier$", "fc"),
  (r"^blocks\.(\d+)\.spatial\.", r"layers.\1.msgcn."),
  (r"^blocks\.(\d+)\.temporal\.", r"layers.\1.mstcn."),
  (r"^blocks\.(\d+)\.attention\.", r"layers.\1.att."),
  # Attention.
  (r"att\.body\.norm$", "att.bn"),
  (r"att\.body\.gate", "att.att"),
  (r"att\.shared\.", "att.fcn."),
  (r"att\.reduce\.conv$", "att.fcn.1"),
  (r"att\.reduce\.norm$", "att.fcn.2"),
  (r"att\.expand$", "att.fcn.4"),
  (r"att\.frame$", "att.conv_t"),
  (r"att\.joint$", "att.conv_v"),
  (r"att\.channel$", "att.conv_c.0"),
  # Layers, from the outside to the inside.
  (r"\.shortcut\.", ".residual."),
  (r"\.body\.norm_in$", ".bn_in"),
  (r"(msgcn|mstcn)\.body\.conv$", r"\1.conv"),
  (r"(msgcn|mstcn)\.body\.norm$", r"\1.bn"),
  (r"msgcn\.body\.body\.branches\.", "msgcn.conv."),
  (r"mstcn\.body\.body\.branches\.", "mstcn.convs."),
  (r"\.body\.branches\.", ".conv_bn."),
  (r"\.body\.body\.", ".conv."),
  (r"\.body\.", "."),
  (r"\.reduce\.", ".reduct_conv."),
  (r"\.expand\.", ".expand_conv."),
  (r"(msgcn.*)\.depthwise\.conv$", r"\1"),
  (r"(msgcn.*)\.depthwise\.norm$", r"\1.depth_bn"),
  (r"(msgcn.*)\.pointwise\.", r"\1.point_gcn_bn."),
  (r"\.depthwise\.", ".depth_conv."),
  (r"\.pointwise\.", ".point_conv."),
  # A convolution and its norm are a pair 0, 1, where `conv` is not the reference's own name.
  (r"(?<!msgcn)(?<!mstcn)(?<!att\.att)\.conv$", ".0"),
  (r"\.norm$", ".1"),
  (r"(msgcn|mstcn|att)\.activation\b", r"\1.act"),
  (r"\.activation\b", ".2"),
)
# Modules with weights: (our attribute, the reference's, its axes in terms of ours).
_TENSORS = {
  BatchNorm: tuple((n, n, (0,)) for n in ("weight", "bias", "running_mean", "running_var")),
  GraphConv: (
    ("learned_adjacency", "PA", (0, 1, 2)),
    ("weight", "gcn.weight", (0, 2, 1)),
    ("bias", "gcn.bias", (0,)),
  ),
  DepthwiseGraphConv: (
    ("learned_adjacency", "PA", (0, 1, 2)),
    ("weight", "depth_gcn.weight", (0, 1)),
    ("bias", "depth_gcn.bias", (0,)),
  ),
  TemporalConv: (("weight", "weight", (2, 1, 0)), ("bias", "bias", (0,))),
  nnx.Linear: (("kernel", "weight", (1, 0)), ("bias", "bias", (0,))),
  Acon: tuple((n, n, (0,)) for n in ("p1", "p2", "beta")),
  MetaAcon: tuple((n, n, (0,)) for n in ("p1", "p2")),
}
_GRAPHS = {"ntu_rgb_d": "ntu_rgbd", "kinetics": "kinetics"}
# ModelConfig's fields by the reference's names, where no more than the name differs.
_FIELDS = {
  "num_class": "num_classes",
  "num_person": "num_persons",
  "kernel_size": "kernel_size",
  "block_type": "block_type",
  "reduct_ratio": "reduction",
  "expand_ratio": "expand_ratio",
  "s_scale": "spatial_scales",
  "t_scale": "temporal_scales",
  "act": "activation",
}


def config_from_reference(model_args: Mapping[str, Any]) -> ModelConfig:
  """The `model_args` of a YAML file of the reference as a `ModelConfig`.

  Raises:
    ConfigError: names the argument that is missing, unknown, or has a value without counterpart.
  """
  args = dict(model_args)
  for name in ("num_class", "block_args", "graph"):
    if name not in args:
      raise ConfigError(f"model_args has no {name!r}")
  fields = {ours: args.pop(name) for name, ours in _FIELDS.items() if name in args}
  fields["blocks"] = _tuples("block_args", args.pop("block_args"))
  if any(len(block) < 2 for block in fields["blocks"]):
    raise ConfigError(
      f"model_args: block_args is {fields['blocks']}; give (in, out, residual, stride) each"
    )
  fields["in_channels"], fields["width"] = fields["blocks"][0][:2]
  if not isinstance(fields.get("block_type", ""), str) or ":" in fields.get("block_type", ""):
    raise ConfigError(
      f"model_args: block_type is {fields['block_type']!r}, unknown to the reference"
    )

  graph = str(args.pop("graph"))
  name = graph.removeprefix("graph.").removesuffix(".Graph")
  if name not in _GRAPHS:
    allowed = " or ".join(f"graph.{name}.Graph" for name in _GRAPHS)
    raise ConfigError(f"model_args: graph is {graph!r}; it must be {allowed}")
  skeleton = skeletons.get(_GRAPHS[name])
  if parts := args.pop("parts", None):
    parts = _tuples("parts", parts)
    skeleton = dataclasses.replace(skeleton, parts=parts, part_edges=())
  fields["skeleton"] = skeleton
  joints = args.pop("num_point", skeleton.num_joints)
  if joints != skeleton.num_joints:
    raise ConfigError(
      f"model_args: num_point is {joints}, but {graph!r} has {skeleton.num_joints} joints"
    )

  graph_args = args.pop("graph_args", None) or {}
  if not isinstance(graph_args, Mapping):
    raise ConfigError(f"model_args: graph_args is {graph_args!r}; it must be a mapping")
  graph_args = dict(graph_args)
  fields["strategy"] = graph_args.pop("labeling_mode", args.pop("labeling_mode", "spatial"))
  layer_type = args.pop("layer_type", "basic")
  fields["layer_type"] = "basic" if layer_type == "normal" else layer_type
  attention = args.pop("atten", None)
  fields["attention"] = None if attention in (None, "None") else attention
  if not args.pop("bias", True):
    raise ConfigError("model_args: bias is False; the reference itself cannot run that")
  unknown = [*args, *(f"graph_args.{name}" for name in graph_args)]
  if unknown:
    raise ConfigError(f"model_args: {', '.join(unknown)} has no counterpart here")
  return ModelConfig(**fields)


def _tuples(name: str, value: Any) -> tuple[tuple, ...]:
  """A list of lists as tuples; ConfigError where it is none, or empty."""
  rows = value if isinstance(value, list | tuple) else ()
  if not rows or not all(isinstance(row, list | tuple) for row in rows):
    raise ConfigError(f"model_args: {name} is {value!r}; it must be a list of lists")
  return tuple(map(tuple, rows))


def load_state_dict(model: MSTGCN, state: Mapping[str, Any]) -> list[str]:
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
  tensors = list(_tensors(model))
  constants = _constants(model)
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
    fixed = name.endswith((".A", ".joints"))
    # The tolerance is bfloat16's; other graphs differ by more.
    if fixed and name in state and not np.allclose(state[name], value, rtol=2**-8, atol=1e-6):
      raise DataError(f"{name} of the state dict is not what the model's skeleton gives")
  for name, variable, axes, _ in tensors:
    split = [variable.shape[axis] for axis in axes]
    value = state[name].reshape(split).transpose(np.argsort(axes))
    variable[...] = jnp.asarray(value, variable.dtype)
  used = constants.keys() - {name for name in constants if UNUSED_THERE in name}
  return sorted(state.keys() - {name for name, *_ in tensors} - used)


def state_dict(model: MSTGCN) -> dict[str, np.ndarray]:
  """A model's variables under the reference's names, complete: `load_state_dict` there takes it.

  Buffers that only the reference has get its initial values.

  Raises:
    ConfigError: the model has parameters without a counterpart: it is folded, or a layer of one's
      own holds others than those of `nnx.Linear` and of this package's modules.
  """
  state = {
    name: np.asarray(variable[...]).transpose(axes).reshape(shape)
    for name, variable, axes, shape in _tensors(model)
  }
  return state | _constants(model)


def _modules(model: MSTGCN) -> Iterator[tuple[str, nnx.Module]]:
  """All modules with the reference's names for them."""
  for path, module in nnx.iter_modules(model):
    name = ".".join(map(str, path))
    for pattern, replacement in _NAMES:
      name = re.sub(pattern, replacement, name)
    yield name, module


def _tensors(model: MSTGCN) -> Iterator[tuple[str, nnx.Variable, tuple[int, ...], tuple[int, ...]]]:
  """Per variable: the reference's name, the variable, its axes there, its shape there."""
  _check_all_have_names(model)
  for name, module in _modules(model):
    for attribute, leaf, axes in _TENSORS.get(type(module), ()):
      variable = getattr(module, attribute)
      if variable is None:  # nnx.Linear(use_bias=False)
        continue
      shape = tuple(variable.shape[axis] for axis in axes)
      if leaf == "weight" and isinstance(module, TemporalConv):
        shape = (*shape, 1)
      elif leaf == "gcn.weight":
        shape = (shape[0] * shape[1], shape[2], 1, 1)
      elif leaf == "depth_gcn.weight":
        shape = (shape[0] * shape[1], 1, 1, 1)
      elif isinstance(module, Acon | MetaAcon):
        shape = (1, *shape, 1, 1)
      yield f"{name}.{leaf}", variable, axes, shape


def _check_all_have_names(model: MSTGCN) -> None:
  """Raises ConfigError where `_TENSORS` would leave out a parameter or a running statistic."""
  modules = [module for _, module in nnx.iter_modules(model)]
  if any(isinstance(module, Shift) for module in modules):
    raise ConfigError("the model is folded; PyTorch's names are those of the model before fold()")
  named = {
    id(getattr(module, attribute))
    for module in modules
    for attribute, *_ in _TENSORS.get(type(module), ())
  }
  left_out = [
    ".".join(map(str, path))
    for path, node in nnx.iter_graph(model)
    if isinstance(node, nnx.Param | nnx.BatchStat) and id(node) not in named
  ]
  if left_out:
    raise ConfigError(
      f"{len(left_out)} parameters have no counterpart in PyTorch: {', '.join(left_out)}; of "
      "layers of your own, those of nnx.Linear and of this package's modules have one"
    )


def _constants(model: MSTGCN) -> dict[str, np.ndarray]:
  """Tensors of the reference's state dict that are no variables here."""
  constants = {}
  for name, module in _modules(model):
    if isinstance(module, GraphConv | DepthwiseGraphConv):
      constants[f"{name}.A"] = np.asarray(module.adjacency, np.float32)
    elif isinstance(module, PartGate):
      constants[f"{name}.joints"] = np.asarray(module.part_of_joint)
    elif isinstance(module, BatchNorm):
      constants[f"{name}.num_batches_tracked"] = np.asarray(0)
  if model.config.layer_types[1] == "ms":
    for i, block in list(enumerate(model.config.blocks))[1:]:
      prefix = f"layers.{i}{UNUSED_THERE}"
      for leaf, fill in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
        constants[f"{prefix}{leaf}"] = np.full(block.out_channels, fill, np.float32)
      constants[f"{prefix}num_batches_tracked"] = np.asarray(0)
  return constants


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
