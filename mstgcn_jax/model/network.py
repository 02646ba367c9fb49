"""The network: an input norm, blocks, the mean over frames, joints and persons, a classifier."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mstgcn_jax.errors import ConfigError
from mstgcn_jax.model import alignment, draws, initial, own
from mstgcn_jax.model.block import make_block
from mstgcn_jax.model.compose import ConvNorm, identity
from mstgcn_jax.model.config import ModelConfig
from mstgcn_jax.model.norm import STATISTICS, BatchNorm, Shift
from mstgcn_jax.model.spatial import Aggregation
from mstgcn_jax.model.temporal import TemporalConv

# What rematerialisation keeps of a block besides its input.
_KEPT = jax.checkpoint_policies.save_only_these_names(STATISTICS)


def make_network(config: ModelConfig, *, rngs: nnx.Rngs) -> "Network | Any":
  """The network that a config describes: `MSTGCN`, a neighbour, or one of your own.

      blocks = ((3, 16, False, 1), (16, 32, True, 2))  # in, out, residual, stride
      config = mst.ModelConfig(num_classes=60, network="ctrgcn", blocks=blocks)
      model = mst.make_network(config, rngs=nnx.Rngs(0))

  Returns:
    A module: clips float32 [batch, person, frame, joint, channel] -> logits [batch, class].
  """
  if ":" in config.network:
    return own.make("network", config.network, config, rngs=rngs)
  return (MSTGCN if config.network == "mstgcn" else Network)(config, rngs=rngs)


def abstract_network(config: ModelConfig) -> "Network | Any":
  """As `make_network`, with `jax.ShapeDtypeStruct` in place of arrays: nothing is drawn."""
  return nnx.eval_shape(lambda: make_network(config, rngs=nnx.Rngs(0)))


class Network(nnx.Module):
  """The frame that all networks share; what differs is in the config and in the blocks' layers.

  clips float32 [batch, person, frame, joint, channel] -> logits [batch, class]

  Inside, features are [clip, joint, frame, channel], every person a clip of its own.
  """

  def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
    self.config = config
    param_dtype = jnp.promote_types(config.dtype, jnp.float32)
    features = config.skeleton.num_joints * config.in_channels
    if config.input_norm == "MVC":
      features *= config.num_persons
    self.norm_in = BatchNorm(features, dtype=config.dtype)
    self.blocks = nnx.List([make_block(config, i, rngs=rngs) for i in range(len(config.blocks))])
    channels = config.blocks[-1].out_channels
    self.classifier = nnx.Linear(
      channels,
      config.num_classes,
      kernel_init=nnx.initializers.normal((2 / config.num_classes) ** 0.5),
      bias_init=functools.partial(draws.uniform, bound=channels**-0.5),
      param_dtype=param_dtype,
      rngs=rngs,
    )
    dropout = 0 if config.published.dropout_in_blocks else config.dropout
    self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None
    initial.redraw(self, config.published.initial_values, rngs=rngs)

  def __call__(self, clips: np.ndarray | jax.Array) -> jax.Array:
    """Logits [batch, class], float32."""
    x = self._features_by_person(clips)
    pooled = jnp.mean(x.astype(jnp.promote_types(self.config.dtype, jnp.float32)), (1, 2))
    pooled = pooled.reshape(clips.shape[0], self.config.num_persons, -1).mean(1)
    if self.dropout is not None:
      pooled = self.dropout(pooled)
    return self.classifier(pooled)

  def features(self, clips: np.ndarray | jax.Array) -> jax.Array:
    """The last block's map, [batch, person, frame, joint, channel]; frames after all strides."""
    x = self._features_by_person(clips)
    x = x.reshape(clips.shape[0], self.config.num_persons, *x.shape[1:])
    return jnp.swapaxes(x, 2, 3)

  def adjacencies(self, clips: np.ndarray | jax.Array) -> list[jax.Array]:
    """What each block's (first) graph convolution aggregates with, to look at.

    Of blocks whose layers are all of your own there is none.

    Returns:
      [batch, person, K, source joint, target joint] each; the mean over channels where a layer has
      an adjacency for each channel, and the same for every clip where it does not depend on it.
    """
    found, x = [], self._embed(clips)
    for block in self.blocks:
      parts = [m for _, m in nnx.iter_modules(block) if isinstance(m, Aggregation)]
      if parts:
        adjacency = parts[0].infer(x)
        found.append(adjacency.reshape(*clips.shape[:2], *adjacency.shape[1:]))
      x = block(x)
    return found

  def fold(self) -> "Network":
    """A copy for inference alone: norms scaled into the convolutions before, A + PA one constant.

    The same function as in evaluation mode, up to rounding; it cannot be trained.
    """
    model = nnx.clone(self)
    model.eval()
    for _, module in list(nnx.iter_modules(model)):
      if isinstance(module, ConvNorm) and module.can_be_folded:
        scale, shift = module.norm.constants()
        module.conv.scale_outputs(scale)
        if isinstance(module.conv, TemporalConv):
          module.conv.bias[...] += shift
          module.norm = nnx.static(identity)
        else:  # whose bias the graph aggregates
          module.norm = Shift(shift, dtype=self.config.dtype)
      elif isinstance(module, Aggregation):
        module.fold_adjacency()
    return model

  def _embed(self, clips: jax.Array) -> jax.Array:
    """Clips, normalised, as [clip · person, joint, frame, channel]."""
    self._check(clips)
    batch, persons, frames, joints, channels = clips.shape
    if self.config.input_norm == "MVC":
      # One norm feature per person, joint and channel: statistics over clips and frames.
      x = jnp.transpose(clips, (0, 2, 1, 3, 4)).reshape(batch, frames, -1)
      x = self.norm_in(x).reshape(batch, frames, persons, joints, channels)
      x = jnp.transpose(x, (0, 2, 3, 1, 4))
    else:  # one per joint and channel
      x = self.norm_in(clips.reshape(batch, persons, frames, -1))
      x = jnp.swapaxes(x.reshape(clips.shape), 2, 3)
    return x.reshape(batch * persons, joints, frames, channels)

  def _features_by_person(self, clips: jax.Array) -> jax.Array:
    x = self._embed(clips)
    run_block = nnx.remat(_run, policy=_KEPT) if self.config.remat else _run
    blocks = alignment.aligned(self.blocks, self.config)
    for block in blocks:
      x = run_block(block, x)
    if blocks is not self.blocks:
      alignment.keep_statistics(self.blocks, blocks, self.config)
      x = alignment.narrow(x, self.config)
    return x

  def _check(self, clips: jax.Array) -> None:
    c = self.config
    expected = (c.num_persons, c.skeleton.num_joints, c.in_channels)
    if clips.shape[1:2] + clips.shape[3:] != expected or 0 in clips.shape:
      persons, joints, channels = expected
      raise ValueError(
        f"clips have shape {clips.shape}; this model takes [batch, {persons} person(s), frame, "
        f"{joints} joints of {c.skeleton.name}, {channels} channels]"
      )


class MSTGCN(Network):
  """Multi-scale spatial temporal graph convolutional network (Chen et al., AAAI 2021).

  clips float32 [batch, person, frame, joint, channel] -> logits [batch, class]

      blocks = ((3, 16, False, 1), (16, 32, True, 2))  # in, out, residual, stride
      model = mst.MSTGCN(mst.ModelConfig(num_classes=60, blocks=blocks), rngs=nnx.Rngs(0))
      logits = model(jnp.zeros((1, 2, 20, 25, 3)))
  """

  def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
    if config.network != "mstgcn":
      raise ConfigError(
        f"network is {config.network!r}; MSTGCN is 'mstgcn', make_network makes any"
      )
    super().__init__(config, rngs=rngs)


def _run(block: nnx.Module, x: jax.Array) -> jax.Array:
  return block(x)
