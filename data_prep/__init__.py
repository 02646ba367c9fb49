"""From recordings to prepared data sets: readers, decoders, synthetic people, a look at them."""

from mstgcn_jax import moved as _moved

_moved.install()
