"""Convolution over the joints of a skeleton graph (Kipf & Welling 2017, Yan et al. 2018)."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mstgcn_jax.model.draws import kaiming_fan_out
from mstgcn_jax.model.platform import by_platform
from mstgcn_jax.model.temporal import convolve

# Outputs of all joints, for each subset, up to which a GPU aggregates and projects in one product:
# above, its arithmetic takes longer than to write and read again what all subsets aggregate.
_IN_ONE = 1100


class Constant:
  """An array that is no variable: part of a module's (hashable) structure."""

  def __init__(self, value: np.ndarray):
    self._key = (value.shape, value.dtype.str, value.tobytes())

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    shape, stored, data = self._key
    return np.frombuffer(data, stored).reshape(shape).astype(dtype or stored)

  def __eq__(self, other) -> bool:
    return isinstance(other, Constant) and self._key == other._key

  def __hash__(self) -> int:
    return hash(self._key)


class Aggregation(nnx.Module):
  """Holds what a layer's adjacency is made of: a fixed A and a learned one, PA.

  Both are [K, V, V], indexed [subset, source joint, target joint]. How they make one,
  `edge_weights`:

    added     A + PA, PA starts as a copy of A        scaled    A ⊙ PA, PA starts as ones
    learned   PA, which starts as a copy of A         fixed     A
  """

  def __init__(self, adjacency: np.ndarray, dtype: str, edge_weights: str = "added"):
    self.param_dtype = jnp.promote_types(dtype, jnp.float32)
    self.adjacency = None if edge_weights == "learned" else Constant(np.asarray(adjacency))
    start = jnp.ones_like if edge_weights == "scaled" else jnp.asarray
    learned = edge_weights != "fixed"
    self.learned_adjacency = nnx.Param(start(adjacency, self.param_dtype)) if learned else None
    self.edge_weights = edge_weights
    self.dtype = dtype

  def effective_adjacency(self) -> jax.Array:
    """The adjacency that features are aggregated with, [K, V, V]."""
    if self.edge_weights == "learned":
      return self.learned_adjacency[...]
    fixed = np.asarray(self.adjacency, self.param_dtype)
    if self.edge_weights == "fixed":
      return jnp.asarray(fixed)
    if self.edge_weights == "scaled":
      return fixed * self.learned_adjacency[...]
    return fixed + self.learned_adjacency[...]

  def infer(self, x: jax.Array) -> jax.Array:
    """The adjacency for each clip of features x, [clip, K, V, V]; here all have the same."""
    adjacency = self.effective_adjacency()
    return jnp.broadcast_to(adjacency, (len(x), *adjacency.shape))

  def fold_adjacency(self) -> None:
    """Makes what A and PA make one constant, for inference."""
    if self.edge_weights in ("added", "scaled"):
      self.learned_adjacency[...] = self.effective_adjacency()
      self.adjacency, self.edge_weights = None, "learned"


def _project_then_aggregate(conv: nnx.Module, shape: tuple[int, ...]) -> int:
  """FLOPs of a graph convolution of features of that shape, 2 per multiply-add."""
  clips, joints, frames, _ = shape
  per_position = math.prod(conv.weight.shape) + conv.bias.size * joints
  return 2 * clips * joints * frames * per_position


class GraphConv(Aggregation):
  """Σ_k A_kᵀ (x W_k + b_k): each joint takes up its neighbours' projected features.

  [clip, joint, frame, in_channels] -> [clip, joint, frame, out_channels].
  Weight: [K, in_channels, out_channels]; bias: [K · out_channels].
  """

  def __init__(
    self,
    in_channels: int,
    out_channels: int,
    adjacency: np.ndarray,
    *,
    edge_weights: str = "added",
    dtype: str = "float32",
    rngs: nnx.Rngs,
  ):
    super().__init__(adjacency, dtype, edge_weights)
    subsets = len(adjacency)
    shape = (subsets, in_channels, out_channels)
    self.weight = kaiming_fan_out(rngs, shape, subsets * out_channels, self.param_dtype)
    self.bias = nnx.Param(jnp.zeros(subsets * out_channels, self.param_dtype))

  def __call__(self, x: jax.Array) -> jax.Array:
    adjacency, weight = self.effective_adjacency(), self.weight[...]
    bias = self.bias[...].reshape(len(weight), -1)
    y = aggregate(x.astype(self.dtype), adjacency, weight)
    shift = jnp.einsum("kvw,kd->wd", adjacency, bias).astype(self.dtype)
    return y + shift[:, None]

  flops = _project_then_aggregate

  def scale_outputs(self, scale: jax.Array) -> None:
    """Multiplies every output channel by a constant, in the weights."""
    self.weight[...] *= scale
    self.bias[...] *= jnp.tile(scale, len(self.weight[...]))


