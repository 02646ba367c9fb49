"""What the commands share: arguments, errors in one line with a status, caches, quiet libraries."""

import argparse
import contextlib
import logging
import mmap
import os
import pathlib
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import BinaryIO

from mstgcn_jax.errors import ConfigError, DataError, RunError, first_line, of_system


def parser(command: str, text: str) -> argparse.ArgumentParser:
  """The arguments of a command, whose --help begins with `text`."""
  return argparse.ArgumentParser(
    prog=f"mstgcn {command}",
    description=text,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )


def add_checkpoint_arguments(parser: argparse.ArgumentParser, stream: str = "the first") -> None:
  """What of a workdir a command takes; `stream` says what without --stream."""
  parser.add_argument("--checkpoint", default="newest", help="newest (default), best, or a step")
  parser.add_argument("--stream", help=f"of a run of several; default {stream}")
  parser.add_argument("--trust", action="store_true", help="import layers that the run names")


def source_options(argv: list[str]) -> tuple[list[str], list[str]]:
  """What stands before a --, and behind it: the options of a recording's source."""
  dashes = argv.index("--") if "--" in argv else len(argv)
  return argv[:dashes], argv[dashes + 1 :]


def config_changes(argv: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
  """What --config.NAME=TEXT sets, or --config.NAME TEXT, as (NAME, TEXT), and the rest.

  `config.load` takes them. ConfigError where a TEXT is missing.
  """
  changes, others = [], []
  arguments = iter(argv)
  for argument in arguments:
    name, equals, text = argument.removeprefix("--config.").partition("=")
    if not argument.startswith("--config."):
      others.append(argument)
    elif not equals and (text := next(arguments, None)) is None:
      raise ConfigError(f"--config.{name} needs a value")
    else:
      changes.append((name, text))
  return changes, others


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
  """How labels are said: --top, --unknown-below; `check_label_arguments` checks them."""
  parser.add_argument("--top", type=int, default=3, metavar="K", help="classes said; default 3")
  parser.add_argument(
    "--unknown-below",
    type=float,
    default=0.0,
    metavar="P",
    help="a label less probable than P (0 to 1) is 'unknown'",
  )


def check_label_arguments(args: argparse.Namespace) -> None:
  """ConfigError where --top or --unknown-below makes no sense."""
  if args.top < 1:
    raise ConfigError(f"--top {args.top} names no class; expected 1 or more")
  if not 0 <= args.unknown_below <= 1:
    raise ConfigError(f"--unknown-below {args.unknown_below} is no probability from 0 to 1")


def standard_input() -> BinaryIO:
  """What is piped into the command; ConfigError where it was started with nothing there."""
  if sys.stdin is None:
    raise ConfigError("standard input is closed; expected frames, or a recording, from there")
  return sys.stdin.buffer


@contextlib.contextmanager
def errors_in_one_line(*, trains: bool = True) -> Iterator[None]:
  """Ends the process with 2 after a ConfigError, with 1 after other errors that users can mend.

  Where a device's memory is too small it names the config's fields that help, if the command
  `trains` and so has them.

  What the libraries' background threads fail of meanwhile (most often of what the error says, a
  full disk) is no page of text beside it, but a line if the command itself ends well.
  """
  with _background_failures() as failures:
    try:
      try:
        yield
      finally:
        if not isinstance(sys.exception(), Exception):  # but maybe SystemExit, after --help
          print(end="", flush=True)  # what nobody reads is said here, not as Python ends
    except ConfigError as error:
      _end(2, error)
    except (DataError, RunError) as error:
      _end(1, error)
    except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
      os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
      _end(128 + signal.SIGPIPE)
    except FileExistsError as error:  # of mkdir, which says no more than this
      _end(1, f"{error.filename} is a file; a folder is needed there")
    except OSError as error:
      _end(1, of_system(error))
    except MemoryError as error:
      _end(1, f"the computer's memory is too small ({first_line(error)})")
    except RuntimeError as error:
      if not (said := _of_device(error, trains)):
        raise
      _end(1, said)
    except KeyboardInterrupt:
      _end(130, "interrupted")
    if failures:
      print(f"warning: in the background: {failures[0]}", file=sys.stderr, flush=True)


# What is said where a card's libraries get no memory, or find a driver that is too old for them.
_NOT_STARTED = re.compile(
  "DNN library initialization failed|Failed to create cu|CUDA_ERROR_OUT_OF_MEMORY"
  "|CU(DNN|BLAS)_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)"
)


def _of_device(error: RuntimeError, trains: bool) -> str:
  """What can be done where a device has too little memory, or cannot start; '' for other errors."""
  if "RESOURCE_EXHAUSTED" in str(error):
    helps = (
      "less is needed with a smaller batch_size or eval_batch_size, optimizer.accumulate, "
      "model.remat or model.dtype=bfloat16; nvidia-smi tells what else uses a GPU"
      if trains
      else "end what else uses it, or take the CPU with JAX_PLATFORMS=cpu"
    )
    return f"the device's memory is too small ({first_line(error)}); {helps}"
  if _NOT_STARTED.search(str(error)):
    return (
      f"the GPU's libraries could not start ({first_line(error)}): another program has its memory "
      "(nvidia-smi), JAX leaves them too little (XLA_CLIENT_MEM_FRACTION=0.6 leaves more), or the "
      "driver is too old; TF_CPP_MIN_LOG_LEVEL=0 says more"
    )
  return ""


@contextlib.contextmanager
def _background_failures() -> Iterator[list[str]]:
  """Collects what is raised outside the main thread, or where nobody can catch it."""
  failures: list[str] = []

  def note(kind, error) -> None:
    if kind is not None and not issubclass(kind, SystemExit):
      failures.append(f"{kind.__name__}: {first_line(error) if error else ''}")

  def uncaught(kind, error, trace) -> None:
    # Threads of a C++ library end here, too.
    if threading.current_thread() is threading.main_thread():
      sys.__excepthook__(kind, error, trace)
    else:
      note(kind, error)

  before = sys.excepthook, sys.unraisablehook, threading.excepthook, logging.raiseExceptions
  sys.excepthook = uncaught
  sys.unraisablehook = threading.excepthook = lambda args: note(args.exc_type, args.exc_value)
  logging.raiseExceptions = False  # a log that cannot be written
  try:
    yield failures
  finally:
    sys.excepthook, sys.unraisablehook, threading.excepthook, logging.raiseExceptions = before


@contextlib.contextmanager
def interrupted_at_once() -> Iterator[None]:
  """Has Ctrl-C end the process without an exception, for blocks that import libraries.

  These catch whatever is raised while they look for what they may do without, KeyboardInterrupt,
  too, and go on.
  """
  in_main = threading.current_thread() is threading.main_thread()
  if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
    yield  # whoever ignores it, as what a script starts in the background does, goes on doing so
    return
  signal.signal(signal.SIGINT, lambda *_: _end(130, "interrupted"))
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(status: int, message: object = None) -> None:
  # Each by itself: of whoever reads it, or its disk, one may be gone.
  with contextlib.suppress(OSError):
    print(end="", flush=True)  # first: in a file of both, what was said before stands before
  with contextlib.suppress(OSError):
    if message is not None:
      print(f"error: {message}", file=sys.stderr, flush=True)
  with contextlib.suppress(OSError):
    logging.shutdown()
  # What a failed run leaves running (a checkpoint being written, other processes to wait for) must
  # not keep it from ending.
  os._exit(status)


def start(*, trains: bool = False) -> None:
  """Before anything is computed: programs compiled for this CPU or cached, and `devices.start`."""
  from mstgcn_jax.training import devices

  fuse_elementwise_on_cpu()
  use_compilation_cache()
  devices.start(trains=trains)


def quiet_libraries() -> None:
  """Keeps TensorFlow's and Orbax's notices, and the pages they write before an error is raised that
  says the same, out of the output, but not JAX's warnings that it fell back to the CPU; call before
  they are imported."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its notice comes before any log level
  os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
  for name in ("absl", "asyncio", "jax", "orbax", "tensorflow"):
    logging.getLogger(name).setLevel(logging.CRITICAL)
  from mstgcn_jax.training import devices

  devices.heed_warnings()


_FUSION_FLAG = "xla_cpu_experimental_ynn_fusion_type"


def fuse_elementwise_on_cpu() -> None:
  """Has XLA compile elementwise work by YNNPACK, too, where a CPU is the only device.

  A training step then takes three quarters of the time (benchmarks/README.md). Where work is split
  over several CPU devices, YNNPACK refuses some layouts when the step runs (jaxlib 0.10.2). Call
  before anything touches a device; XLA_FLAGS that name the option, or a file, are left alone, and
  so is a jaxlib that doesn't know it.
  """
  import jax

  given = os.environ.get("XLA_FLAGS", "")
  named = _FUSION_FLAG in given or given[:2] not in ("", "--")
  several = (
    jax.distributed.is_initialized()
    or jax.config.jax_num_cpu_devices > 1
    or "xla_force_host_platform_device_count" in given
  )
  if not named and not several and xla_knows(_FUSION_FLAG):
    os.environ["XLA_FLAGS"] = f"{given} --{_FUSION_FLAG}=+eltwise".strip()


def xla_knows(flag: str) -> bool:
  """Whether the installed jaxlib has an XLA flag of this name; one that it hasn't ends Python."""
  import jaxlib

  for path in pathlib.Path(jaxlib.__file__).parent.glob("*.so"):
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library:
      if library.find(flag.encode()) >= 0:
        return True
  return False


def use_compilation_cache() -> None:
  """Keeps compiled steps in ~/.cache/mstgcn_jax, unless JAX_COMPILATION_CACHE_DIR says where.

  Those of several processes are kept only where that says so. Processes compile for GPUs together,
  each tuning its share of the kernels, and JAX has the first one alone write: where it finds a
  program and another, with a home of its own, does not, that one waits a day for its share.
  """
  import jax

  if not jax.config.jax_compilation_cache_dir:
    if jax.distributed.is_initialized():
      return
    try:
      path = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:  # a user without a home, as containers have
      return
    jax.config.update("jax_compilation_cache_dir", str(path / "mstgcn_jax" / "xla"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
  # A full disk, or a home that a container's user may not enter, costs time here and no result.
  warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")
