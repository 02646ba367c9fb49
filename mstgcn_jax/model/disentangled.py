"""Graph convolutions over many hops, in a frame and in windows of frames (MS-G3D; Liu et al. 2020).

Features are [clip, joint, frame, channel].
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mstgcn_jax import graph
from mstgcn_jax.model import draws
from mstgcn_jax.model.compose import Function
from mstgcn_jax.model.spatial import GraphConv, aggregate
from mstgcn_jax.model.temporal import TemporalConv


class HopsGraphConv(GraphConv):
  """Σ_k A_kᵀ x W_k + b, where A_k links the joints that are k hops apart.

  [clip, joint, frame, in_channels] -> [clip, joint, frame, out_channels].
  Weight: [K, in_channels, out_channels]; bias: [out_channels]. PA starts close to 0.
  """

  def __init__(
    self,
    in_channels: int,
    out_channels: int,
    links: np.ndarray,
    *,
    scales: int,
    dtype: str = "float32",
    rngs: nnx.Rngs,
  ):
    adjacency = graph.by_hops(links, scales).astype(np.float32)
    super().__init__(in_channels, out_channels, adjacency, dtype=dtype, rngs=rngs)
    self.bias = nnx.Param(jnp.zeros(out_channels, self.param_dtype))
    self.learned_adjacency[...] = draws.uniform(
      draws.key(rngs), adjacency.shape, self.param_dtype, bound=1e-6
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    y = aggregate(x.astype(self.dtype), self.effective_adjacency(), self.weight[...])
    return y + self.bias[...].astype(self.dtype)

  def flops(self, shape: tuple[int, ...]) -> int:
    """FLOPs for features of that shape, 2 per multiply-add."""
    subsets, channels, outputs = self.weight.shape
    return 2 * math.prod(shape[:-1]) * subsets * channels * (shape[1] + outputs)

  def scale_outputs(self, scale: jax.Array) -> None:
    """Multiplies every output channel by a constant, in the weights."""
    self.weight[...] *= scale
    self.bias[...] *= scale


def windows(x: jax.Array, frames: int, *, stride: int) -> jax.Array:
  """Around every stride-th frame a window, the joints of all its frames side by side.

  [clip, joint, frame, channel] -> [clip, frames · joint, frame / stride, channel], zero-padded.
  """
  last = stride * (-(-x.shape[2] // stride) - 1) + 1
  x = jnp.pad(x, ((0, 0), (0, 0), (frames // 2,) * 2, (0, 0)))
  return jnp.concatenate([x[:, :, i : i + last : stride] for i in range(frames)], 1)


def window_links(links: np.ndarray, frames: int) -> np.ndarray:
  """Links in a window: of joints that are linked, or the same, in any two of its frames."""
  return np.tile((links != 0) | np.eye(len(links), dtype=bool), (frames, frames))


class WindowConv(TemporalConv):
  """What `windows` put side by side, projected to one frame.

  [clip, frames · joint, frame, in_channels] -> [clip, joint, frame, out_channels].
  Weight: [frames, in_channels, out_channels].
  """

  def _convolve(self, x: jax.Array, weight: jax.Array) -> jax.Array:
    by_frame = jnp.split(x, len(weight), axis=1)
    return sum(y @ w for y, w in zip(by_frame, weight, strict=True))

  def flops(self, shape: tuple[int, ...]) -> int:
    """FLOPs for features of that shape, 2 per multiply-add."""
    return 2 * math.prod(shape) * self.bias.size


class WindowPath(nnx.Module):
  """collapse(conv(windows of x)): joints take up others' features across the frames of a window.

  [clip, joint, frame, in_channels] -> [clip, joint, frame / stride, out_channels].
  """

  def __init__(self, conv: Function, collapse: Function, *, frames: int, stride: int):
    self.conv = conv
    self.collapse = collapse
    self.frames = frames
    self.stride = stride

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.collapse(self.conv(windows(x, self.frames, stride=self.stride)))


class Paths(nnx.Module):
  """activation(Σ path(x)): several layers over the same features."""

  def __init__(self, paths: Sequence[Function], activation: Function):
    self.paths = nnx.List(paths)
    self.activation = activation

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.activation(sum(path(x) for path in self.paths))
