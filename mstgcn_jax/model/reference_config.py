"""The published code bases' descriptions of a network as a `ModelConfig`."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mstgcn_jax import skeletons
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.model import torch_names
from mstgcn_jax.model.config import NETWORKS, ModelConfig

# Graphs by the names of each code base.
_GRAPHS = {"ntu_rgb_d": "ntu_rgbd", "kinetics": "kinetics"}
_GRAPHS_OF_AGCN = _GRAPHS | {"ucla": "nw_ucla"}
_LAYOUTS_OF_STGCN = {"ntu-rgb+d": "ntu_rgbd", "openpose": "kinetics"}
_LAYOUTS_OF_PYSKL = {"nturgb+d": "ntu_rgbd", "openpose": "kinetics", "coco": "coco"}
_STRATEGIES_OF_PYSKL = {
  "stgcn_spatial": "stgcn",
  "spatial": "spatial",
  "binary_adj": "binary",
  "random": "random",
}
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
# What a mapping may hold besides, of no consequence for the network.
_REMARKS = ("network", "source", "grad_and_after3")


def config_from_reference(model_args: Mapping[str, Any]) -> ModelConfig:
  """A published network's arguments as a `ModelConfig`.

  Args:
    model_args: the `model_args` of a YAML file of MST-GCN's code; with `network`, the same of
      ST-GCN ('st_gcn'), 2s-AGCN ('agcn', 'aagcn') or CTR-GCN ('ctrgcn'), or `backbone` and
      `cls_head` of PYSKL's configs ('stgcnpp', 'pyskl_…').
  Raises:
    ConfigError: names the argument that is missing, unknown, or has a value without counterpart.
  """
  args = dict(model_args)
  network = args.get("network", "mstgcn")
  if str(network) not in _READERS:
    allowed = ", ".join(_READERS)
    raise ConfigError(f"model_args: network is {network!r}; it must be one of {allowed}")
  for name in _REMARKS:
    args.pop(name, None)
  fields = _READERS[network](args)
  _nothing_left(args)
  return ModelConfig(**fields)


# Skeletons by their joints; where several have as many, the one that the code bases train on.
_BY_JOINTS = {25: "ntu_rgbd", 20: "nw_ucla", 18: "kinetics", 17: "coco"}


def config_from_state_dict(
  network: str,
  state: Mapping[str, Any],
  *,
  skeleton: skeletons.Skeleton | str | None = None,
  num_persons: int | None = None,
) -> ModelConfig:
  """A published network of the sizes that a state dict has, by its name (`config.NETWORKS`).

  Args:
    state: name -> array, as the code base names them.
    skeleton: None is the code bases' of as many joints; a state dict does not name it.
    num_persons: None is as many as the input's norm has three channels for, or, where persons share
      it, 2.
  Raises:
    ConfigError: there is no such network, or MST-GCN's, which a state dict does not tell; or a size
      makes no network.
    DataError: the state dict is of another network.
  """
  if network not in _CLASSIFIERS:
    allowed = ", ".join(_CLASSIFIERS)
    raise ConfigError(
      f"network is {network!r}; sizes follow from a state dict for {allowed}; of mstgcn give the "
      "YAML file that it was trained with instead of its name"
    )
  sizes = _shapes(network, torch_names.without_prefix(state))
  classifier, norm, adjacency = _CLASSIFIERS[network]
  classes, channels = sizes[classifier][:2]
  joints, features = sizes[adjacency][-1], sizes[norm][0]
  skeleton = _of_joints(joints, adjacency) if skeleton is None else skeletons.resolve(skeleton)
  if skeleton.num_joints != joints:
    raise DataError(f"{adjacency} is of {joints} joints; {skeleton.name} has {skeleton.num_joints}")
  shared = NETWORKS[network].input_norm == "VC"  # which hides how many persons share it
  if num_persons is None:
    num_persons = 2 if shared else max(1, features // joints // 3)
  persons = 1 if shared else num_persons
  if persons < 1:
    raise ConfigError(f"num_persons is {persons}; it must be a whole number of at least 1")
  if features % (joints * persons):
    raise DataError(
      f"{norm} has {features} features, which {joints} joints of {persons} persons do not divide"
    )
  # PYSKL links NTU's joints in its own way, but for DG-STGCN, which draws its links.
  ntu, of_pyskl = skeleton.name == "ntu_rgbd", NETWORKS[network].of_pyskl
  other_links = ntu and of_pyskl and network != "dgstgcn"
  return ModelConfig(
    num_classes=classes,
    network=network,
    skeleton=skeleton,
    width=channels // 4,
    graph="ntu_rgbd_pyskl" if other_links else None,
    **{field: sizes[name][0] for field, name in _MATRICES.get(network, {}).items()},
    num_persons=num_persons,
    in_channels=features // (joints * persons),
  )


def _shapes(network: str, state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
  """Shapes of the tensors that tell a network's sizes, each of a rank that it may have."""
  classifier, norm, adjacency = _CLASSIFIERS[network]
  matrices = _MATRICES.get(network, {}).values()
  ranks = {classifier: (2, 4), norm: (1,)} | dict.fromkeys((adjacency, *matrices), (2, 3))
  if missing := [name for name in ranks if name not in state]:
    raise DataError(f"the state dict is not of {network!r}: it lacks {', '.join(missing)}")
  shapes = {name: np.shape(state[name]) for name in ranks}
  for name, shape in shapes.items():
    if len(shape) not in ranks[name] or 0 in shape:
      raise DataError(f"the state dict is not of {network!r}: {name} has shape {shape}")
  return shapes


