"""A function of one batch of arrays as an ONNX graph, made of its jaxpr operation by operation.

jax2onnx, which does this in general, is not used: its releases to date (0.17.1) hold
orbax-checkpoint below the version that this project needs, take the network's maximum over padded
frames for one of two types, which onnxruntime refuses, and need a minute for it.

What depends on the batch's size is found by tracing for two sizes: a dimension is then
k · batch + c. What does not depend on the input is computed now and stored.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from mstgcn_jax.errors import ConfigError

OPSET = 17
IR_VERSION = 8  # what onnxruntime reads since 1.12, as that opset
_SIZES = (2, 3)  # of the batch, traced for

# An array known now, or the name of a value of the graph.
_Value = np.ndarray | str
# (k, c): k · batch + c.
_Dims = tuple[tuple[int, int], ...]

_ELEMENTWISE = {
  **{"add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow"},
  **{"max": "Max", "min": "Min", "exp": "Exp", "log": "Log", "tanh": "Tanh", "abs": "Abs"},
  **{"logistic": "Sigmoid", "neg": "Neg", "sqrt": "Sqrt", "sign": "Sign", "erf": "Erf"},
  **{"and": "And", "or": "Or", "not": "Not", "eq": "Equal", "copy": "Identity"},
  **{"stop_gradient": "Identity"},
  **{"gt": "Greater", "ge": "GreaterOrEqual", "lt": "Less", "le": "LessOrEqual"},
}
_REDUCTIONS = {"reduce_max": "ReduceMax", "reduce_min": "ReduceMin"}
# What runs another jaxpr once, unlike a loop: names of jax.jit, jax.checkpoint and own derivatives.
_CALLS = (
  *("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint"),
  *("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"),
)


def to_onnx(
  function: Callable[[jax.Array], jax.Array],
  shape: tuple[int, ...],
  *,
  input_name: str,
  output_name: str,
) -> Any:
  """The ONNX model of a function of float32 [batch, *shape] that gives one array [batch, …].

  Raises:
    ConfigError: onnx is not installed, or the function has an operation that is not known here.
  """
  arguments = [jax.ShapeDtypeStruct((size, *shape), np.float32) for size in _SIZES]
  traced = [jax.make_jaxpr(function)(argument) for argument in arguments]
  graph = _Graph(input_name)
  graph.dims[input_name] = _dims(*arguments)
  (clips,) = traced[0].jaxpr.invars
  (result,) = graph.run(*traced, {clips: input_name})
  dims = _dims(*(jaxpr.out_avals[0] for jaxpr in traced))
  return graph.model(graph.full(result, dims), output_name, dims)


def _dims(first: Any, second: Any) -> _Dims:
  """The dimensions of a value whose shapes in the two traces are these."""
  difference = _SIZES[1] - _SIZES[0]
  found = []
  for a, b in zip(first.shape, second.shape, strict=True):
    k = (b - a) // difference
    found.append((k, a - k * _SIZES[0]))
  return tuple(found)


def _is_fixed(dims: _Dims) -> bool:
  return not any(k for k, _ in dims)


class _Graph:
  """The nodes made so far.

  Attributes:
    dims: of each value the dimensions that it has. Those of a broadcast value may be 1 where the
      jaxpr's are larger: operations on elements broadcast by themselves.
  """

  def __init__(self, input_name: str):
    try:
      import onnx
    except ImportError:
      raise ConfigError("ONNX files need onnx; pip install 'mstgcn-jax[export]'") from None
    self.onnx = onnx
    self.input_name = input_name
    self.nodes: list[Any] = []
    self.stored: dict[tuple, str] = {}
    self.tensors: list[Any] = []
    self.dims: dict[str, _Dims] = {}

  def model(self, result: str, output_name: str, dims: _Dims) -> Any:
    helper, float32 = self.onnx.helper, self.onnx.TensorProto.FLOAT
    self.nodes.append(helper.make_node("Identity", [result], [output_name], name=output_name))
    described = lambda name, dims: helper.make_tensor_value_info(
      name, float32, [c if not k else "batch" for k, c in dims]
    )
    graph = helper.make_graph(
      self.nodes,
      "classifier",
      [described(self.input_name, self.dims[self.input_name])],
      [described(output_name, dims)],
      self.tensors,
    )
    model = helper.make_model(
      graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="mstgcn-jax"
    )
    model.ir_version = IR_VERSION
    self.onnx.checker.check_model(model)
    return model

  def run(self, first: core.ClosedJaxpr, second: core.ClosedJaxpr, env: dict) -> list[_Value]:
    """The outputs of a jaxpr, of which `env` has the inputs; `second` is its other trace."""
    env.update(zip(first.jaxpr.constvars, map(np.asarray, first.consts), strict=True))
    read = lambda v: np.asarray(v.val, v.aval.dtype) if isinstance(v, core.Literal) else env[v]
    for eqn, other in zip(first.jaxpr.eqns, second.jaxpr.eqns, strict=True):
      if _literals(eqn) != _literals(other):
        raise ConfigError("ONNX: this network computes with the batch's size")
      values = [read(v) for v in eqn.invars]
      inner = _inner(eqn), _inner(other)
      if inner[0] is not None:
        inputs = dict(zip(inner[0].jaxpr.invars, values, strict=True))
        outputs = self.run(*inner, inputs)
      else:
        outputs = self.apply(_Operation(eqn, other), values)
      env.update(zip(eqn.outvars, outputs, strict=True))
    return [read(v) for v in first.jaxpr.outvars]

  def apply(self, op: "_Operation", values: list[_Value]) -> list[_Value]:
    fixed = all(map(_is_fixed, [*op.inputs, *op.outputs]))
    if fixed and all(isinstance(v, np.ndarray) for v in values):
      found = op.primitive.bind(*values, **op.params)
      return [np.asarray(x) for x in (found if op.primitive.multiple_results else [found])]
    if op.name in _ELEMENTWISE:
      return [self.elementwise(_ELEMENTWISE[op.name], *values)]
    if op.name not in _HANDLERS:
      raise ConfigError(
        f"ONNX: this network has the operation {op.name!r}, for which no counterpart is known "
        "here; --to stablehlo takes any network"
      )
    outputs = _HANDLERS[op.name](self, op, *values)
    return outputs if isinstance(outputs, list) else [outputs]

  def node(self, kind: str, *values: _Value, dims: _Dims | None, **attributes) -> str:
    """Adds a node; `dims` are its output's."""
    name = f"{kind.lower()}_{len(self.nodes)}"
    inputs = [self.stored_as(v) for v in values]
    # With names: onnxruntime 1.18 to 1.21 name what they make of nodes after these, and refuse two
    # of one name.
    self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], name=name, **attributes))
    self.dims[name] = dims
    return name

  def stored_as(self, value: _Value) -> str:
    """The value's name; an array becomes an initial value of the graph, each content once."""
    if isinstance(value, str):
      return value
    key = (value.shape, value.dtype.str, value.tobytes())
    if key not in self.stored:
      self.stored[key] = f"constant_{len(self.stored)}"
      self.tensors.append(
        self.onnx.numpy_helper.from_array(np.ascontiguousarray(value), self.stored[key])
      )
      self.dims[self.stored[key]] = self.dims_of(value)
    return self.stored[key]

  def dims_of(self, value: _Value) -> _Dims:
    return self.dims[value] if isinstance(value, str) else tuple((0, n) for n in value.shape)

  def elementwise(self, kind: str, *values: _Value) -> str:
    names = [self.stored_as(v) for v in values]
    return self.node(kind, *names, dims=_broadcast([self.dims[name] for name in names]))

  def reshape(self, value: _Value, dims: _Dims) -> _Value:
    if isinstance(value, np.ndarray):
      return value.reshape([c for _, c in dims])
    if self.dims[value] == dims:
      return value
    if sum(k != 0 for k, _ in dims) > 1:
      raise ConfigError("ONNX: this network has the batch in two dimensions of one array")
    sizes = np.array([-1 if k else c for k, c in dims], np.int64)
    return self.node("Reshape", value, sizes, dims=dims)

  def full(self, value: _Value, dims: _Dims) -> str:
    """The value, as large as it is in the jaxpr."""
    value = self.stored_as(value)
    if self.dims[value] == dims:
      return value
    shape = self.node("Shape", self.input_name, dims=((0, len(self.dims[self.input_name])),))
    batch = self.node("Gather", shape, np.array([0]), dims=((0, 1),))
    scaled = self.node("Mul", batch, np.array([k for k, _ in dims]), dims=((0, len(dims)),))
    sizes = self.node("Add", scaled, np.array([c for _, c in dims]), dims=((0, len(dims)),))
    return self.node("Expand", value, sizes, dims=dims)

  def transpose(self, value: _Value, order: Sequence[int]) -> _Value:
    if isinstance(value, np.ndarray):
      return value.transpose(order)
    if list(order) == sorted(order):
      return value
    dims = tuple(self.dims[value][i] for i in order)
    return self.node("Transpose", value, dims=dims, perm=list(order))


