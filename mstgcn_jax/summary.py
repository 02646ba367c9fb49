"""A table of a network's layers: output shapes, parameters, FLOPs.

  python -m mstgcn_jax.summary --config configs/ntu_joint.py

FLOPs are those of a forward pass of one clip: convolutions, aggregation and classifier, 2 per
multiply-add, as the publication counts them.
"""

import argparse
import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx

from mstgcn_jax import command
from mstgcn_jax.model import MSTGCN, ModelConfig
from mstgcn_jax.model.spatial import DepthwiseGraphConv, GraphConv
from mstgcn_jax.model.temporal import TemporalConv


@dataclasses.dataclass(frozen=True)
class Row:
  """One layer: its name, the shape that it puts out for one clip, parameters, FLOPs."""

  name: str
  shape: tuple[int, ...]
  parameters: int
  flops: int


def rows(config: ModelConfig, frames: int = 300) -> list[Row]:
  """Every layer of the network: input norm, each block's layers, classifier.

  Args:
    frames: of the clip.
  """
  result = []

  def trace():  # only shapes are computed
    model = MSTGCN(config, rngs=nnx.Rngs(0))
    joints, persons = config.skeleton.num_joints, config.num_persons
    x = jnp.zeros((joints, persons, frames, config.in_channels))
    result.append(Row("norm_in", _clip_shape(x), _parameters(model.norm_in), 0))
    for i, block in enumerate(model.blocks):
      for name in ("spatial", "temporal", "attention"):
        if (layer := getattr(block, name)) is not None:
          parameters, flops = _parameters(layer), _count_flops(layer)
          x = layer(x)
          result.append(Row(f"blocks.{i}.{name}", _clip_shape(x), parameters, sum(flops)))
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
  return "\n".join([*text, f"{parameters:,} parameters, {flops / 1e9:.2f} GFLOP a clip"])


def _clip_shape(x: jax.Array) -> tuple[int, ...]:
  joints, persons, frames, channels = x.shape
  return persons, frames, joints, channels


def _parameters(module: nnx.Module) -> int:
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def _count_flops(layer: nnx.Module) -> list[int]:
  """A list that every convolution in the layer, when called, appends its FLOPs to."""
  counts = []

  def counted(conv):
    def call(x):
      y = conv(x)
      counts.append(_flops_per_position(conv) * math.prod(y.shape[:-1]))
      return y

    return call

  for _, module in list(nnx.iter_modules(layer)):
    for name, value in list(vars(module).items()):
      if isinstance(value, TemporalConv | GraphConv | DepthwiseGraphConv):
        vars(module)[name] = counted(value)
  return counts


def _flops_per_position(conv: nnx.Module) -> int:
  """FLOPs for each joint and frame that the convolution puts out."""
  flops = 2 * math.prod(conv.weight.shape)
  if isinstance(conv, GraphConv | DepthwiseGraphConv):
    flops += 2 * conv.bias.size * conv.learned_adjacency.shape[-1]  # aggregation
  return flops


def main(argv: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(prog="mstgcn_jax.summary", description=__doc__.splitlines()[0])
  parser.add_argument("--config", required=True, help="an experiment file of configs/")
  args = parser.parse_args(argv)
  # Reading experiment files needs ml_collections; the table itself does not.
  from mstgcn_jax import config as experiment

  loaded = experiment.load(args.config)
  print(table(experiment.model_config(loaded), loaded.data.window))


if __name__ == "__main__":
  with command.errors_in_one_line():
    main()
