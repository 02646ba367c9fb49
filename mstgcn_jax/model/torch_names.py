"""How the published PyTorch code bases name and shape what the modules here hold.

The path of a variable here becomes its name there by rules, all of which apply, one after the
other.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from flax import nnx

from mstgcn_jax.errors import DataError
from mstgcn_jax.model import Network
from mstgcn_jax.model.activations import Acon, MetaAcon
from mstgcn_jax.model.attention import PartGate
from mstgcn_jax.model.disentangled import HopsGraphConv, WindowConv
from mstgcn_jax.model.inferred import AttentionGraphConv, ChannelwiseGraphConv, DynamicGraphConv
from mstgcn_jax.model.neighbours import WithMeanJoint
from mstgcn_jax.model.norm import BatchNorm
from mstgcn_jax.model.spatial import DepthwiseGraphConv, GraphConv
from mstgcn_jax.model.temporal import TemporalConv

# (pattern, replacement) each.
Rules = tuple[tuple[str, str | Callable[[re.Match], str]], ...]
# Part of the names of the norms that MST-GCN's code owns and never uses.
UNUSED_THERE = ".mstcn.bn_in."
# MST-GCN's code: path of a module here -> its name there.
_MSTGCN = (
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
# ST-GCN's code: path of a variable here -> its name there.
_STGCN = (
  (r"^norm_in\.", "data_bn."),
  (r"^classifier\.", "fcn."),
  (r"^blocks\.(\d+)\.spatial\.body\.conv\.PA$", r"edge_importance.\1"),
  (r"^blocks\.", "st_gcn_networks."),
  (r"\.spatial\.body\.conv\.gcn\.", ".gcn.conv."),
  (r"\.spatial\.body\.norm\.", ".tcn.0."),
  (r"\.temporal\.conv\.", ".tcn.2."),
  (r"\.temporal\.norm\.", ".tcn.3."),
  (r"\.shortcut\.conv\.", ".residual.0."),
  (r"\.shortcut\.norm\.", ".residual.1."),
)
# Of a block in the code of 2s-AGCN and CTR-GCN, and in PYSKL, which took it over.
_LAYERS = (
  (r"\.spatial\.(layers\.[01]\.)?", ".gcn."),
  (r"\.temporal\.", ".tcn."),
  (r"gcn\.shortcut\.conv\.", "gcn.down.0."),
  (r"gcn\.shortcut\.norm\.", "gcn.down.1."),
  (r"(\d+)\.shortcut\.conv\.", r"\1.residual.conv."),
  (r"(\d+)\.shortcut\.norm\.", r"\1.residual.bn."),
  (r"gcn\.body\.norm\.", "gcn.bn."),
  (r"tcn\.norm\.", "tcn.bn."),
  (r"gcn\.body\.conv\.", "gcn."),
  # An adjacency that is inferred.
  (r"gcn\.theta\.", "gcn.conv_a."),
  (r"gcn\.phi\.", "gcn.conv_b."),
  (r"gcn\.project\.", "gcn.conv_d."),
  (r"gcn\.left\.(\d+)\.", r"gcn.convs.\1.conv1."),
  (r"gcn\.right\.(\d+)\.", r"gcn.convs.\1.conv2."),
  (r"gcn\.value\.(\d+)\.", r"gcn.convs.\1.conv3."),
  (r"gcn\.mix\.(\d+)\.", r"gcn.convs.\1.conv4."),
  # Gates.
  (r"gcn\.joint\.", "gcn.conv_sa."),
  (r"gcn\.frame\.", "gcn.conv_ta."),
  (r"gcn\.reduce\.(kernel|weight|bias)", r"gcn.fc1c.\1"),
  (r"gcn\.expand\.(kernel|weight|bias)", r"gcn.fc2c.\1"),
  # Branches.
  (r"(branches\.\d+)\.layers\.0\.conv\.", r"\1.0."),
  (r"(branches\.\d+)\.layers\.0\.norm\.", r"\1.1."),
  (r"(branches\.\d+)\.layers\.1\.conv\.", r"\1.3.conv."),
  (r"(branches\.\d+)\.layers\.1\.norm\.", r"\1.3.bn."),
  (r"(branches\.\d+)\.layers\.1\.", r"\1.3.conv."),
  (r"(branches\.\d+)\.layers\.2\.", r"\1.4."),
  (r"(branches\.\d+)\.conv\.", r"\1.0."),
  (r"(branches\.\d+)\.norm\.", r"\1.1."),
)
_AGCN = (
  (r"^norm_in\.", "data_bn."),
  (r"^classifier\.", "fc."),
  *_LAYERS,
  (r"^blocks\.(\d+)\.(gcn|tcn)\.", lambda m: f"l{int(m[1]) + 1}.{m[2]}1."),
  (r"^blocks\.(\d+)\.", lambda m: f"l{int(m[1]) + 1}."),
)
_PYSKL = (
  (r"^norm_in\.", "backbone.data_bn."),
  (r"^classifier\.", "cls_head.fc_cls."),
  # DG-STGCN's.
  (r"\.spatial\.body\.conv\.reduce\.conv\.", ".gcn.pre.0."),
  (r"\.spatial\.body\.conv\.reduce\.norm\.", ".gcn.pre.1."),
  (r"\.spatial\.body\.conv\.expand\.", ".gcn.post."),
  (r"\.spatial\.body\.conv\.left\.(weight|bias)", r".gcn.conv1.\1"),
  (r"\.spatial\.body\.conv\.right\.(weight|bias)", r".gcn.conv2.\1"),
  # ST-GCN++'s and DG-STGCN's.
  (r"\.temporal\.body\.share$", ".tcn.add_coeff"),
  (r"\.temporal\.body\.(body\.)?branches\.", ".tcn.branches."),
  (r"\.temporal\.norm_in\.", ".tcn.transform.0."),
  *_LAYERS,
  (r"gcn\.gcn\.", "gcn.conv."),
  (r"tcn\.mix\.conv\.", "tcn.transform.2."),
  (r"tcn\.mix\.norm\.", "tcn.bn."),
  (r"^blocks\.", "backbone.gcn."),
)
_numbered = lambda name: lambda m: f"backbone.{name}{int(m[1]) + 1}."
_MSG3D = (
  (r"^blocks\.(\d+)\.spatial\.paths\.0\.layers\.", _numbered("sgcn")),
  (r"^blocks\.(\d+)\.temporal\.", _numbered("tcn")),
  (
    r"^blocks\.(\d+)\.spatial\.paths\.(\d+)\.",
    lambda m: f"backbone.gcn3d{int(m[1]) + 1}.gcn3d.{int(m[2]) - 1}.",
  ),
  (r"\.collapse\.conv\.", ".out_conv."),
  (r"\.collapse\.norm\.", ".out_bn."),
  (r"(gcn3d\.\d+)\.conv\.", r"\1.gcn3d.1."),
  (r"(sgcn\d+\.0|gcn3d\.1)\.norm\.", r"\1.mlp.layers.1."),
  (r"(sgcn\d+\.0|gcn3d\.1)\.conv\.", r"\1."),
  (r"\.body\.branches\.", ".branches."),
  *_PYSKL,
)
_PYSKL_LEARNED = (*_PYSKL, (r"gcn\.PA$", "gcn.A"))
# network -> rules; a network of one's own has its own names.
_RULES = {
  "mstgcn": (),  # those of `_MSTGCN`, for modules
  "stgcn": _STGCN,
  **dict.fromkeys(("agcn", "aagcn", "ctrgcn"), _AGCN),
  "pyskl_stgcn": _PYSKL,
  **dict.fromkeys(("stgcnpp", "dgstgcn", "pyskl_aagcn"), _PYSKL_LEARNED),
  "pyskl_ctrgcn": (
    *_PYSKL_LEARNED,
    (r"^backbone\.gcn\.(\d+)\.(gcn|tcn)\.", r"backbone.net.\1.\g<2>1."),
    (r"^backbone\.gcn\.", "backbone.net."),
  ),
  "pyskl_msg3d": _MSG3D,
}
# Networks whose layers hold their fixed adjacency in the state dict.
_WITH_FIXED = ("mstgcn", "pyskl_stgcn", "pyskl_msg3d")
_LEARNED = ("learned_adjacency", "PA", (0, 1, 2))
# Modules with weights: (our attribute, the reference's, its axes in terms of ours).
_TENSORS = {
  BatchNorm: tuple((n, n, (0,)) for n in ("weight", "bias", "running_mean", "running_var")),
  GraphConv: (
    _LEARNED,
    ("weight", "gcn.weight", (0, 2, 1)),
    ("bias", "gcn.bias", (0,)),
  ),
  HopsGraphConv: (
    _LEARNED,
    ("weight", "mlp.layers.0.weight", (2, 0, 1)),
    ("bias", "mlp.layers.0.bias", (0,)),
  ),
  DepthwiseGraphConv: (
    _LEARNED,
    ("weight", "depth_gcn.weight", (0, 1)),
    ("bias", "depth_gcn.bias", (0,)),
  ),
  **dict.fromkeys(
    (TemporalConv, WindowConv), (("weight", "weight", (2, 1, 0)), ("bias", "bias", (0,)))
  ),
  nnx.Linear: (("kernel", "weight", (1, 0)), ("bias", "bias", (0,))),
  Acon: tuple((n, n, (0,)) for n in ("p1", "p2", "beta")),
  MetaAcon: tuple((n, n, (0,)) for n in ("p1", "p2")),
  AttentionGraphConv: (_LEARNED, ("alpha", "alpha", (0,))),
  ChannelwiseGraphConv: (_LEARNED, ("alpha", "alpha", (0,))),
  DynamicGraphConv: (_LEARNED, ("alpha", "alpha", (0,)), ("beta", "beta", (0,))),
  WithMeanJoint: (("share", "share", (0,)),),
}


def without_prefix(state: Mapping[str, Any]) -> dict[str, Any]:
  """A state dict without the `module.` that DataParallel puts before names.

  Raises:
    DataError: a tensor is there with it and without.
  """
  prefix = "module."
  if twice := [name for name in state if f"{prefix}{name}" in state]:
    raise DataError(f"the state dict has two of {', '.join(twice)}, one as {prefix}{twice[0]}")
  return {name.removeprefix(prefix): value for name, value in state.items()}


def modules(model: nnx.Module) -> Iterator[tuple[str, nnx.Module]]:
  """All modules with MST-GCN's names for them, or their paths in other networks."""
  rules = _MSTGCN if _network(model) == "mstgcn" else ()
  for path, module in nnx.iter_modules(model):
    yield _apply(rules, ".".join(map(str, path))), module


