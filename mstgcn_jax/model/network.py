"""The network: layers by block type, blocks, and `MSTGCN`, which puts them together."""

import functools
import importlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from mstgcn_jax.errors import ConfigError
from mstgcn_jax.model.activations import make_activation
from mstgcn_jax.model.attention import make_attention
from mstgcn_jax.model.compose import (
  Bottleneck,
  ConvNorm,
  MultiScale,
  Residual,
  Separable,
  identity,
)
from mstgcn_jax.model.config import BlockConfig, ModelConfig, inner_channels
from mstgcn_jax.model.norm import STATISTICS, BatchNorm, Shift
from mstgcn_jax.model.spatial import DepthwiseGraphConv, GraphConv
from mstgcn_jax.model.temporal import TemporalConv

# What rematerialisation keeps of a block besides its input.
_KEPT = jax.checkpoint_policies.save_only_these_names(STATISTICS)


# Long: all kinds of layers, side by side.
def make_layer(
  kind: str,
  config: ModelConfig,
  in_channels: int,
  out_channels: int,
  *,
  conv: Callable[[int, int], nnx.Module],
  depthwise: Callable[[int], nnx.Module],
  scales: int,
  stride: int = 1,
  residual: bool = True,
  norm_in: bool = False,
  rngs: nnx.Rngs,
) -> Residual:
  """A spatial or a temporal layer of a block type (`config.BLOCK_TYPES`).

  Args:
    conv: (in_channels, out_channels) -> the convolution that the layer is built around.
    depthwise: channels -> its depthwise form.
    scales: channel groups of multi-scale layers.
    stride: temporal stride of `conv` and `depthwise`, which the shortcut has to share.
    norm_in: whether `ms` normalises its input.
  """
  norm = functools.partial(BatchNorm, dtype=config.dtype)
  act = functools.partial(make_activation, config.activation, dtype=config.dtype, rngs=rngs)
  pointwise = functools.partial(TemporalConv, dtype=config.dtype, rngs=rngs)

  def conv_norm(conv, channels, *, activate, stride=1):
    return ConvNorm(conv, norm(channels), act(channels) if activate else identity, stride=stride)

  def separable(c_in, c_out):
    inner = c_in * (config.expand_ratio or 1)
    return Separable(
      conv_norm(pointwise(c_in, inner), inner, activate=True) if config.expand_ratio else identity,
      conv_norm(depthwise(inner), inner, activate=True),
      conv_norm(pointwise(inner, c_out), c_out, activate=False),
    )

  same_shape = in_channels == out_channels and stride == 1
  inner = inner_channels(in_channels, out_channels, config.reduction)

  def bottleneck(body):
    return Bottleneck(
      conv_norm(pointwise(in_channels, inner), inner, activate=True),
      body,
      conv_norm(pointwise(inner, out_channels), out_channels, activate=False),
    )

  match kind:
    case "basic":
      body = conv_norm(conv(in_channels, out_channels), out_channels, activate=False)
    case "bottle":
      body = bottleneck(conv_norm(conv(inner, inner), inner, activate=True))
    case "sep":
      body = separable(in_channels, out_channels)
    case "ms":
      c_in, c_out = in_channels // scales, out_channels // scales
      if config.layer_type == "sep":
        branches = [separable(c_in, c_out) for _ in range(scales)]
      else:
        branches = [conv_norm(conv(c_in, c_out), c_out, activate=False) for _ in range(scales)]
      normalise = norm(in_channels) if norm_in else identity
      body = MultiScale(branches, hierarchical=same_shape, norm_in=normalise)
    case "ms_bottle":
      c = inner // scales
      branches = [conv_norm(conv(c, c), c, activate=True) for _ in range(scales)]
      body = bottleneck(MultiScale(branches, hierarchical=same_shape))
    case _:
      raise ConfigError(f"block_type names the layer {kind!r}; there is no such layer")

  shortcut = None
  if residual and same_shape:
    shortcut = identity
  elif residual:
    projection = pointwise(in_channels, out_channels)
    shortcut = conv_norm(projection, out_channels, activate=False, stride=stride)
  activation = identity if kind == "sep" else act(out_channels)
  return Residual(body, shortcut, activation, groups=scales if kind == "ms" else 1)


def spatial_layer(
  kind: str, config: ModelConfig, block: BlockConfig, *, rngs: nnx.Rngs
) -> nnx.Module:
  """[clip, joint, frame, in_channels] -> [clip, joint, frame, out_channels].

  Args:
    kind: one of `config.BLOCK_TYPES`, or 'package.module:function', which is then called with the
      other arguments.
  """
  if ":" in kind:
    return _import(kind)(config, block, rngs=rngs)
  options = {"adjacency": config.adjacency(), "dtype": config.dtype, "rngs": rngs}
  return make_layer(
    kind,
    config,
    block.in_channels,
    block.out_channels,
    conv=functools.partial(GraphConv, **options),
    depthwise=functools.partial(DepthwiseGraphConv, **options),
    scales=config.spatial_scales,
    residual=block.residual,
    norm_in=True,
    rngs=rngs,
  )


def temporal_layer(
  kind: str, config: ModelConfig, block: BlockConfig, *, rngs: nnx.Rngs
) -> nnx.Module:
  """[clip, joint, frame, out_channels] -> [clip, joint, frame / stride, out_channels].

  Args:
    kind: as for `spatial_layer`.
  """
  if ":" in kind:
    return _import(kind)(config, block, rngs=rngs)
  channels = block.out_channels
  conv = functools.partial(
    TemporalConv,
    kernel_size=config.kernel_size,
    stride=block.stride,
    dtype=config.dtype,
    rngs=rngs,
  )
  return make_layer(
    kind,
    config,
    channels,
    channels,
    conv=conv,
    depthwise=lambda c: conv(c, c, groups=c),
    scales=config.temporal_scales,
    stride=block.stride,
    residual=block.residual,
    rngs=rngs,
  )