class _Operation:
  """An equation of a jaxpr, with the dimensions of its inputs and outputs."""

  def __init__(self, eqn: Any, other: Any):
    self.primitive, self.name = eqn.primitive, eqn.primitive.name
    self.params, self.other_params = eqn.params, other.params
    pairs = lambda a, b: [_dims(x.aval, y.aval) for x, y in zip(a, b, strict=True)]
    self.inputs = pairs(eqn.invars, other.invars)
    self.outputs = pairs(eqn.outvars, other.outvars)
    self.types = [v.aval.dtype for v in eqn.outvars]


def _inner(eqn: Any) -> core.ClosedJaxpr | None:
  """What an equation calls; None for a primitive operation."""
  if eqn.primitive.name not in _CALLS:
    return None
  for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
    if (inner := eqn.params.get(name)) is not None:
      return inner if isinstance(inner, core.ClosedJaxpr) else core.ClosedJaxpr(inner, ())
  return None


def _literals(eqn: Any) -> list[str]:
  return [repr(v.val) for v in eqn.invars if isinstance(v, core.Literal)]  # NaN equals itself so


def _broadcast(all_dims: Sequence[_Dims]) -> _Dims:
  rank = max(map(len, all_dims))
  padded = [((0, 1),) * (rank - len(dims)) + dims for dims in all_dims]
  return tuple(next((d for d in at if d != (0, 1)), (0, 1)) for at in zip(*padded, strict=True))


