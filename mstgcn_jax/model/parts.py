"""What layers are put together from, for the joints or for the frames of one block."""

import dataclasses
from collections.abc import Callable

from flax import nnx

from mstgcn_jax.model.activations import make_activation
from mstgcn_jax.model.compose import ConvNorm, Function, Residual, Separable, identity
from mstgcn_jax.model.config import ModelConfig
from mstgcn_jax.model.norm import BatchNorm
from mstgcn_jax.model.temporal import TemporalConv


@dataclasses.dataclass(frozen=True)
class Parts:
  """The parts of one layer, in_channels -> out_channels; each call makes a new one.

  Attributes:
    conv: (in_channels, out_channels) -> the convolution that the layer is built around.
    depthwise: channels -> its depthwise form.
    scales: channel groups of a multi-scale layer.
    first: whether it is the first layer of a block; a multi-scale one then normalises its input.
    stride: temporal stride of `conv` and `depthwise`, which the shortcut has to share.
    residual: whether the layer has a shortcut.
  """

  config: ModelConfig
  in_channels: int
  out_channels: int
  conv: Callable[[int, int], nnx.Module]
  depthwise: Callable[[int], nnx.Module]
  scales: int
  first: bool
  stride: int
  residual: bool
  rngs: nnx.Rngs

  @property
  def keeps_shape(self) -> bool:
    return self.in_channels == self.out_channels and self.stride == 1

  def norm(self, channels: int, *, groups: int = 1) -> BatchNorm:
    return BatchNorm(channels, dtype=self.config.dtype, groups=groups)

  def act(self, channels: int, *, of_sum: bool = False) -> Function:
    options = {"of_sum": of_sum, "dtype": self.config.dtype, "rngs": self.rngs}
    return make_activation(self.config.activation, channels, **options)

  def pointwise(self, in_channels: int, out_channels: int) -> TemporalConv:
    return TemporalConv(in_channels, out_channels, dtype=self.config.dtype, rngs=self.rngs)

  def conv_norm(self, conv: nnx.Module, channels: int, *, activate: bool = False) -> ConvNorm:
    """The convolution, a norm of its `channels` outputs and, with `activate`, the activation."""
    activation = self.act(channels) if activate else identity
    return ConvNorm(conv, self.norm(channels), activation)

  def separable(self, in_channels: int, out_channels: int) -> Separable:
    """Depthwise, then pointwise; behind an expansion where the config asks for one."""
    inner, expand = in_channels, identity
    if self.config.expand_ratio:
      inner *= self.config.expand_ratio
      expand = self.conv_norm(self.pointwise(in_channels, inner), inner, activate=True)
    return Separable(
      expand,
      self.conv_norm(self.depthwise(inner), inner, activate=True),
      self.conv_norm(self.pointwise(inner, out_channels), out_channels),
    )

  def shortcut(self, *, groups: int = 1) -> Function:
    """The input as it is where the layer keeps its shape, otherwise projected and normalised.

    With `groups` above 1 the norm's result is a tuple of channel groups.
    """
    if self.keeps_shape:
      return identity
    projection = self.pointwise(self.in_channels, self.out_channels)
    norm = self.norm(self.out_channels, groups=groups)
    return ConvNorm(projection, norm, stride=self.stride)

  def close(self, body: nnx.Module, *, activate: bool = True, groups: int = 1) -> Residual:
    """activation(body(x) + shortcut(x)), the shortcut where there is one."""
    shortcut = self.shortcut(groups=groups) if self.residual else None
    activation = self.act(self.out_channels, of_sum=self.first) if activate else identity
    return Residual(body, shortcut, activation, groups=groups)
