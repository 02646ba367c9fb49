"""Functions of arrays that Python runs once, however many layers call them."""

import functools
from collections.abc import Callable

import jax


def traced_once(*static: str) -> Callable[[Callable], Callable]:
  """Decorates a function to be traced once for equal shapes, types and `static` arguments.

  Programs hold the same operations as without it. But layers repeat a few shapes, and tracing a
  step takes Python seconds.

  Args:
    static: names of the arguments that are no arrays; hashable.
  """
  return functools.partial(_jit, static=static)


@functools.cache
def _jit(function: Callable, static: tuple[str, ...]) -> Callable:
  return jax.jit(function, static_argnames=static, inline=True)