def aggregate(x: jax.Array, adjacency: jax.Array, weight: jax.Array) -> jax.Array:
  """Σ_k A_kᵀ x W_k, in the form for the device.

  [clip, joint, frame, in_channels], [K, V, V] or one for each clip, [K, in_channels, out_channels]
  -> [clip, joint, frame, out_channels].
  """
  subsets, _, outputs = weight.shape
  in_one = adjacency.ndim == 3 and x.shape[1] * outputs <= _IN_ONE * subsets
  gpu = _in_one_product if in_one else _aggregate_then_convolve
  form = by_platform(cpu=_subset_by_subset, gpu=gpu, onnx=_aggregate_then_convolve)
  return form(x, adjacency, weight)


def _subset_by_subset(x: jax.Array, adjacency: jax.Array, weight: jax.Array) -> jax.Array:
  """Σ_k A_kᵀ x W_k, with the least arithmetic.

  Aggregating before projecting is less work where the layer widens. Every product is of matrices
  whose axes are in order, forward and backward, so that nothing is transposed.
  """
  adjacency, weight = adjacency.astype(x.dtype), weight.astype(x.dtype)
  by_joint = x.reshape(*x.shape[:2], -1)
  y = 0
  for k, w in enumerate(weight):
    a = adjacency[..., k, :, :].swapaxes(-1, -2)
    a = jnp.broadcast_to(a, (x.shape[0], *a.shape[-2:]))  # without, clips end up behind joints
    y += (a @ by_joint).reshape(-1, x.shape[-1]) @ w
  return y.reshape(*x.shape[:-1], -1)


def _in_one_product(x: jax.Array, adjacency: jax.Array, weight: jax.Array) -> jax.Array:
  """Σ_k A_kᵀ x W_k, with the least memory traffic.

  The sum is linear in (joint, channel): with M[(v, c), (w, d)] = Σ_k A[k, v, w] W[k, c, d] it is
  one product, which reads x once and writes y once. It costs several times the arithmetic.
  """
  clips, joints, frames, channels = x.shape
  # By sums, in x's type before its axes change places: as a product, its gradient would be written
  # out four times more, in float32.
  mixing = (adjacency[..., None, None] * weight[:, None, None]).sum(0)  # [v, w, c, d]
  mixing = mixing.astype(x.dtype).swapaxes(1, 2)
  rows = x.swapaxes(1, 2).reshape(clips * frames, joints * channels)
  y = rows @ mixing.reshape(joints * channels, -1)
  return y.reshape(clips, frames, joints, -1).swapaxes(1, 2)


def _aggregate_then_convolve(x: jax.Array, adjacency: jax.Array, weight: jax.Array) -> jax.Array:
  """Σ_k A_kᵀ x W_k, by one product over joints and one pointwise convolution of all subsets.

  Both are of features as [clip, channel, frame, joint], which onnxruntime then keeps throughout: it
  takes the transpositions of successive layers out.
  """
  clips, joints, frames, channels = x.shape
  subsets, _, outputs = weight.shape
  adjacency, weight = adjacency.astype(x.dtype), weight.astype(x.dtype)
  by_clip = adjacency.shape[:-3]
  side_by_side = adjacency.swapaxes(-3, -2)  # [source, (subset, target)]
  side_by_side = side_by_side.reshape(*by_clip, joints, -1)
  y = x.transpose(0, 3, 2, 1).reshape(*by_clip, -1, joints) @ side_by_side
  y = y.reshape(clips, channels, frames, subsets, joints).transpose(0, 3, 1, 2, 4)
  y = y.reshape(clips, subsets * channels, frames, joints).transpose(0, 3, 2, 1)
  return convolve(y, weight.reshape(1, subsets * channels, outputs), stride=1)


class DepthwiseGraphConv(Aggregation):
  """As `GraphConv`, with one scalar weight per channel and subset instead of a projection.

  [clip, joint, frame, channel] -> the same shape.
  Weight: [channel, K]; bias: [channel · K].
  """

  def __init__(
    self,
    channels: int,
    adjacency: np.ndarray,
    *,
    edge_weights: str = "added",
    dtype: str = "float32",
    rngs: nnx.Rngs,
  ):
    super().__init__(adjacency, dtype, edge_weights)
    shape = (channels, len(adjacency))
    self.weight = kaiming_fan_out(rngs, shape, shape[0] * shape[1], self.param_dtype)
    self.bias = nnx.Param(jnp.zeros(shape[0] * shape[1], self.param_dtype))

  def __call__(self, x: jax.Array) -> jax.Array:
    adjacency, weight = self.effective_adjacency(), self.weight[...]
    # Per channel one joint-to-joint matrix: Σ_k A_k · weight[k].
    mixing = jnp.einsum("kvw,ck->cvw", adjacency, weight).astype(self.dtype)
    shift = jnp.einsum("kvw,ck->wc", adjacency, self.bias[...].reshape(weight.shape))
    y = jnp.einsum("nvtc,cvw->nwtc", x.astype(self.dtype), mixing)
    return y + shift.astype(self.dtype)[:, None]

  flops = _project_then_aggregate

  def scale_outputs(self, scale: jax.Array) -> None:
    """Multiplies every output channel by a constant, in the weights."""
    self.weight[...] *= scale[:, None]
    self.bias[...] *= jnp.repeat(scale, self.weight.shape[1])
