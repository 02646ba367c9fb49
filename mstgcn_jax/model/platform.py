"""The one place that decides which form of a computation runs on which device.

The forms of one computation are the same function, up to rounding. They differ in what is cheap: a
CPU is short of arithmetic, a GPU of memory traffic, and their compilers have fast paths for
different products and convolutions (benchmarks/README.md has the figures). onnxruntime, which runs
exported files, has convolutions over channels, frames and joints in an order of its own
(docs/export.md).
"""

import contextlib
import functools
from collections.abc import Callable, Iterator

import jax
from jax import lax

_forced: list[str] = []


def by_platform(
  *,
  cpu: Callable[..., jax.Array],
  gpu: Callable[..., jax.Array],
  onnx: Callable[..., jax.Array] | None = None,
  tflite: Callable[..., jax.Array] | None = None,
) -> Callable:
  """A function of arrays and keyword options that is `cpu` on a CPU and `gpu` elsewhere.

  The choice is made when a program is lowered for its devices, so that a program compiled here for
  a machine elsewhere takes that machine's form. Only `forced` takes those for exported files:
  `onnx`, by default as `gpu`, and `tflite`, by default as `cpu`.
  """
  by_name = {"cpu": cpu, "gpu": gpu, "onnx": onnx or gpu, "tflite": tflite or cpu}

  def chosen(*arrays: jax.Array, **options) -> jax.Array:
    if _forced:
      return by_name[_forced[-1]](*arrays, **options)
    forms = {"cpu": functools.partial(cpu, **options), "default": functools.partial(gpu, **options)}
    return lax.platform_dependent(*arrays, **forms)

  return chosen


def on_gpu() -> bool:
  """Whether what is traced is meant for a GPU: as `forced`, else by JAX's default device.

  For what has to be known while tracing.
  """
  return (_forced[-1] if _forced else jax.default_backend()) == "gpu"


@contextlib.contextmanager
def forced(form: str) -> Iterator[None]:
  """Traces the forms of 'cpu', 'gpu', 'onnx' or 'tflite' inside the context, whatever the device.

  For tests, and for exported files.
  """
  _forced.append(form)
  try:
    yield
  finally:
    _forced.pop()