def _type(graph: _Graph, dtype: np.dtype) -> int:
  return graph.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _convert(graph, op, x):
  x = graph.stored_as(x)
  return graph.node("Cast", x, dims=graph.dims[x], to=_type(graph, op.types[0]))


def _not_equal(graph, op, x, y):
  return graph.elementwise("Not", graph.elementwise("Equal", x, y))


def _select(graph, op, which, *cases):
  no, yes = cases
  return graph.elementwise("Where", which, yes, no)


def _integer_power(graph, op, x):
  exponent = op.params["y"]
  if exponent == 2:
    return _square(graph, op, x)
  return graph.elementwise("Pow", x, np.array(exponent, op.types[0]))


def _square(graph, op, x):
  return graph.elementwise("Mul", x, x)


def _rsqrt(graph, op, x):
  return graph.elementwise("Reciprocal", graph.elementwise("Sqrt", x))


def _clamp(graph, op, low, x, high):
  return graph.elementwise("Min", graph.elementwise("Max", x, low), high)


def _reshape(graph, op, x):
  return graph.reshape(graph.full(x, op.inputs[0]), op.outputs[0])


def _broadcast_in_dim(graph, op, x):
  """Only puts the dimensions where they belong; 1 where they are to be repeated."""
  has = graph.dims_of(x)
  dims = [(0, 1)] * len(op.outputs[0])
  for at, dim in zip(op.params["broadcast_dimensions"], has, strict=True):
    dims[at] = dim
  return graph.reshape(x, tuple(dims))


def _transpose(graph, op, x):
  return graph.transpose(graph.stored_as(x), op.params["permutation"])


