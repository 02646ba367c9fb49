"""Convolution over the frames of each joint."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from mstgcn_jax.errors import ConfigError
from mstgcn_jax.model.draws import kaiming_fan_out
from mstgcn_jax.model.platform import by_platform

# Frames times channels up to which one product is faster on a CPU than XLA's convolution
# (benchmarks/README.md).
_NARROW = 256


class TemporalConv(nnx.Module):
  """k×1 convolution over frames, zero-padded; k = 1 is the pointwise convolution.

  [clip, joint, frame, in_channels] -> [clip, joint, ceil(frame / stride), out_channels]; k = 1 with
  stride 1 takes any axes before the channels. `groups` = in_channels makes it depthwise; taps are
  `dilation` frames apart.

  Weight: [k, in_channels / groups, out_channels].

  Raises:
    ConfigError: k is even, which looks further to one side.
  """

  def __init__(
    self,
    in_channels: int,
    out_channels: int,
    kernel_size: int = 1,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    dtype: str = "float32",
    rngs: nnx.Rngs,
  ):
    if kernel_size % 2 == 0:  # the forms for a CPU and for a GPU would differ
      raise ConfigError(f"kernel_size is {kernel_size}; it must be odd, to look both ways alike")
    param_dtype = jnp.promote_types(dtype, jnp.float32)
    shape = (kernel_size, in_channels // groups, out_channels)
    self.weight = kaiming_fan_out(rngs, shape, out_channels * kernel_size, param_dtype)
    self.bias = nnx.Param(jnp.zeros(out_channels, param_dtype))
    self.stride = stride
    self.dilation = dilation
    self.groups = groups
    self.dtype = dtype

  def __call__(self, x: jax.Array, *, constant_bias: bool = False) -> jax.Array:
    """The convolution; with `constant_bias`, the bias is no variable of the gradient."""
    x, weight, bias = (a.astype(self.dtype) for a in (x, self.weight[...], self.bias[...]))
    bias = lax.stop_gradient(bias) if constant_bias else bias
    return self._convolve(x, weight) + bias

  def _convolve(self, x: jax.Array, weight: jax.Array) -> jax.Array:
    options = {"stride": self.stride}
    if len(weight) > 1 or self.groups > 1:
      options["dilation"] = self.dilation
      form = by_platform(cpu=_convolve_on_cpu, gpu=convolve, tflite=_convolve_in_phases)
    elif x.ndim == 4:
      form = by_platform(cpu=_project, gpu=convolve)
    else:
      form = _project
    return form(x, weight, **options)

  def flops(self, shape: tuple[int, ...]) -> int:
    """FLOPs for features of that shape, 2 per multiply-add."""
    positions = math.prod(shape[:-2]) * -(-shape[-2] // self.stride)
    return 2 * positions * math.prod(self.weight.shape)

  def scale_outputs(self, scale: jax.Array) -> None:
    """Multiplies every output channel by a constant, in the weights."""
    self.weight[...] *= scale
    self.bias[...] *= scale


def side_by_side(
  convs: Sequence[TemporalConv], x: jax.Array, *, constant_bias: bool = False
) -> list[jax.Array]:
  """What pointwise convolutions give of the same features, by one product that reads them once.

  [clip, joint, frame, in_channels] -> [clip, joint, frame, out_channels] each.
  """
  x = x.astype(convs[0].dtype)
  weight = jnp.concatenate([conv.weight[...] for conv in convs], -1).astype(x.dtype)
  bias = jnp.concatenate([conv.bias[...] for conv in convs]).astype(x.dtype)
  bias = lax.stop_gradient(bias) if constant_bias else bias
  ends = np.cumsum([conv.bias.size for conv in convs])[:-1]
  project = by_platform(cpu=_project, gpu=convolve)
  return jnp.split(project(x, weight, stride=1) + bias, ends, axis=-1)


def _project(x: jax.Array, weight: jax.Array, *, stride: int) -> jax.Array:
  """[..., in] with [1, in, out] -> [..., out], of every stride-th frame."""
  return (x if stride == 1 else x[..., ::stride, :]) @ weight[0]


def convolve(x: jax.Array, weight: jax.Array, *, stride: int, dilation: int = 1) -> jax.Array:
  """[clip, joint, frame, in] with [k, in / groups, out] -> [clip, joint, frame / stride, out]."""
  return lax.conv_general_dilated(
    x,
    weight[:, None],
    window_strides=(stride, 1),
    padding=[(dilation * (len(weight) // 2),) * 2, (0, 0)],
    rhs_dilation=(dilation, 1),
    # Frames are the first of the two dimensions that are slid over, joints the second: XLA then
    # lays features out frame by frame, as the graph convolution of a GPU reads them.
    dimension_numbers=lax.ConvDimensionNumbers((0, 3, 2, 1), (3, 2, 0, 1), (0, 3, 2, 1)),
    feature_group_count=x.shape[-1] // weight.shape[1],
  )


def _convolve_on_cpu(x: jax.Array, weight: jax.Array, *, stride: int, dilation: int) -> jax.Array:
  """As `convolve`: by one product where clips are short or groups narrow, else in phases."""
  frames, channels = x.shape[-2:]
  short = frames <= len(weight) or frames * channels <= _NARROW
  form = _convolve_in_one_product if short and channels == weight.shape[1] else _convolve_in_phases
  return form(x, weight, stride=stride, dilation=dilation)


def _convolve_in_one_product(
  x: jax.Array, weight: jax.Array, *, stride: int, dilation: int
) -> jax.Array:
  """As `convolve`, by a product over frames and channels, most of whose factors may be 0.

  XLA's convolution for CPUs is slow for few channels, and where frames are fewer than taps it
  exchanges the two and leaves its fast path. A file would hold the zeros, too.
  """
  frames, channels = x.shape[-2:]
  outputs = -(-frames // stride)
  frame, output = np.ogrid[:frames, :outputs]
  tap, between = np.divmod(frame - output * stride + dilation * (len(weight) // 2), dilation)
  meets = (between == 0) & (tap >= 0) & (tap < len(weight))
  # Looked up, and so summed in the backward pass, in float32: many pairs of frames share a tap.
  taps = jnp.pad(weight.astype(jnp.promote_types(x.dtype, jnp.float32)), ((0, 1), (0, 0), (0, 0)))
  matrix = taps[np.where(meets, tap, len(weight))]  # [frame, output, in, out]; the last tap is 0
  matrix = matrix.swapaxes(1, 2).reshape(frames * channels, -1).astype(x.dtype)
  y = x.reshape(-1, frames * channels) @ matrix
  return y.reshape(*x.shape[:-2], outputs, -1)


def _convolve_in_phases(
  x: jax.Array, weight: jax.Array, *, stride: int, dilation: int
) -> jax.Array:
  """As `convolve`, by convolutions over one dimension without stride.

  A stride is spelled as one convolution for each phase of the frames, summed: the gradient of a
  strided convolution is one with holes, which is slow on a CPU.
  """
  pad, outputs = dilation * (len(weight) // 2), -(-x.shape[-2] // stride)
  common = math.gcd(stride, dilation)
  step, apart = stride // common, dilation // common
  total = 0
  for first in range(min(step, len(weight))):
    # Taps first, first + step, … meet the frames of one phase, `apart` of these from each other,
    # from `before` outputs back on.
    before = -((dilation * first - pad) // stride)
    phase = (dilation * first - pad) % stride
    taps, frames = weight[first::step], x[..., phase::stride, :]
    after = outputs + apart * (len(taps) - 1) - before - frames.shape[-2]
    total += _convolve_once(frames, taps, (before, after), apart)
  return total


def _convolve_once(
  x: jax.Array, weight: jax.Array, padding: tuple[int, int], dilation: int
) -> jax.Array:
  y = lax.conv_general_dilated(
    x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:]),
    weight,
    window_strides=(1,),
    padding=[padding],
    rhs_dilation=(dilation,),
    dimension_numbers=("NWC", "WIO", "NWC"),
    feature_group_count=x.shape[-1] // weight.shape[1],
  )
  return y.reshape(*x.shape[:-2], *y.shape[1:])


class MaxPool(nnx.Module):
  """Maximum over windows of frames; [clip, joint, frame, channel] -> [.., frame / stride, ..].

  Of equal frames, which an absent person has, the earliest takes the gradient.
  """

  def __init__(self, window: int, *, stride: int = 1):
    self.window = window
    self.stride = stride

  def __call__(self, x: jax.Array) -> jax.Array:
    outputs = -(-x.shape[-2] // self.stride)
    pad = self.window // 2
    x = jnp.pad(x, ((0, 0),) * (x.ndim - 2) + ((pad, pad), (0, 0)), constant_values=-jnp.inf)
    last = self.stride * (outputs - 1) + 1
    best = x[..., : last : self.stride, :]
    for first in range(1, self.window):
      later = x[..., first : first + last : self.stride, :]
      best = jnp.where(best >= later, best, later)
    return best