def tensors(
  model: nnx.Module,
) -> Iterator[tuple[str, nnx.Variable, tuple[int, ...], tuple[int, ...]]]:
  """Per variable: its name there, the variable, its axes there, its shape there."""
  rules = _RULES.get(_network(model), ())
  for path, module in modules(model):
    for attribute, leaf, axes in _TENSORS.get(type(module), ()):
      variable = getattr(module, attribute)
      if variable is None:  # nnx.Linear(use_bias=False), a fixed adjacency
        continue
      name = _apply(rules, f"{path}.{leaf}")
      shape = tuple(variable.shape[axis] for axis in axes)
      yield name, variable, axes, _shape_there(name, module, attribute, shape)


def without_name(model: nnx.Module) -> list[str]:
  """Paths of the parameters and running statistics that `tensors` leaves out."""
  named = {
    id(getattr(module, attribute))
    for _, module in nnx.iter_modules(model)
    for attribute, *_ in _TENSORS.get(type(module), ())
  }
  return [
    ".".join(map(str, path))
    for path, node in nnx.iter_graph(model)
    if isinstance(node, nnx.Param | nnx.BatchStat) and id(node) not in named
  ]


def constants(model: nnx.Module) -> dict[str, np.ndarray]:
  """Tensors of the state dict there that are no variables here."""
  network = _network(model)
  found = {}
  for name, module in modules(model):
    if isinstance(module, BatchNorm):
      counter = _apply(_RULES.get(network, ()), f"{name}.num_batches_tracked")
      found[counter] = np.asarray(0)
    elif isinstance(module, PartGate):
      found[f"{name}.joints"] = np.asarray(module.part_of_joint)
    elif network in _WITH_FIXED and getattr(module, "adjacency", None) is not None:
      name = _apply(_RULES[network], f"{name}.A")
      found[name] = np.asarray(module.adjacency, np.float32)
  if network == "stgcn":
    found["A"] = model.config.adjacency()
  elif network in ("pyskl_aagcn", "pyskl_ctrgcn"):
    found["backbone.A"] = model.config.adjacency()
  elif network == "pyskl_msg3d":
    found["backbone.A"] = model.config.adjacency()[0]
  elif network == "mstgcn" and model.config.layer_types[1] == "ms":
    found |= _unused(model)
  return found


