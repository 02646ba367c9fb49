"""Graph convolutions whose adjacency is inferred from the clip, beside what all clips share.

Features are [clip, joint, frame, channel]; an adjacency is indexed [.., source joint, target
joint].
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mstgcn_jax.model.compose import Function
from mstgcn_jax.model.spatial import Aggregation, aggregate
from mstgcn_jax.model.temporal import TemporalConv, side_by_side


def _scalars(count: int, dtype) -> nnx.Param:
  return nnx.Param(jnp.zeros(count, dtype))


def _pointwise(count: int, c_in: int, c_out: int, dtype: str, rngs: nnx.Rngs) -> nnx.List:
  return nnx.List([TemporalConv(c_in, c_out, dtype=dtype, rngs=rngs) for _ in range(count)])


def _scale(convs: Sequence[TemporalConv], scale: jax.Array) -> None:
  for conv in convs:
    conv.scale_outputs(scale)


class AttentionGraphConv(Aggregation):
  """Σ_k (G_kᵀ x) W_k + b_k with an adjacency between joints that are alike (2s-AGCN, AAGCN).

  S_k[u, v] = <θ_k(x[u]), φ_k(x[v])> / (e · frames), over frames and e embedded channels
  G = A + PA + softmax over u of S     (Shi et al. 2019)
  G = PA + α tanh(S)                   (Shi et al. 2020; `adaptive`: PA starts as A, α as 0)
  """

  def __init__(
    self,
    in_channels: int,
    out_channels: int,
    adjacency: np.ndarray,
    *,
    embedded: int,
    adaptive: bool,
    dtype: str = "float32",
    rngs: nnx.Rngs,
  ):
    super().__init__(adjacency, dtype, "learned" if adaptive else "added")
    subsets = len(adjacency)
    if not adaptive:
      self.learned_adjacency[...] = jnp.full(adjacency.shape, 1e-6, self.param_dtype)
    self.alpha = _scalars(1, self.param_dtype) if adaptive else None
    self.theta = _pointwise(subsets, in_channels, embedded, dtype, rngs)
    self.phi = _pointwise(subsets, in_channels, embedded, dtype, rngs)
    self.project = _pointwise(subsets, in_channels, out_channels, dtype, rngs)
    for conv in self.project:  # N(0, 2 / (K · C_out · C_in))
      conv.weight[...] /= math.sqrt(subsets * in_channels)

  def infer(self, x: jax.Array) -> jax.Array:
    """G for each clip, [clip, K, V, V]."""
    subsets = len(self.theta)
    embedded = side_by_side([*self.theta, *self.phi], x)
    pairs = zip(embedded[:subsets], embedded[subsets:], strict=True)
    similar = jnp.stack([self._similarity(*pair) for pair in pairs], 1)
    if self.alpha is None:
      return self.effective_adjacency() + jax.nn.softmax(similar, axis=-2)
    return self.effective_adjacency() + self.alpha[...] * jnp.tanh(similar)

  def _similarity(self, theta: jax.Array, phi: jax.Array) -> jax.Array:
    """S of one subset, [clip, V, V], of embedded features [clip, V, frame, channel]."""
    a, b = (y.reshape(*y.shape[:2], -1) for y in (theta, phi))
    total = jnp.einsum("bui,bvi->buv", a, b, preferred_element_type=self.param_dtype)
    return total / a.shape[-1]

  def __call__(self, x: jax.Array) -> jax.Array:
    x = x.astype(self.dtype)
    weight = jnp.concatenate([conv.weight[...] for conv in self.project])
    bias = sum(conv.bias[...] for conv in self.project)
    return aggregate(x, self.infer(x), weight) + bias.astype(self.dtype)

  def flops(self, shape: tuple[int, ...]) -> int:
    """FLOPs for features of that shape, 2 per multiply-add."""
    clips, joints, frames, channels = shape
    embedded = self.theta[0].bias.size
    products = 2 * clips * frames * joints * joints * (embedded + channels)
    convs = (*self.theta, *self.phi, *self.project)
    return len(self.theta) * products + sum(conv.flops(shape) for conv in convs)

  def scale_outputs(self, scale: jax.Array) -> None:
    """Multiplies every output channel by a constant, in the weights."""
    _scale(self.project, scale)


class ChannelwiseGraphConv(Aggregation):
  """Σ_k G_k ∘ (x W_k + b_k), an adjacency for each channel (CTR-GCN; Chen et al. 2021).

    p = left_k(mean of x over frames), q = right_k(the same)
    G_k[u, v, c] = PA_k[u, v] + α mix_k(tanh(p[u] - q[v]))[c]

  PA starts as A, α as 0. With `target_first` u is the target joint, v the source: the published
  code has it so, the transpose of all other layers here.
  """

  def __init__(
    self,
    in_channels: int,
    out_channels: int,
    adjacency: np.ndarray,
    *,
    embedded: int,
    target_first: bool,
    dtype: str = "float32",
    rngs: nnx.Rngs,
  ):
    super().__init__(adjacency, dtype, "learned")
    subsets = len(adjacency)
    self.alpha = _scalars(1, self.param_dtype)
    self.left = _pointwise(subsets, in_channels, embedded, dtype, rngs)
    self.right = _pointwise(subsets, in_channels, embedded, dtype, rngs)
    self.value = _pointwise(subsets, in_channels, out_channels, dtype, rngs)
    self.mix = _pointwise(subsets, embedded, out_channels, dtype, rngs)
    self.target_first = target_first

  def infer(self, x: jax.Array) -> jax.Array:
    """G for each clip, its channels averaged, [clip, K, source, target]."""
    pooled = _over_frames(x, self.param_dtype)
    adjacency = jnp.stack([self._infer(k, pooled).mean(-1) for k in range(len(self.mix))], 1)
    return adjacency.swapaxes(-1, -2) if self.target_first else adjacency

  def _infer(self, subset: int, pooled: jax.Array) -> jax.Array:
    """G of one subset, [clip, u, v, channel]."""
    p, q = self.left[subset](pooled), self.right[subset](pooled)
    inferred = self.mix[subset](jnp.tanh(p[:, :, None] - q[:, None]))
    shared = self.effective_adjacency()[subset, ..., None]
    return (shared + self.alpha[...] * inferred).astype(self.dtype)

  def __call__(self, x: jax.Array) -> jax.Array:
    x = x.astype(self.dtype)
    pooled = _over_frames(x, self.param_dtype)
    # The source joints of all subsets side by side: one product in place of a sum of several.
    product, source = ("buvc,bvtc->butc", 2) if self.target_first else ("buvc,butc->bvtc", 1)
    subsets = range(len(self.mix))
    adjacency = jnp.concatenate([self._infer(k, pooled) for k in subsets], source)
    values = jnp.concatenate(side_by_side(self.value, x), 1)
    return jnp.einsum(product, adjacency, values)

  def flops(self, shape: tuple[int, ...]) -> int:
    """FLOPs for features of that shape, 2 per multiply-add, embedded frame by frame as published.

    Here their mean is, which is the same and less.
    """
    clips, joints, frames, _ = shape
    between = (clips, joints, joints, self.mix[0].weight.shape[-2])
    products = 2 * clips * frames * joints * joints * self.value[0].bias.size
    convs = (*self.left, *self.right, *self.value)
    mixing = sum(conv.flops(between) for conv in self.mix)
    return len(self.mix) * products + sum(conv.flops(shape) for conv in convs) + mixing

  def scale_outputs(self, scale: jax.Array) -> None:
    """Multiplies every output channel by a constant, in the weights."""
    _scale(self.value, scale)


class DynamicGraphConv(Aggregation):
  """expand(G_kᵀ reduce(x)_k for each k), a learned and inferred adjacency for each group of
  channels k (DG-STGCN; Duan et al. 2022).

    p = left(mean of x over frames), q = right(the same)
    G_k[u, v, c] = PA_k[u, v] + α tanh(p_k[u, c] - q_k[v, c]) + β softmax over u of <p_k[u], q_k[v]>

  α and β start as 0; of their K entries the published code uses the first for all k.
  """

  def __init__(
    self,
    in_channels: int,
    adjacency: np.ndarray,
    *,
    reduce: Function,
    group: int,
    expand: TemporalConv,
    dtype: str = "float32",
    rngs: nnx.Rngs,
  ):
    super().__init__(adjacency, dtype, "learned")
    subsets = len(adjacency)
    self.alpha = _scalars(subsets, self.param_dtype)
    self.beta = _scalars(subsets, self.param_dtype)
    self.reduce = reduce
    self.left = TemporalConv(in_channels, subsets * group, dtype=dtype, rngs=rngs)
    self.right = TemporalConv(in_channels, subsets * group, dtype=dtype, rngs=rngs)
    self.expand = expand

  def infer(self, x: jax.Array) -> jax.Array:
    """G for each clip, the channels of a group averaged, [clip, K, V, V]."""
    return jnp.moveaxis(self._infer(x).mean(-1), -1, 1)

  def _infer(self, x: jax.Array) -> jax.Array:
    """G for each clip, [clip, u, v, K, channel of the group]."""
    pooled = _over_frames(x, self.param_dtype)
    grouped = lambda a: a.reshape(*a.shape[:-1], len(self.alpha), -1).astype(self.param_dtype)
    p, q = grouped(self.left(pooled)), grouped(self.right(pooled))
    similar = jax.nn.softmax(jnp.einsum("bukc,bvkc->buvk", p, q), axis=1)
    shared = jnp.moveaxis(self.effective_adjacency(), 0, -1) + self.beta[0] * similar
    return shared[..., None] + self.alpha[0] * jnp.tanh(p[:, :, None] - q[:, None])

  def __call__(self, x: jax.Array) -> jax.Array:
    x = x.astype(self.dtype)
    adjacency = self._infer(x).astype(self.dtype)
    reduced = self.reduce(x)
    adjacency = adjacency.reshape(*adjacency.shape[:3], -1)
    return self.expand(jnp.einsum("buvc,butc->bvtc", adjacency, reduced))

  def flops(self, shape: tuple[int, ...]) -> int:
    """FLOPs for features of that shape, 2 per multiply-add."""
    clips, joints, frames, channels = shape
    embedding = 2 * self.left.flops((clips, joints, channels))
    products = 2 * clips * joints * joints * self.left.bias.size * (1 + frames)
    return self.reduce.conv.flops(shape) + embedding + products + self.expand.flops(shape)

  def scale_outputs(self, scale: jax.Array) -> None:
    """Multiplies every output channel by a constant, in the weights."""
    self.expand.scale_outputs(scale)


def _over_frames(x: jax.Array, dtype) -> jax.Array:
  """[clip, joint, frame, channel] -> the mean [clip, joint, channel]."""
  return jnp.mean(x.astype(dtype), 2)