def _slice(graph, op, x):
  p, q = op.params, op.other_params
  strides = p["strides"] or (1,) * len(p["start_indices"])
  whole = [
    (begin, step, *ends) == (0, 1, *(k * size + c for size in _SIZES))
    for begin, step, *ends, (k, c) in zip(
      p["start_indices"], strides, p["limit_indices"], q["limit_indices"], op.inputs[0], strict=True
    )
  ]
  axes = [i for i, all_of_it in enumerate(whole) if not all_of_it]
  if any(op.inputs[0][axis][0] for axis in axes):
    raise ConfigError("ONNX: this network takes a part of the batch")
  at = lambda values: np.array([values[axis] for axis in axes], np.int64)
  begin, end = at(p["start_indices"]), at(p["limit_indices"])
  x = graph.full(x, op.inputs[0])
  return graph.node("Slice", x, begin, end, np.array(axes), at(strides), dims=op.outputs[0])


def _cut(graph, op, x, sizes, axis):
  """Pieces of these sizes along an axis."""
  x, start, pieces = graph.full(x, op.inputs[0]), 0, []
  for size in sizes:
    dims = list(op.inputs[0])
    dims[axis] = (0, size)
    ends = (np.array([i], np.int64) for i in (start, start + size, axis))
    pieces.append(graph.node("Slice", x, *ends, dims=tuple(dims)))
    start += size
  return pieces


def _split(graph, op, x):
  return _cut(graph, op, x, op.params["sizes"], op.params["axis"])


def _unstack(graph, op, x):
  axis = op.params["axis"]
  pieces = _cut(graph, op, x, [1] * op.inputs[0][axis][1], axis)
  return [graph.reshape(piece, op.outputs[0]) for piece in pieces]


def _concatenate(graph, op, *parts):
  parts = [graph.full(x, dims) for x, dims in zip(parts, op.inputs, strict=True)]
  return graph.node("Concat", *parts, dims=op.outputs[0], axis=op.params["dimension"])


def _stack(graph, op, *parts):
  axis = op.params["axis"]
  dims = (*op.outputs[0][:axis], (0, 1), *op.outputs[0][axis + 1 :])
  layers = [
    graph.reshape(graph.full(x, of_x), dims) for x, of_x in zip(parts, op.inputs, strict=True)
  ]
  return graph.node("Concat", *layers, dims=op.outputs[0], axis=axis)


def _pad(graph, op, x, value):
  config = op.params["padding_config"]
  if any(low < 0 or high < 0 or between for low, high, between in config):
    raise ConfigError("ONNX: this network pads by less than nothing, or between elements")
  sizes = np.array([low for low, _, _ in config] + [high for _, high, _ in config], np.int64)
  return graph.node("Pad", graph.full(x, op.inputs[0]), sizes, value, dims=op.outputs[0])


def _gather(graph, op, x, indices):
  """x[…, indices, …] along one axis, which is all that streams and networks take."""
  d = op.params["dimension_numbers"]
  sizes, shape = op.params["slice_sizes"], op.inputs[0]
  axes = d.collapsed_slice_dims
  plain = (
    len(axes) == 1
    and d.start_index_map == axes
    and not d.operand_batching_dims
    and isinstance(indices, np.ndarray)
    and indices.ndim == 2
    and all(
      size == (1 if i in axes else k * _SIZES[0] + c)
      for i, (size, (k, c)) in enumerate(zip(sizes, shape, strict=True))
    )
    and d.offset_dims == tuple(i for i in range(len(shape)) if i != axes[0])
  )
  if not plain:
    raise ConfigError("ONNX: this network picks elements in a way that is not known here")
  x = graph.full(x, shape)
  taken = indices[:, 0].astype(np.int64)
  return graph.node("Gather", x, taken, dims=op.outputs[0], axis=axes[0])


def _reduce(graph, op, x):
  x = graph.full(x, op.inputs[0])
  options = {"axes": list(op.params["axes"]), "keepdims": 0}
  return graph.node(_REDUCTIONS[op.name], x, dims=op.outputs[0], **options)


def _sum(graph, op, x):
  axes = np.array(op.params["axes"], np.int64)
  return graph.node("ReduceSum", graph.full(x, op.inputs[0]), axes, dims=op.outputs[0], keepdims=0)


