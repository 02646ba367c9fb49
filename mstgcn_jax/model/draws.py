"""Random initial values: those of jax.random, of few programs.

Compiling a draw takes a CPU 0.2 to 0.7 s for each shape. A key's numbers are also the first ones of
its longer draws, whatever their shape (JAX's threefry counts), so rows of few lengths are drawn.
"""

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx


def key(rngs: nnx.Rngs) -> jax.Array:
  """The next key of the stream `params`, that of `rngs.params()`.

  Which counts by count[...] += 1: while a network of shapes is traced that asks a traced array for
  its sharding, and the answer, an error, searches the whole program (DG-STGCN: 2.5 of 3 s).
  """
  stream = rngs.params
  found = jax.random.fold_in(stream.key[...], stream.count[...])
  stream.count.set_value(stream.count[...] + 1)
  return found


def kaiming_fan_out(rngs: nnx.Rngs, shape: tuple[int, ...], fan_out: int, dtype) -> nnx.Param:
  """Weights drawn from N(0, 2 / fan_out) (He et al. 2015); fan_out = outputs · kernel elements."""
  return nnx.Param(normal(key(rngs), shape, dtype, std=math.sqrt(2 / fan_out)))


def normal(
  key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32, *, std: float = 1.0
) -> jax.Array:
  """Numbers from N(0, std²), those of `std * jax.random.normal(key, shape, dtype)`."""
  return _first(jax.random.normal(key, (_length(shape),), dtype), std, shape=shape)


def uniform(key: jax.Array, shape: tuple[int, ...], dtype, *, bound: float) -> jax.Array:
  """Numbers from U(-bound, bound), those of `jax.random.uniform`."""
  return _first(jax.random.uniform(key, (_length(shape),), dtype, -bound, bound), 1.0, shape=shape)


def _length(shape: tuple[int, ...]) -> int:
  """Of the row that is drawn: 1,024 times a power of 4."""
  length = 1024
  while length < math.prod(shape):
    length *= 4
  return length


@functools.partial(jax.jit, static_argnames="shape")
def _first(row: jax.Array, scale: float, *, shape: tuple[int, ...]) -> jax.Array:
  """The row's first numbers, scaled, in a shape."""
  return scale * row[: math.prod(shape)].reshape(shape)
