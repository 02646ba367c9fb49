"""A table of a network's layers: output shapes, parameters, FLOPs.

FLOPs are those of a forward pass of one clip: convolutions, aggregation and classifier, 2 per
multiply-add, as the publication counts them; in layers of your own also `nnx.Linear` and
`nnx.Conv`.
"""

import contextlib
import dataclasses
import math
import threading
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx

from mstgcn_jax.model import ModelConfig, make_network, neighbours
from mstgcn_jax.model.activations import Acon, MetaAcon
from mstgcn_jax.model.disentangled import HopsGraphConv
from mstgcn_jax.model.inferred import AttentionGraphConv, ChannelwiseGraphConv, DynamicGraphConv
from mstgcn_jax.model.neighbours import WithMeanJoint
from mstgcn_jax.model.norm import BatchNorm
from mstgcn_jax.model.spatial import DepthwiseGraphConv, GraphConv
from mstgcn_jax.model.temporal import TemporalConv

_INFERRED = (AttentionGraphConv, ChannelwiseGraphConv, DynamicGraphConv)
_FLAX = (nnx.Linear, nnx.Conv)
_COUNTED = (TemporalConv, GraphConv, DepthwiseGraphConv, HopsGraphConv, *_INFERRED, *_FLAX)
_PATCHING = threading.Lock()  # `_counting` exchanges methods of classes, which all threads have
# Without their FLOPs, as the publication counts.
_ELEMENTWISE = (BatchNorm, Acon, MetaAcon, WithMeanJoint)


@dataclasses.dataclass(frozen=True)
class Row:
  """One layer: its name, the shape that it puts out for one clip, parameters, FLOPs.

  `uncounted` names the modules in it whose work is not among the FLOPs: those of a layer of one's
  own that have parameters of another kind.
  """

  name: str
  shape: tuple[int, ...]
  parameters: int
  flops: int
  uncounted: tuple[str, ...] = ()


def rows(config: ModelConfig, frames: int = 300) -> list[Row]:
  """Every layer of the network: input norm, each block's layers, classifier; one of your own whole.

  Args:
    frames: of the clip.
  """
  result = []

  def trace():  # only shapes are computed
    model = make_network(config, rngs=nnx.Rngs(0))
    model.eval()
    joints, persons = config.skeleton.num_joints, config.num_persons
    x = jnp.zeros((persons, joints, frames, config.in_channels))
    if ":" in config.network:  # of one's own, which may be anything
      clips = jnp.zeros((1, persons, frames, joints, config.in_channels))
      result.append(_row("network", model, clips)[0])
      return
    result.append(Row("norm_in", _clip_shape(x), _parameters(model.norm_in), 0))
    for i, block in enumerate(model.blocks):
      before = x
      for name in ("spatial", "temporal", "shortcut", "activation", "attention"):
        layer = getattr(block, name)
        if isinstance(layer, nnx.Module):  # not a function, which has no parameters
          row, y = _row(f"blocks.{i}.{name}", layer, before if name == "shortcut" else x)
          result.append(row)
          x = x if name == "shortcut" else y
    flops = 2 * x.shape[-1] * config.num_classes
    result.append(Row("classifier", (config.num_classes,), _parameters(model.classifier), flops))

  jax.eval_shape(trace)
  return result


def forward_flops(config: ModelConfig, frames: int = 300) -> int:
  """FLOPs of a forward pass of one clip."""
  return sum(row.flops for row in rows(config, frames))


def table(config: ModelConfig, frames: int = 300) -> str:
  """`rows` as text, with their sums."""
  found = rows(config, frames)
  parameters, flops = sum(r.parameters for r in found), sum(r.flops for r in found)
  lines = [("layer", "person × frame × joint × channel", "parameters", "MFLOP")]
  lines += [
    (r.name, " × ".join(map(str, r.shape)), f"{r.parameters:,}", f"{r.flops / 1e6:,.1f}")
    for r in found
  ]
  a, b, c, d = (max(map(len, column)) for column in zip(*lines, strict=True))
  text = [f"{w:<{a}}  {x:<{b}}  {y:>{c}}  {z:>{d}}" for w, x, y, z in lines]
  for row in found:
    if row.uncounted:
      text.append(f"not counted among the FLOPs of {row.name}: {', '.join(row.uncounted)}")
  return "\n".join([*text, f"{parameters:,} parameters, {flops / 1e9:.2f} GFLOP per clip"])


def _row(name: str, layer: nnx.Module, x: jax.Array) -> tuple[Row, jax.Array]:
  """The row of a layer, and what it puts out for x."""
  with _counting() as flops:
    y = layer(x)
  shape = _clip_shape(y) if y.ndim == 4 else y.shape[1:]
  return Row(name, shape, _parameters(layer), sum(flops), _uncounted(layer)), y


def _clip_shape(x: jax.Array) -> tuple[int, ...]:
  persons, joints, frames, channels = x.shape
  return persons, frames, joints, channels


def _parameters(module: nnx.Module) -> int:
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def _uncounted(layer: nnx.Module) -> tuple[str, ...]:
  """Types of the modules with parameters of their own that `_counting` does not know."""
  names = {
    type(module).__name__
    for _, module in nnx.iter_modules(layer)
    if not isinstance(module, _COUNTED + _ELEMENTWISE)
    and any(isinstance(value, nnx.Param) for value in vars(module).values())
  }
  return tuple(sorted(names))


@contextlib.contextmanager
def _counting() -> Iterator[list[int]]:
  """A list that every convolution called in the block appends its FLOPs to.

  Those inside of one that is counted are among its own; those that other threads call are not.
  """
  counts: list[int] = []
  inside: list[nnx.Module] = []
  thread = threading.get_ident()

  def counted_together(convs, x, **options):
    if not inside and threading.get_ident() == thread:
      counts.append(sum(conv.flops(x.shape) for conv in convs))
    return side_by_side(convs, x, **options)

  def counted(call):
    def counting(module, *args, **kwargs):
      if threading.get_ident() != thread:
        return call(module, *args, **kwargs)
      inside.append(module)
      try:
        y = call(module, *args, **kwargs)
      finally:
        inside.pop()
      if not inside:
        counts.append(_flops(module, args[0].shape, y.shape))
      return y

    return counting

  with _PATCHING:
    originals = {cls: cls.__call__ for cls in _COUNTED}
    side_by_side = neighbours.side_by_side
    try:
      for cls, call in originals.items():
        cls.__call__ = counted(call)
      neighbours.side_by_side = counted_together
      yield counts
    finally:
      neighbours.side_by_side = side_by_side
      for cls, call in originals.items():
        cls.__call__ = call


def _flops(module: nnx.Module, taken: tuple[int, ...], given: tuple[int, ...]) -> int:
  """FLOPs of a module of `_COUNTED` that takes and gives features of these shapes."""
  if isinstance(module, _FLAX):
    return 2 * math.prod(given) * math.prod(module.kernel.shape[:-1])
  return module.flops(taken)
