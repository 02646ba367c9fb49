"""The one place that decides which form of a computation runs on which device.

The forms of one computation are the same function, up to rounding. They differ in what is cheap: a
CPU is short of arithmetic, a GPU of memory traffic, and their compilers have fast paths for
different products and convolutions (benchmarks/README.md has the figures). onnxruntime, which runs
exported files, has convolutions over channels, frames and joints in an order of its own
(docs/export.md).
"""

import contextlib
import functools
from collections.abc import Callable

import jax
from jax import lax
from jax.extend import source_info_util

from mstgcn_jax.model.tracing import traced_once

# Programs and profiles say of an operation where its form was called.
source_info_util.register_exclusion(__file__)
# A jitted function is traced anew where one of them has changed.
_forced = jax.make_user_context("")
_device = jax.make_user_context("any")


def by_platform(
  *,
  cpu: Callable,
  gpu: Callable,
  onnx: Callable | None = None,
  tflite: Callable | None = None,
) -> Callable:
  """A function of arrays and keyword options that is `cpu` on a CPU and `gpu` elsewhere.

  By default the choice is made when a program is lowered for its devices, so that a program that is
  compiled here for a machine elsewhere takes that machine's form. Both forms are traced for that;
  `of` and `forced` name one. Only `forced` takes those for exported files: `onnx`, by default as
  `gpu`, and `tflite`, by default as `cpu`.
  """
  by_name = {"cpu": cpu, "gpu": gpu, "onnx": onnx or gpu, "tflite": tflite or cpu}
  by_name["any"] = _when_lowered(cpu, gpu)

  def chosen(*arrays, **options):
    form = by_name[_forced.value or _device.value]
    return traced_once(*options)(form)(*arrays, **options)

  return chosen


@functools.cache
def _when_lowered(cpu: Callable, gpu: Callable) -> Callable:
  def chosen(*arrays, **options):
    forms = {"cpu": functools.partial(cpu, **options), "default": functools.partial(gpu, **options)}
    return lax.platform_dependent(*arrays, **forms)

  return chosen


def on_gpu() -> bool:
  """Whether what is traced is meant for a GPU: as `forced`, else by JAX's default device.

  For what has to be known while tracing.
  """
  return (_forced.value or jax.default_backend()) == "gpu"


def of(device: jax.Device) -> contextlib.AbstractContextManager[None]:
  """Traces the forms of that device alone inside the context, where none are `forced`."""
  return _device("cpu" if device.platform == "cpu" else "gpu")


def compiler_options(device: jax.Device) -> dict[str, bool]:
  """What a program for that device asks of XLA, as `jax.jit` takes it.

  On GPUs of compute capability 8 (A100, RTX 3090, RTX 4090) that is convolutions with channels
  last. XLA has them so in bfloat16, and in float32 on later cards; here it would exchange axes
  around each (benchmarks/README.md). cuDNN has none in float64.
  """
  capability = str(getattr(device, "compute_capability", None))
  exchanges = capability.startswith("8.") and not jax.config.jax_enable_x64
  return {"xla_gpu_force_conv_nhwc": True} if exchanges else {}


def forced(form: str) -> contextlib.AbstractContextManager[None]:
  """Traces the forms of 'cpu', 'gpu', 'onnx' or 'tflite' inside the context, whatever the device.

  Or those of 'any', which is the default but for `on_gpu`, which is then false. For tests, and for
  programs and files that run elsewhere.
  """
  return _forced(form)