def _of_joints(joints: int, name: str) -> skeletons.Skeleton:
  if joints not in _BY_JOINTS:
    known = ", ".join(map(str, _BY_JOINTS))
    raise DataError(f"{name} is of {joints} joints; known are {known}: give the skeleton, too")
  return skeletons.get(_BY_JOINTS[joints])


# Names of the classifier's weight, the input norm's weight and an adjacency.
_OF_AGCN = ("fc.weight", "data_bn.weight", "l1.gcn1.PA")
_OF_PYSKL = ("cls_head.fc_cls.weight", "backbone.data_bn.weight")
_CLASSIFIERS = {
  "stgcn": ("fcn.weight", "data_bn.weight", "A"),
  **dict.fromkeys(("agcn", "aagcn", "ctrgcn"), _OF_AGCN),
  **dict.fromkeys(
    ("stgcnpp", "dgstgcn", "pyskl_stgcn", "pyskl_aagcn"), (*_OF_PYSKL, "backbone.gcn.0.gcn.A")
  ),
  "pyskl_ctrgcn": (*_OF_PYSKL, "backbone.net.0.gcn1.A"),
  "pyskl_msg3d": (*_OF_PYSKL, "backbone.A"),
}
# Fields that are numbers of matrices, and the names of these.
_MATRICES = {
  "dgstgcn": {"subsets": "backbone.gcn.0.gcn.A"},
  "pyskl_msg3d": {
    "gcn_scales": "backbone.sgcn1.0.A",
    "g3d_scales": "backbone.gcn3d1.gcn3d.0.gcn3d.1.A",
  },
}


# One reader for each code base: takes what it knows out of the arguments, returns fields.


def _mstgcn(args: dict[str, Any]) -> dict[str, Any]:
  _require(args, "num_class", "block_args", "graph")
  fields = {ours: args.pop(name) for name, ours in _FIELDS.items() if name in args}
  fields["blocks"] = _blocks(args)
  fields["in_channels"], fields["width"] = fields["blocks"][0][:2]
  if not isinstance(fields.get("block_type", ""), str) or ":" in fields.get("block_type", ""):
    raise ConfigError(
      f"model_args: block_type is {fields['block_type']!r}, unknown to the reference"
    )
  skeleton = _graph(args, _GRAPHS)
  if parts := args.pop("parts", None):
    parts = _tuples("parts", parts)
    skeleton = dataclasses.replace(skeleton, parts=parts, part_edges=())
  fields["skeleton"] = skeleton
  fields["strategy"] = _labeling_mode(args)
  layer_type = args.pop("layer_type", "basic")
  fields["layer_type"] = "basic" if layer_type == "normal" else layer_type
  attention = args.pop("atten", None)
  fields["attention"] = None if attention == "None" else attention
  _only(args, "bias", True)
  return fields


