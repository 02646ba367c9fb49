"""A network of your own: a plain temporal convolution network over joints (Kim and Reiter 2017).

    PYTHONPATH=examples mstgcn train --config quickstart --workdir runs/tcn \
      --config.model.network=tcn:TCN --config.model.width=32

It knows no skeleton: all joints of a person are the channels of one sequence of frames. Training,
evaluation, streams, resuming and `Classifier` take it as they take any other.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from mstgcn_jax.model import BlockConfig, ModelConfig
from mstgcn_jax.model.activations import make_activation
from mstgcn_jax.model.compose import ConvNorm, Residual, identity
from mstgcn_jax.model.norm import BatchNorm
from mstgcn_jax.model.temporal import TemporalConv


class TCN(nnx.Module):
  """clips float32 [batch, person, frame, joint, channel] -> logits [batch, class]."""

  def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
    self.config = config
    inputs = config.skeleton.num_joints * config.in_channels
    self.norm_in = BatchNorm(inputs, dtype=config.dtype)
    layers = []
    for block in config.blocks:
      inputs, block = (
        block.out_channels,
        BlockConfig(inputs, block.out_channels, True, block.stride),
      )
      layers.append(_layer(config, block, rngs))
    self.layers = nnx.List(layers)
    self.classifier = nnx.Linear(inputs, config.num_classes, rngs=rngs)

  def __call__(self, clips: jax.Array) -> jax.Array:
    return self.classifier(self.features(clips).mean((1, 2, 3)))

  def features(self, clips: jax.Array) -> jax.Array:
    """[batch, person, frame, 1, channel]: what a person does, joints together."""
    x = self.norm_in(clips.reshape(*clips.shape[:3], -1))  # [batch, person, frame, channel]
    for layer in self.layers:
      x = layer(x)
    return x[:, :, :, None].astype(jnp.float32)


def _layer(config: ModelConfig, block: BlockConfig, rngs: nnx.Rngs) -> Residual:
  """activation(norm(convolution over frames) + shortcut)."""
  options = {"dtype": config.dtype, "rngs": rngs}
  c_in, c_out, stride = block.in_channels, block.out_channels, block.stride
  norm = lambda: BatchNorm(c_out, dtype=config.dtype)
  body = ConvNorm(TemporalConv(c_in, c_out, config.kernel_size, stride=stride, **options), norm())
  shortcut = identity
  if c_in != c_out or stride > 1:
    shortcut = ConvNorm(TemporalConv(c_in, c_out, stride=stride, **options), norm())
  return Residual(body, shortcut, make_activation(config.activation, c_out, **options))