def _unused(model: nnx.Module) -> dict[str, np.ndarray]:
  """MST-GCN's norms that its code never uses, as they start."""
  found = {}
  for i, block in list(enumerate(model.config.blocks))[1:]:
    prefix = f"layers.{i}{UNUSED_THERE}"
    for leaf, fill in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
      found[f"{prefix}{leaf}"] = np.full(block.out_channels, fill, np.float32)
    found[f"{prefix}num_batches_tracked"] = np.asarray(0)
  return found


def _network(model: nnx.Module) -> str:
  return model.config.network if isinstance(model, Network) else ""


def _apply(rules: Rules, name: str) -> str:
  for pattern, replacement in rules:
    name = re.sub(pattern, replacement, name)
  return name


def _shape_there(
  name: str, module: nnx.Module, attribute: str, shape: tuple[int, ...]
) -> tuple[int, ...]:
  """Shape of a tensor there, given that of the variable here with its axes in order."""
  if isinstance(module, Acon | MetaAcon):
    return 1, *shape, 1, 1
  if attribute not in ("weight", "kernel"):
    return shape
  if isinstance(module, HopsGraphConv):
    return shape[0], shape[1] * shape[2], 1, 1
  if isinstance(module, GraphConv):
    return shape[0] * shape[1], shape[2], 1, 1
  if isinstance(module, DepthwiseGraphConv):
    return shape[0] * shape[1], 1, 1, 1
  if name == "fcn.weight":  # ST-GCN's classifier is a convolution
    return *shape, 1, 1
  if isinstance(module, WindowConv):
    return *shape[:2], 1, shape[2], 1
  if isinstance(module, TemporalConv) and not name.endswith((".conv_sa.weight", ".conv_ta.weight")):
    return *shape, 1
  return shape
