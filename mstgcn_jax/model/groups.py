"""Features as one array, or as a tuple of channel groups."""

import jax
import jax.numpy as jnp

Features = jax.Array | tuple[jax.Array, ...]


def split(x: Features, groups: int) -> tuple[jax.Array, ...]:
  """The channels as a tuple of equal groups; a tuple is taken as it is."""
  return x if isinstance(x, tuple) else tuple(jnp.split(x, groups, axis=-1))


def join(groups: Features) -> jax.Array:
  """All channels in one array."""
  return jnp.concatenate(groups, axis=-1) if isinstance(groups, tuple) else groups