def _any(graph, op, x):
  numbers = graph.node(
    "Cast", graph.full(x, op.inputs[0]), dims=op.inputs[0], to=_type(graph, np.float32)
  )
  best = graph.node(
    "ReduceMax", numbers, dims=op.outputs[0], axes=list(op.params["axes"]), keepdims=0
  )
  return graph.node("Cast", best, dims=op.outputs[0], to=_type(graph, np.bool_))


def _dot(graph, op, x, y):
  """As products of matrices, broadcast over the dimensions that the operands share."""
  (of_x, of_y), (batch_x, batch_y) = op.params["dimension_numbers"]
  left, right = op.inputs
  if not batch_x and of_x == (len(left) - 1,) and of_y == (0,) and len(right) == 2:
    return graph.node("MatMul", graph.full(x, left), graph.full(y, right), dims=op.outputs[0])
  free_x = [i for i in range(len(left)) if i not in (*of_x, *batch_x)]
  free_y = [i for i in range(len(right)) if i not in (*of_y, *batch_y)]
  x = _as_matrices(graph, x, left, batch_x, free_x, of_x)
  y = _as_matrices(graph, y, right, batch_y, of_y, free_y)
  shared = _broadcast([graph.dims[x][:-2], graph.dims[y][:-2]])
  rows, columns = [left[i] for i in free_x], [right[i] for i in free_y]
  product = graph.node("MatMul", x, y, dims=(*shared, _merged(rows), _merged(columns)))
  return graph.reshape(product, (*shared, *rows, *columns))


def _as_matrices(graph, value, dims, shared, rows, columns) -> str:
  """[…, row, column], of an operand's axes; shared ones stay 1 where they are to be repeated."""
  value = graph.stored_as(value)
  has = graph.dims[value]
  wanted = tuple(has[i] if i in shared else dim for i, dim in enumerate(dims))
  ordered = graph.transpose(graph.full(value, wanted), [*shared, *rows, *columns])
  merged = [_merged([dims[i] for i in axes]) for axes in (rows, columns)]
  return graph.reshape(ordered, (*(has[i] for i in shared), *merged))


def _merged(dims: Sequence[tuple[int, int]]) -> tuple[int, int]:
  """The dimension that these make together."""
  k, c = 0, 1
  for k_next, c_next in dims:
    if k and k_next:
      raise ConfigError("ONNX: this network has the batch in two dimensions of one array")
    k, c = k * c_next + c * k_next, c * c_next
  return k, c


def _convolution(graph, op, x, weight):
  p = op.params
  numbers = p["dimension_numbers"]
  if any(n != 1 for n in p["lhs_dilation"]) or p["batch_group_count"] != 1:
    raise ConfigError("ONNX: this network has a transposed convolution")
  y = graph.node(
    "Conv",
    graph.transpose(graph.full(x, op.inputs[0]), numbers.lhs_spec),
    graph.transpose(weight, numbers.rhs_spec),
    dims=tuple(op.outputs[0][i] for i in numbers.out_spec),
    strides=list(p["window_strides"]),
    dilations=list(p["rhs_dilation"]),
    group=p["feature_group_count"],
    pads=[low for low, _ in p["padding"]] + [high for _, high in p["padding"]],
  )
  return graph.transpose(y, np.argsort(numbers.out_spec).tolist())


# Primitive -> function(graph, operation, *values) -> value, or a list of them.
_HANDLERS: dict[str, Callable[..., Any]] = {
  **{"convert_element_type": _convert, "ne": _not_equal, "select_n": _select},
  **{"integer_pow": _integer_power, "square": _square, "rsqrt": _rsqrt, "clamp": _clamp},
  **{"reshape": _reshape, "squeeze": _reshape, "expand_dims": _reshape},
  **{"broadcast_in_dim": _broadcast_in_dim, "transpose": _transpose},
  **{"slice": _slice, "split": _split, "unstack": _unstack, "concatenate": _concatenate},
  **{"stack": _stack},
  **{"pad": _pad, "gather": _gather, "reduce_sum": _sum, "reduce_or": _any},
  **dict.fromkeys(_REDUCTIONS, _reduce),
  **{"dot_general": _dot, "conv_general_dilated": _convolution},
}
