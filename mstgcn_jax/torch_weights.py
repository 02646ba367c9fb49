"""Published PyTorch checkpoints in and out: names, layouts, and the reference's YAML fields."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from mstgcn_jax import skeletons
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.model import MSTGCN, ModelConfig
from mstgcn_jax.model.attention import PartGate
from mstgcn_jax.model.norm import BatchNorm
from mstgcn_jax.model.spatial import DepthwiseGraphConv, GraphConv
from mstgcn_jax.model.temporal import TemporalConv

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
  fields["blocks"] = tuple(map(tuple, args.pop("block_args")))
  fields["in_channels"] = fields["blocks"][0][0]

  graph = str(args.pop("graph"))
  name = graph.removeprefix("graph.").removesuffix(".Graph")
  if name not in _GRAPHS:
    allowed = " or ".join(f"graph.{name}.Graph" for name in _GRAPHS)
    raise ConfigError(f"model_args: graph is {graph!r}; it must be {allowed}")
  skeleton = skeletons.get(_GRAPHS[name])
  if parts := args.pop("parts", None):
    parts = tuple(map(tuple, parts))
    skeleton = dataclasses.replace(skeleton, parts=parts, part_edges=())
  fields["skeleton"] = skeleton
  joints = args.pop("num_point", skeleton.num_joints)
  if joints != skeleton.num_joints:
    raise ConfigError(
      f"model_args: num_point is {joints}, but {graph!r} has {skeleton.num_joints} joints"
    )

  graph_args = dict(args.pop("graph_args", None) or {})
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
    if fixed and name in state and not np.allclose(state[name], value, atol=1e-6):
      raise DataError(f"{name} of the state dict is not what the model's skeleton gives")
  for name, variable, axes, _ in tensors:
    split = [variable.shape[axis] for axis in axes]
    value = state[name].reshape(split).transpose(np.argsort(axes))
    variable[...] = jnp.asarray(value, variable.dtype)
  unused = constants.keys() - {n for n in constants if ".mstcn.bn_in." in n}
  return sorted(state.keys() - {name for name, *_ in tensors} - unused)


def state_dict(model: MSTGCN) -> dict[str, np.ndarray]:
  """A model's variables under the reference's names, complete: `load_state_dict` there takes it.

  Buffers that only the reference has get its initial values.
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
  for name, module in _modules(model):
    for attribute, leaf, axes in _TENSORS.get(type(module), ()):
      variable = getattr(module, attribute)
      shape = tuple(variable.shape[axis] for axis in axes)
      if leaf == "weight" and isinstance(module, TemporalConv):
        shape = (*shape, 1)
      elif leaf == "gcn.weight":
        shape = (shape[0] * shape[1], shape[2], 1, 1)
      elif leaf == "depth_gcn.weight":
        shape = (shape[0] * shape[1], 1, 1, 1)
      yield f"{name}.{leaf}", variable, axes, shape


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
      name = f"layers.{i}.mstcn.bn_in"  # owned by the reference, never used
      for leaf, fill in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
        constants[f"{name}.{leaf}"] = np.full(block.out_channels, fill, np.float32)
      constants[f"{name}.num_batches_tracked"] = np.asarray(0)
  return constants
