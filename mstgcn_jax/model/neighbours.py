"""Layers of the networks that MST-GCN is compared with, from parts that all share.

  network    spatial layer: how the adjacency comes about      temporal layer
  ST-GCN     A ⊙ PA: fixed links, scaled                       one convolution
  2s-AGCN    A + PA + softmax of the joints' likeness          one convolution
  AAGCN      PA + α tanh of the joints' likeness, then gates   one convolution
  CTR-GCN    PA + an inferred one for each channel             branches, of two dilations
  ST-GCN++   PA: learned                                       branches, of four dilations, mixed
  DG-STGCN   several learned ones from noise, each + inferred  as ST-GCN++, with a mean joint
  MS-G3D     one for each number of hops, in paths over one    branches, of four dilations, around
             frame and over windows                            them a shortcut

Every spatial layer but MS-G3D's is activation(norm(graph convolution) + shortcut), ST-GCN's without
shortcut. The temporal layers have none but MS-G3D's: the block's goes around both.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from mstgcn_jax.model import draws
from mstgcn_jax.model.attention import JointFrameChannelGates
from mstgcn_jax.model.compose import ConvNorm, Function, Residual
from mstgcn_jax.model.config import BRANCHES, RANDOM
from mstgcn_jax.model.disentangled import (
  HopsGraphConv,
  Paths,
  WindowConv,
  WindowPath,
  window_links,
)
from mstgcn_jax.model.groups import join
from mstgcn_jax.model.inferred import AttentionGraphConv, ChannelwiseGraphConv, DynamicGraphConv
from mstgcn_jax.model.norm import BatchNorm
from mstgcn_jax.model.parts import Parts
from mstgcn_jax.model.temporal import MaxPool, TemporalConv, side_by_side

# Spatial layers: [clip, joint, frame, in_channels] -> [clip, joint, frame, out_channels].


def scaled_graph(parts: Parts) -> Residual:
  """ST-GCN (Yan et al. 2018): A ⊙ PA, PA being the importance of each edge; no shortcut."""
  conv = parts.conv(parts.in_channels, parts.out_channels, edge_weights="scaled")
  return _around(parts, conv, residual=False)


def learned_graph(parts: Parts) -> Residual:
  """ST-GCN++ (Duan et al. 2022): a learned adjacency that starts as A."""
  conv = parts.conv(parts.in_channels, parts.out_channels, edge_weights="learned")
  return _around(parts, conv)


def attention_graph(parts: Parts, *, adaptive: bool = False) -> Residual:
  """2s-AGCN (Shi et al. 2019), and with `adaptive` AAGCN's (Shi et al. 2020) without its gates."""
  embedded = max(1, parts.out_channels // (parts.config.embedding or 4))
  conv = AttentionGraphConv(
    parts.in_channels,
    parts.out_channels,
    parts.config.adjacency(),
    embedded=embedded,
    adaptive=adaptive,
    dtype=parts.config.dtype,
    rngs=parts.rngs,
  )
  return _around(parts, conv, first_norm=1e-6)


def gated_attention_graph(parts: Parts) -> nnx.Module:
  """AAGCN (Shi et al. 2020): `attention_graph`, then gates of joints, frames and channels."""
  layer = attention_graph(parts, adaptive=True)
  if not parts.config.gates:
    return layer
  joints, options = parts.config.skeleton.num_joints, {"dtype": parts.config.dtype}
  gates = JointFrameChannelGates(parts.out_channels, joints, rngs=parts.rngs, **options)
  return nnx.Sequential(layer, gates)


def channelwise_graph(parts: Parts, *, pyskl: bool = False) -> Residual:
  """CTR-GCN (Chen et al. 2021); PYSKL's form aggregates from the first joint index to the second,
  and embeds narrow inputs otherwise."""
  c_in, factor = parts.in_channels, parts.config.embedding or 8
  narrow = c_in <= 16 if pyskl else c_in < factor or c_in == 9
  conv = ChannelwiseGraphConv(
    c_in,
    parts.out_channels,
    parts.config.adjacency(),
    embedded=8 if narrow else max(1, c_in // factor),
    target_first=not pyskl,
    dtype=parts.config.dtype,
    rngs=parts.rngs,
  )
  return _around(parts, conv, first_norm=1e-6)


def dynamic_graph(parts: Parts) -> Residual:
  """DG-STGCN (Duan et al. 2022): several small graph convolutions between two projections."""
  config, joints = parts.config, parts.config.skeleton.num_joints
  if config.strategy == RANDOM:
    shape = (config.subsets, joints, joints)
    adjacency = 0.04 + draws.normal(draws.key(parts.rngs), shape, std=0.02)
  else:
    adjacency = config.adjacency()
  group = max(1, parts.out_channels // (config.embedding or 8))
  inner = len(adjacency) * group
  conv = DynamicGraphConv(
    parts.in_channels,
    adjacency,
    reduce=parts.conv_norm(parts.pointwise(parts.in_channels, inner), inner, activate=True),
    group=group,
    expand=parts.pointwise(inner, parts.out_channels),
    dtype=config.dtype,
    rngs=parts.rngs,
  )
  return _around(parts, conv)


def disentangled_paths(parts: Parts) -> Paths:
  """MS-G3D (Liu et al. 2020): a graph convolution and two temporal layers; beside them, others over
  windows of frames. It takes the block's stride."""
  config, c_in, c_out = parts.config, parts.in_channels, parts.out_channels
  inner = c_in if c_in > config.in_channels else c_out  # the clip's channels widen at once
  links = config.adjacency().any(0)
  common = {"dtype": config.dtype, "rngs": parts.rngs}

  def hops(links, scales):
    conv = HopsGraphConv(c_in, inner, links, scales=scales, **common)
    return parts.conv_norm(conv, inner, activate=True)

  def window(frames):
    collapse = parts.conv_norm(WindowConv(inner, c_out, frames, **common), c_out)
    conv = hops(window_links(links, frames), config.g3d_scales)
    return WindowPath(conv, collapse, frames=frames, stride=parts.stride)

  first = dataclasses.replace(parts, in_channels=inner)
  second = dataclasses.replace(first, in_channels=c_out, stride=1)
  in_a_frame = nnx.Sequential(
    hops(links, config.gcn_scales),
    residual_branches(first),
    residual_branches(second, activate=False),
  )
  return Paths([in_a_frame, *map(window, config.windows)], parts.act(c_out))


def _around(
  parts: Parts, conv: nnx.Module, *, residual: bool = True, first_norm: float = 1.0
) -> Residual:
  """activation(norm(conv(x)) + shortcut(x)).

  Args:
    first_norm: weight that the norm starts with; close to 0 the layer starts as its shortcut.
  """
  body = parts.conv_norm(conv, parts.out_channels)
  weight = body.norm.weight
  weight.set_value(weight[...] * first_norm)
  return dataclasses.replace(parts, residual=residual).close(body)


# Temporal layers: [clip, joint, frame, channel] -> [clip, joint, frame / stride, channel].


def one_convolution(parts: Parts) -> ConvNorm:
  """ST-GCN, 2s-AGCN, AAGCN: a convolution and its norm."""
  channels = parts.out_channels
  return parts.conv_norm(parts.conv(channels, channels), channels)


class Branches(nnx.Module):
  """Branches over the same features, their channels side by side; then `after`.

  Those that first reduce the channels (nnx.Sequential, beginning with a `ConvNorm`) do so together.
  """

  def __init__(self, branches: list[Function], after: Function | None = None):
    self.branches = nnx.List(branches)
    self.after = after

  def __call__(self, x: jax.Array) -> jax.Array:
    longer = [branch for branch in self.branches if isinstance(branch, nnx.Sequential)]
    reduced = iter(_reduce([branch.layers[0] for branch in longer], x) if longer else ())
    outputs = []
    for branch in self.branches:
      if isinstance(branch, nnx.Sequential):
        y = next(reduced)
        for layer in list(branch.layers)[1:]:
          y = layer(y)
      else:
        y = branch(x)
      outputs.append(y)
    y = join(tuple(outputs))
    return y if self.after is None else self.after(y)


def _reduce(layers: list[ConvNorm], x: jax.Array) -> list[jax.Array]:
  """What each of these layers gives for x."""
  constant_bias = all(layer.takes_constants_away for layer in layers)
  projected = side_by_side([layer.conv for layer in layers], x, constant_bias=constant_bias)
  return [layer.after(y) for layer, y in zip(layers, projected, strict=True)]


class WithMeanJoint(nnx.Module):
  """body over the joints and their mean; every joint then takes a learned share of the latter.

  `share` starts as 0; it has 25 entries, or one for each of more joints.
  """

  def __init__(self, body: Function, joints: int, *, dtype: str):
    self.body = body
    self.share = nnx.Param(jnp.zeros(max(25, joints), jnp.promote_types(dtype, jnp.float32)))

  def __call__(self, x: jax.Array) -> jax.Array:
    y = self.body(jnp.concatenate([x, jnp.mean(x, 1, keepdims=True)], 1))
    share = self.share[...][: x.shape[1], None, None].astype(y.dtype)
    return y[:, :-1] + share * y[:, -1:]


class Mixed(nnx.Module):
  """mix(activation(norm_in(body(x)))): what branches put side by side, mixed."""

  def __init__(self, body: Function, norm: Function, activation: Function, mix: Function):
    self.body = body
    self.norm_in = norm
    self.activation = activation
    self.mix = mix

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.mix(self.activation(self.norm_in(self.body(x))))


def dilated_branches(parts: Parts, *, pyskl: bool = False) -> Branches:
  """CTR-GCN (Chen et al. 2021): each branch ends with a norm; in PYSKL's form all with a relu."""
  branches = _branches(parts, "ctrgcn", norm=True)
  if not pyskl:  # initial values as in the published code
    for branch in branches:
      for _, module in nnx.iter_modules(branch):
        if isinstance(module, BatchNorm):
          w = module.weight
          draw = draws.normal(draws.key(parts.rngs), w.shape, w.dtype, std=0.02)
          w.set_value(w[...] + draw)
  return Branches(branches, parts.act(parts.out_channels) if pyskl else None)


def residual_branches(parts: Parts, *, activate: bool = True) -> Residual:
  """MS-G3D (Liu et al. 2020): each branch ends with a norm, around all is a shortcut."""
  body = Branches(_branches(parts, "msg3d", norm=True))
  return dataclasses.replace(parts, residual=True).close(body, activate=activate)


def mixed_branches(parts: Parts, *, mean_joint: bool = False) -> Mixed:
  """ST-GCN++ (Duan et al. 2022): branches without norms, then norm, activation and projection.

  With `mean_joint` DG-STGCN's (Duan et al. 2022): over the joints and their mean.
  """
  channels = parts.out_channels
  body = Branches(_branches(parts, "stgcnpp", norm=False))
  if mean_joint:
    body = WithMeanJoint(body, parts.config.skeleton.num_joints, dtype=parts.config.dtype)
  mix = parts.conv_norm(parts.pointwise(channels, channels), channels)
  return Mixed(body, parts.norm(channels), parts.act(channels), mix)


def _branches(parts: Parts, published: str, *, norm: bool) -> list[nnx.Module]:
  """The config's branches, or those published.

  What is left over of the channels the last one takes, where they have no norms the first.
  """
  specs = parts.config.branches or BRANCHES[published]
  widths = [parts.out_channels // len(specs)] * len(specs)
  widths[-1 if norm else 0] += parts.out_channels % len(specs)
  return [_branch(parts, *pair, norm=norm) for pair in zip(specs, widths, strict=True)]


def _branch(parts: Parts, spec: Any, width: int, *, norm: bool) -> nnx.Module:
  """One branch of `ModelConfig.branches`, in_channels -> width."""
  options = {"stride": parts.stride, "dtype": parts.config.dtype, "rngs": parts.rngs}
  end = (lambda conv: parts.conv_norm(conv, width)) if norm else (lambda conv: conv)
  if spec == "1x1":
    return end(TemporalConv(parts.in_channels, width, **options))
  reduce = parts.conv_norm(parts.pointwise(parts.in_channels, width), width, activate=True)
  first, second = spec
  if first == "max":
    pool = MaxPool(second, stride=parts.stride)
    return nnx.Sequential(reduce, pool, *([parts.norm(width)] if norm else []))
  return nnx.Sequential(reduce, end(TemporalConv(width, width, first, dilation=second, **options)))


SPATIAL = {
  "stgcn": scaled_graph,
  "agcn": attention_graph,
  "aagcn": gated_attention_graph,
  "ctrgcn": channelwise_graph,
  "pyskl_ctrgcn": functools.partial(channelwise_graph, pyskl=True),
  "stgcnpp": learned_graph,
  "dgstgcn": dynamic_graph,
  "msg3d": disentangled_paths,
}
# Those that take the block's stride, so that the temporal layer has none.
STRIDED = ("msg3d",)
TEMPORAL = {
  "stgcn": one_convolution,
  "agcn": one_convolution,
  "aagcn": one_convolution,
  "ctrgcn": dilated_branches,
  "pyskl_ctrgcn": functools.partial(dilated_branches, pyskl=True),
  "stgcnpp": mixed_branches,
  "dgstgcn": functools.partial(mixed_branches, mean_joint=True),
  "msg3d": residual_branches,
}
# Those with shortcut and activation of their own, so that the block has none.
CLOSED = ("msg3d",)