def _stgcn(args: dict[str, Any]) -> dict[str, Any]:
  _require(args, "num_class", "graph_args")
  fields = {"network": "stgcn", **_sizes(args)}
  graph_args = _mapping(args, "graph_args")
  fields["skeleton"] = _one_of("graph_args.layout", graph_args.pop("layout", ""), _LAYOUTS_OF_STGCN)
  strategies = {"spatial": "stgcn", "uniform": "uniform"}
  strategy = graph_args.pop("strategy", "uniform")
  fields["strategy"] = _one_of("graph_args.strategy", strategy, strategies)
  _only(graph_args, "max_hop", 1, "graph_args.")
  _only(graph_args, "dilation", 1, "graph_args.")
  _nothing_left(graph_args, "graph_args.")
  weighted = args.pop("edge_importance_weighting", False)
  fields["edge_weights"] = "scaled" if weighted else "fixed"
  fields["dropout"] = args.pop("dropout", 0)
  return fields


def _agcn(network: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
  def read(args: dict[str, Any]) -> dict[str, Any]:
    _require(args, "graph")
    args.setdefault("num_class", 60)
    fields = {"network": network, **_sizes(args), "skeleton": _graph(args, _GRAPHS_OF_AGCN)}
    fields["strategy"] = _labeling_mode(args)
    if network != "agcn":
      _only(args, "adaptive", True)
      fields["dropout"] = args.pop("drop_out", 0)
    if network == "aagcn":
      fields["gates"] = args.pop("attention", True)
    return fields

  return read


def _pyskl(args: dict[str, Any]) -> dict[str, Any]:
  _require(args, "backbone", "cls_head")
  backbone, head = _mapping(args, "backbone"), _mapping(args, "cls_head")
  args.pop("num_class", None)  # the head's
  args.pop("block_args", None)  # what the backbone's stages come to
  for name in ("type", "train_cfg", "test_cfg"):
    args.pop(name, None)
  _require(head, "num_classes")
  fields = {"num_classes": head.pop("num_classes"), **_backbone_kind(backbone)}
  _only(head, "dropout", 0.0, "cls_head.")
  for name in ("type", "in_channels"):
    head.pop(name, None)
  _nothing_left(head, "cls_head.")
  fields |= _three_stages(backbone) if fields["network"] == "pyskl_msg3d" else _stages(backbone)
  graph = _mapping(backbone, "graph_cfg")
  skeleton = _one_of("graph_cfg.layout", graph.pop("layout", ""), _LAYOUTS_OF_PYSKL)
  fields["skeleton"] = skeleton
  fields["graph"] = "ntu_rgbd_pyskl" if skeleton == "ntu_rgbd" else None
  fields["strategy"] = _one_of("graph_cfg.mode", graph.pop("mode", ""), _STRATEGIES_OF_PYSKL)
  if fields["strategy"] == "random":
    fields["subsets"] = graph.pop("num_filter", 3)
    _only(graph, "init_off", 0.04, "graph_cfg.")
    _only(graph, "init_std", 0.02, "graph_cfg.")
  _only(graph, "max_hop", 1, "graph_cfg.")
  _nothing_left(graph, "graph_cfg.")
  fields["num_persons"] = backbone.pop("num_person", 2)
  fields["input_norm"] = backbone.pop("data_bn_type", None)
  fields["dropout"] = backbone.pop("tcn_dropout", 0)
  _only(backbone, "pretrained", None, "backbone.")
  _nothing_left(backbone, "backbone.")
  return fields


def _backbone_kind(backbone: dict[str, Any]) -> dict[str, Any]:
  """Network and layers of a PYSKL backbone."""
  kind = backbone.pop("type", None)
  if kind == "STGCN":
    temporal = backbone.pop("tcn_type", "unit_tcn")
    adaptive, with_res = backbone.pop("gcn_adaptive", "importance"), backbone.pop("gcn_with_res", 0)
    found = (adaptive, bool(with_res), temporal)
    if found == ("importance", False, "unit_tcn"):
      return {"network": "pyskl_stgcn"}
    if found == ("init", True, "mstcn"):
      return {"network": "stgcnpp", **_branches(backbone)}
    raise ConfigError(
      f"model_args: backbone has gcn_adaptive, gcn_with_res, tcn_type {found}; there are "
      "('importance', False, 'unit_tcn') of ST-GCN and ('init', True, 'mstcn') of ST-GCN++"
    )
  if kind == "DGSTGCN":
    for name in ("gcn_ctr", "gcn_ada"):
      _only(backbone, name, "T", "backbone.")
    for name, value in (("gcn_type", "dggcn"), ("tcn_type", "dgmstcn")):
      _only(backbone, name, value, "backbone.")
    ratio = backbone.pop("gcn_ratio", 0.25)
    if type(ratio) not in (int, float) or not 0 < ratio <= 1 or (1 / ratio) % 1:
      raise ConfigError(
        f"model_args: backbone.gcn_ratio is {ratio!r}; it must be 1 / a whole number"
      )
    return {"network": "dgstgcn", "embedding": round(1 / ratio), **_branches(backbone)}
  networks = {"AAGCN": "pyskl_aagcn", "CTRGCN": "pyskl_ctrgcn", "MSG3D": "pyskl_msg3d"}
  return {"network": _one_of("backbone.type", kind, networks)}


def _branches(backbone: dict[str, Any]) -> dict[str, Any]:
  branches = backbone.pop("tcn_ms_cfg", None)
  if branches is None:
    return {}
  if not isinstance(branches, list | tuple):
    raise ConfigError(f"model_args: backbone.tcn_ms_cfg is {branches!r}; it must be a list")
  return {"branches": branches}


def _three_stages(backbone: dict[str, Any]) -> dict[str, Any]:
  """Sizes of PYSKL's MS-G3D."""
  sizes = {
    "width": backbone.pop("base_channels", 96),
    "in_channels": backbone.pop("in_channels", 3),
  }
  scales = {"gcn_scales": "num_gcn_scales", "g3d_scales": "num_g3d_scales"}
  return sizes | {ours: backbone.pop(name) for ours, name in scales.items() if name in backbone}


def _stages(backbone: dict[str, Any]) -> dict[str, Any]:
  """Blocks of a PYSKL backbone, whose stages (from 1) widen and take every other frame at will."""
  width, in_channels = _number(backbone, "base_channels", 64), _number(backbone, "in_channels", 3)
  stages = _number(backbone, "num_stages", 10)
  inflate, down = _numbers(backbone, "inflate_stages"), _numbers(backbone, "down_stages")
  _only(backbone, "ch_ratio", 2, "backbone.")
  blocks, channels = [(in_channels, width, False, 1)], width
  for stage in range(2, stages + 1):
    out = width * 2 ** sum(i <= stage for i in inflate)
    blocks.append((channels, out, True, 2 if stage in down else 1))
    channels = out
  return {"blocks": tuple(blocks), "in_channels": in_channels, "width": width}


def _number(backbone: dict[str, Any], name: str, default: int) -> int:
  value = backbone.pop(name, default)
  if type(value) is not int or value < 1:
    raise ConfigError(f"model_args: backbone.{name} is {value!r}; it must be a whole number from 1")
  return value


def _numbers(backbone: dict[str, Any], name: str) -> list[int]:
  value = backbone.pop(name, [5, 8])
  if not isinstance(value, list | tuple) or not all(type(i) is int for i in value):
    raise ConfigError(f"model_args: backbone.{name} is {value!r}; it must be a list of stages")
  return list(value)


_READERS = {
  "mstgcn": _mstgcn,
  "st_gcn": _stgcn,
  "agcn": _agcn("agcn"),
  "aagcn": _agcn("aagcn"),
  "ctrgcn": _agcn("ctrgcn"),
  "stgcnpp": _pyskl,
  "pyskl_stgcn": _pyskl,
  "pyskl_aagcn": _pyskl,
  "pyskl_ctrgcn": _pyskl,
  "pyskl_dgstgcn": _pyskl,
  "pyskl_msg3d": _pyskl,
}


def _sizes(args: dict[str, Any]) -> dict[str, Any]:
  """Fields of the sizes, of code whose widths are fixed: `base_channels`, `block_args` alter it."""
  fields = {"num_classes": args.pop("num_class"), "num_persons": args.pop("num_person", 2)}
  fields["in_channels"] = args.pop("in_channels", 3)
  fields["width"] = args.pop("base_channels", None)
  if "block_args" in args:
    fields["blocks"] = _blocks(args)
    fields["width"] = fields["blocks"][0][1]
  return fields


def _blocks(args: dict[str, Any]) -> tuple[tuple, ...]:
  blocks = _tuples("block_args", args.pop("block_args"))
  if any(len(block) < 2 for block in blocks):
    raise ConfigError(f"model_args: block_args is {blocks}; give (in, out, residual, stride) each")
  return blocks


def _graph(args: dict[str, Any], graphs: Mapping[str, str]) -> skeletons.Skeleton:
  """The skeleton of `graph`, a class's name, and `num_point`."""
  graph = str(args.pop("graph"))
  name = graph.removeprefix("graph.").removesuffix(".Graph")
  if name not in graphs:
    allowed = " or ".join(f"graph.{name}.Graph" for name in graphs)
    raise ConfigError(f"model_args: graph is {graph!r}; it must be {allowed}")
  skeleton = skeletons.get(graphs[name])
  joints = args.pop("num_point", skeleton.num_joints)
  if joints != skeleton.num_joints:
    raise ConfigError(
      f"model_args: num_point is {joints}, but {graph!r} has {skeleton.num_joints} joints"
    )
  return skeleton


def _labeling_mode(args: dict[str, Any]) -> str:
  graph_args = _mapping(args, "graph_args")
  strategy = graph_args.pop("labeling_mode", args.pop("labeling_mode", "spatial"))
  _nothing_left(graph_args, "graph_args.")
  return strategy


def _require(args: Mapping[str, Any], *names: str) -> None:
  for name in names:
    if name not in args:
      raise ConfigError(f"model_args has no {name!r}")


def _mapping(args: dict[str, Any], name: str) -> dict[str, Any]:
  value = args.pop(name, None) or {}
  if not isinstance(value, Mapping):
    raise ConfigError(f"model_args: {name} is {value!r}; it must be a mapping")
  return dict(value)


def _one_of(name: str, value: Any, known: Mapping[str, str]) -> str:
  if str(value) not in known:
    raise ConfigError(f"model_args: {name} is {value!r}; it must be one of {', '.join(known)}")
  return known[value]


def _only(args: dict[str, Any], name: str, value: Any, prefix: str = "") -> None:
  """Takes an argument out that may have one value only."""
  if (found := args.pop(name, value)) != value:
    raise ConfigError(
      f"model_args: {prefix}{name} is {found!r}; it must be {value!r}, others have no counterpart"
    )


def _nothing_left(args: Mapping[str, Any], prefix: str = "") -> None:
  if args:
    names = ", ".join(f"{prefix}{name}" for name in args)
    raise ConfigError(f"model_args: {names} has no counterpart here")


def _tuples(name: str, value: Any) -> tuple[tuple, ...]:
  """A list of lists as tuples; ConfigError where it is none, or empty."""
  rows = value if isinstance(value, list | tuple) else ()
  if not rows or not all(isinstance(row, list | tuple) for row in rows):
    raise ConfigError(f"model_args: {name} is {value!r}; it must be a list of lists")
  return tuple(map(tuple, rows))
