"""Starting a run that spans several processes."""

import collections
import contextlib
import json
import os
import re
import signal
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from mstgcn_jax.errors import ConfigError, RunError, first_line


# Long: what each launcher says, and leaves to be set right, in the order in which it is needed.
def initialize(
  *,
  coordinator: str | None,
  num_processes: int | None,
  process_id: int | None,
  heartbeat_timeout: int,
) -> None:
  """Joins this process to the others where flags or the environment name such.

  Flags win; else Slurm and Open MPI tell (JAX reads their variables; Open MPI from 5 on needs the
  coordinator); else JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID. A process on its
  own, or the only one of its machine, drives all local devices, and one that is shown a single GPU
  that one. Call before anything touches one.

  Args:
    heartbeat_timeout: seconds after which a lost process ends the others.
  Raises:
    ConfigError: only some of the three flags are given, or joining failed.
  """
  coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
  num_processes = _number(num_processes, "JAX_NUM_PROCESSES")
  process_id = _number(process_id, "JAX_PROCESS_ID")
  if coordinator is not None:  # Open MPI from 5 on doesn't say where its first process is
    num_processes = _number(num_processes, "OMPI_COMM_WORLD_SIZE")
    process_id = _number(process_id, "OMPI_COMM_WORLD_RANK")
  given = [x is not None for x in (coordinator, num_processes, process_id)]
  cluster = _cluster()
  if not any(given) and not cluster:
    return
  if any(given) and not all(given) and not cluster:
    raise ConfigError(
      "give all of --coordinator, --num_processes and --process_id (or the variables "
      "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID), or none"
    )
  if coordinator is not None and not re.search(r":\d+$", coordinator):
    raise ConfigError(f"the coordinator is {coordinator}; it must be HOST:PORT")
  # Said before: after five minutes without them JAX ends the process, and doesn't say where it was.
  print(f"joining the other processes of this run ({coordinator or cluster}) …", flush=True)
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  options = {}
  if all(given) and _is_open_mpi_5():  # of which JAX asks what is known here, by mpi4py
    rank = int(os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK", "0"))
    options = {"cluster_detection_method": "deactivate", "local_device_ids": [rank]}
  try:
    jax.distributed.initialize(
      coordinator_address=coordinator,
      num_processes=num_processes,
      process_id=process_id,
      heartbeat_timeout_seconds=heartbeat_timeout,
      **options,
    )
  except (RuntimeError, ValueError) as error:
    raise ConfigError(
      f"could not join the other processes ({str(error).rstrip('.')}); --coordinator HOST:PORT "
      "names the first one"
    ) from error
  # JAX now notes SIGTERM for whoever asks: until a `StopSignal` is there it would be lost.
  signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
  if _alone_on_its_machine() or _has_one_card():
    # Under a cluster's variables JAX gives a process that GPU, of those it sees, of its local rank.
    for platform in ("cuda", "rocm"):
      jax.config.update(f"jax_{platform}_visible_devices", "all")


def _cluster() -> str:
  """The variable by which Slurm or Open MPI says that there are several processes, or ''."""
  for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"):
    if (_number(None, name) or 1) > 1:
      return f"{name}={os.environ[name]}"
  return ""


def check_alike(facts: Mapping[str, Any]) -> None:
  """Raises ConfigError where facts (fit for JSON) are not the same in all processes.

  Such processes would train different networks, or wait for each other for ever. All need equally
  many devices, too. The first process to end may end the others before they say so.
  """
  if jax.process_count() == 1:
    return
  devices = collections.Counter(device.process_index for device in jax.devices())
  if len(set(devices.values())) > 1:
    counts = ", ".join(str(devices[process]) for process in sorted(devices))
    raise ConfigError(f"the processes of this run have {counts} devices; all need equally many")
  # Names first: another version may have more of them, or fewer.
  for held in ({"their version": sorted(facts)}, dict(sorted(facts.items()))):
    sums = [zlib.crc32(json.dumps(value, sort_keys=True).encode()) for value in held.values()]
    everyone = multihost_utils.process_allgather(np.asarray(sums, np.uint32))
    different = (everyone != everyone[0]).any(0)
    if different.any():
      what = ", ".join(np.asarray(list(held))[different])
      raise ConfigError(f"the processes of this run differ in {what}; all need the same")


# What JAX says, in errors of several types, when a process that it computes with is not there.
_LOST = re.compile(r"(UNAVAILABLE|DEADLINE_EXCEEDED): |[A-Z_]+: .*(Gloo|[NR]CCL|[Bb]arrier)")


@contextlib.contextmanager
def naming_lost_processes() -> Iterator[None]:
  """Raises RunError where the block fails because another process of the run has ended."""
  try:
    yield
  except (jax.errors.JaxRuntimeError, ValueError) as error:
    if jax.process_count() == 1 or not _LOST.match(str(error)):
      raise
    raise RunError(
      f"another process of this run cannot be reached ({first_line(error)}); most likely it has "
      "ended, and says why. The same commands go on from the newest checkpoint"
    ) from error


def _is_open_mpi_5() -> bool:
  return "OMPI_COMM_WORLD_SIZE" in os.environ and "OMPI_MCA_orte_hnp_uri" not in os.environ


def _alone_on_its_machine() -> bool:
  tasks = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")  # such as 1, 1(x4), or 2,1
  one_each = re.fullmatch(r"1(\(x\d+\))?", tasks) is not None
  return one_each or os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == "1"


def _has_one_card() -> bool:
  """Whether the scheduler shows each process a card of its own (Slurm's --gpus-per-task=1)."""
  return "," not in os.environ.get("CUDA_VISIBLE_DEVICES", ",")


def _number(value: int | None, variable: str) -> int | None:
  if value is not None or variable not in os.environ:
    return value
  try:
    return int(os.environ[variable])
  except ValueError:
    raise ConfigError(f"{variable} is {os.environ[variable]!r}; it must be a number") from None