def _import(name: str) -> Callable[..., nnx.Module]:
  """The function that 'package.module:function' names."""
  module, _, function = name.partition(":")
  try:
    return getattr(importlib.import_module(module), function)
  except Exception as error:  # whatever a module of somebody else's raises
    raise ConfigError(
      f"block_type names the layer {name!r}, which cannot be imported: "
      f"{type(error).__name__}: {error}"
    ) from error


class Block(nnx.Module):
  """Spatial layer, temporal layer, optionally attention; [clip, joint, frame, channel]."""

  def __init__(
    self, spatial: nnx.Module, temporal: nnx.Module, attention: nnx.Module | None = None
  ):
    self.spatial = spatial
    self.temporal = temporal
    self.attention = attention

  def __call__(self, x: jax.Array) -> jax.Array:
    x = self.temporal(self.spatial(x))
    return x if self.attention is None else self.attention(x)


def make_block(config: ModelConfig, index: int, *, rngs: nnx.Rngs) -> Block:
  """The index-th block of a network; block 0 is always basic and without attention."""
  block = config.blocks[index]
  spatial, temporal = config.layer_types if index else ("basic", "basic")
  attention = None
  if index and config.attention:
    attention = make_attention(config, block.out_channels, rngs=rngs)
  return Block(
    spatial_layer(spatial, config, block, rngs=rngs),
    temporal_layer(temporal, config, block, rngs=rngs),
    attention,
  )


class MSTGCN(nnx.Module):
  """Multi-scale spatial temporal graph convolutional network (Chen et al., AAAI 2021).

  clips float32 [batch, person, frame, joint, channel] -> logits [batch, class]

      blocks = ((3, 16, False, 1), (16, 32, True, 2))  # in, out, residual, stride
      model = mst.MSTGCN(mst.ModelConfig(num_classes=60, blocks=blocks), rngs=nnx.Rngs(0))
      logits = model(jnp.zeros((1, 2, 20, 25, 3)))

  Inside, features are [clip, joint, frame, channel], every person a clip of its own.
  """

  def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
    self.config = config
    param_dtype = jnp.promote_types(config.dtype, jnp.float32)
    features = config.num_persons * config.skeleton.num_joints * config.in_channels
    self.norm_in = BatchNorm(features, dtype=config.dtype)
    self.blocks = nnx.List([make_block(config, i, rngs=rngs) for i in range(len(config.blocks))])
    channels = config.blocks[-1].out_channels
    self.classifier = nnx.Linear(
      channels,
      config.num_classes,
      kernel_init=nnx.initializers.normal((2 / config.num_classes) ** 0.5),
      bias_init=_uniform(channels**-0.5),
      param_dtype=param_dtype,
      rngs=rngs,
    )

  def __call__(self, clips: jax.Array) -> jax.Array:
    """Logits [batch, class], float32."""
    x = self._features_by_person(clips)
    pooled = jnp.mean(x.astype(self.classifier.param_dtype), (1, 2))
    pooled = pooled.reshape(clips.shape[0], self.config.num_persons, -1).mean(1)
    return self.classifier(pooled)

  def features(self, clips: jax.Array) -> jax.Array:
    """The last block's map, [batch, person, frame, joint, channel]; frames after all strides."""
    x = self._features_by_person(clips)
    x = x.reshape(clips.shape[0], self.config.num_persons, *x.shape[1:])
    return jnp.swapaxes(x, 2, 3)

  def fold(self) -> "MSTGCN":
    """A copy for inference alone: norms scaled into the convolutions before, A + PA one constant.

    The same function as in evaluation mode, up to rounding; it cannot be trained.
    """
    model = nnx.clone(self)
    model.eval()
    for _, module in list(nnx.iter_modules(model)):
      if isinstance(module, ConvNorm):
        scale, shift = module.norm.constants()
        module.conv.scale_outputs(scale)
        if isinstance(module.conv, TemporalConv):
          module.conv.bias[...] += shift
          module.norm = nnx.static(identity)
        else:  # whose bias the graph aggregates
          module.norm = Shift(shift, dtype=self.config.dtype)
      elif isinstance(module, GraphConv | DepthwiseGraphConv):
        module.fold_adjacency()
    return model

  def _features_by_person(self, clips: jax.Array) -> jax.Array:
    self._check(clips)
    batch, persons, frames, joints, channels = clips.shape
    # One norm feature per person, joint and channel: statistics over clips and frames.
    x = jnp.transpose(clips, (0, 2, 1, 3, 4)).reshape(batch, frames, -1)
    x = self.norm_in(x).reshape(batch, frames, persons, joints, channels)
    x = jnp.transpose(x, (0, 2, 3, 1, 4)).reshape(batch * persons, joints, frames, channels)
    run_block = nnx.remat(Block.__call__, policy=_KEPT) if self.config.remat else Block.__call__
    for block in self.blocks:
      x = run_block(block, x)
    return x

  def _check(self, clips: jax.Array) -> None:
    c = self.config
    expected = (c.num_persons, c.skeleton.num_joints, c.in_channels)
    if clips.ndim != 5 or (clips.shape[1], *clips.shape[3:]) != expected or not clips.shape[2]:
      persons, joints, channels = expected
      raise ValueError(
        f"clips have shape {clips.shape}; this model takes [batch, {persons} person(s), frame, "
        f"{joints} joints of {c.skeleton.name}, {channels} channels]"
      )


def _uniform(bound: float):
  return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)
