"""What a run computes on: found, in words, in which precision; JAX's warnings of a fall-back."""

import collections
import logging
import os
import sys

import jax

from mstgcn_jax import words
from mstgcn_jax.errors import ConfigError, first_line

_warnings: list[str] = []


class _Heard(logging.Handler):
  """Prints what JAX says of the devices that it did not get, and remembers it."""

  def emit(self, record):
    # Of a plugin that fails JAX says only which, and keeps the reason beside.
    error = record.exc_info[1] if record.exc_info else None
    reasons = [first_line(e) for e in (error, error and error.__cause__) if e]
    _warn(first_line(": ".join([record.getMessage(), *reasons])))


def _warn(message: str) -> None:
  _warnings.append(message)
  print(f"warning: {message}", file=sys.stderr, flush=True)


def heed_warnings() -> None:
  """Has JAX's warnings about devices come out in a line each, where its others are silenced."""
  logger = logging.getLogger("jax._src.xla_bridge")
  logger.setLevel(logging.WARNING)
  logger.propagate = False
  if not any(isinstance(handler, _Heard) for handler in logger.handlers):
    logger.addHandler(_Heard())


def start(*, trains: bool = False) -> None:
  """Has JAX look for its devices, and says where it takes others than JAX_PLATFORMS names first.

  Args:
    trains: whether JAX may take three quarters of a GPU's memory at once, as it does by default.
      What does not train takes what it needs, so that it runs beside a training run, and leaves
      room for one.
  Raises:
    ConfigError: what JAX_PLATFORMS names is not there, or a device that is cannot be used.
  """
  if not trains:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  wanted = jax.config.jax_platforms
  try:
    found = jax.default_backend()
  except (RuntimeError, AssertionError) as error:
    reason = first_line(error) if str(error) else "JAX finds no such device"
    if not wanted:  # a card is there, and a driver or another program keeps JAX from it
      raise ConfigError(f"JAX cannot use the devices of this machine: {reason}") from error
    raise ConfigError(f"JAX_PLATFORMS={wanted} asks for what is not there ({reason})") from error
  first = (wanted or found).split(",")[0]
  if found not in (first, {"cuda": "gpu", "rocm": "gpu"}.get(first)):
    _warn(f"JAX_PLATFORMS={wanted}, but JAX finds no {first}: falling back to {found}")


def dtype_for_use(dtype: str) -> str:
  """What a network trained in `dtype` computes in once it is trained: on a CPU not in bfloat16.

  CPUs without AMX take twice as long in it (benchmarks/README.md), and jaxlib 0.11 and 0.12.0
  compute some networks wrongly there (docs/networks.md).
  """
  return "float32" if dtype == "bfloat16" and jax.default_backend() == "cpu" else dtype


def in_words() -> str:
  """The devices of all processes, and any fall-back: 'on 4 gpu devices (NVIDIA H100 PCIe)'."""
  counts = collections.Counter((d.platform, d.device_kind) for d in jax.devices())
  found = [
    words.counted(count, f"{platform} device") + (f" ({kind})" if kind != platform else "")
    for (platform, kind), count in counts.items()
  ]
  # The first says why; those after it say what follows, such as that JAX looks for no GPU.
  fell_back = f" (not what JAX looked for: {_warnings[0]})" if _warnings else ""
  return f"on {' and '.join(found)}{fell_back}"
