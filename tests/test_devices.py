"""The same run on more devices and on more processes."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import quick
import tiny
from jax.errors import JaxRuntimeError
from jax.experimental import multihost_utils

from mstgcn_jax.errors import ConfigError, Preempted, RunError
from mstgcn_jax.evaluation.scores import Scores
from mstgcn_jax.training import checkpoints, distributed, experiment, loop, own_parts, run_log

TESTS = pathlib.Path(__file__).parent


def losses(dtype: str) -> dict[int, np.ndarray]:
  argv = [sys.executable, TESTS / "device_losses.py", dtype]
  output = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
  return {int(n): np.asarray(values) for n, values in json.loads(output).items()}


def test_losses_in_float64_do_not_depend_on_the_number_of_devices():
  by_devices = losses("float64")
  for devices in (2, 4, 8):  # only the order of summation differs: about 1e-15 measured
    np.testing.assert_allclose(by_devices[devices], by_devices[1], rtol=1e-9)
  assert by_devices[1][-1] < 0.7 * by_devices[1][0]  # it learns


def test_losses_in_float32_differ_by_rounding():
  by_devices = losses("float32")
  for devices in (2, 4, 8):
    np.testing.assert_allclose(by_devices[devices][0], by_devices[1][0], rtol=1e-6)
    # 20 steps amplify the rounding of the sums; 2.5e-7 measured, with room for other machines.
    np.testing.assert_allclose(by_devices[devices], by_devices[1], rtol=1e-4)


@pytest.fixture(scope="module")
def programs() -> list[dict]:
  """Compiled steps, single and four-stream, training and evaluation (device_programs.py)."""
  paths = (str(TESTS.parent / "benchmarks"), str(TESTS.parent), os.environ.get("PYTHONPATH", ""))
  env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
  argv = [sys.executable, TESTS / "device_programs.py"]
  output = subprocess.run(argv, check=True, env=env, capture_output=True, text=True).stdout
  return json.loads(output)


def test_devices_share_the_work_of_a_compiled_step(programs):
  alone = {p["name"]: p["flops"] for p in programs if p["devices"] == 1}
  assert len(alone) == 4 and min(alone.values()) > 1e6
  for p in programs:
    assert p["flops"] == pytest.approx(alone[p["name"]] / p["devices"], rel=0.05), p


def test_compiled_steps_exchange_gradients_statistics_and_figures_and_nothing_else(programs):
  for p in programs:
    if p["devices"] == 1 or "evaluation" in p["name"]:
      assert p["collectives"] == [], p
      continue
    assert {operation for operation, _ in p["collectives"]} == {"all-reduce"}, p
    # Of each norm one sum forward and one backward, and everything else in one.
    assert len(p["collectives"]) <= 2 * p["norms"] + 1, p
    assert sum(size for _, size in p["collectives"]) <= 1.2 * p["state_bytes"], p


def test_a_training_step_writes_the_new_state_in_the_place_of_the_old(programs):
  for p in programs:
    assert p["arrays_in_place"] == (0 if "evaluation" in p["name"] else p["arrays_of_state"]), p


def command(data, workdir, *extra: str) -> list[str]:
  return [
    *tiny.TRAIN, f"--config={tiny.CONFIG}", f"--workdir={workdir}", f"--config.data.dir={data}",
    "--config.batch_size=8", *extra,
  ]  # fmt: skip


def free_port() -> int:
  with socket.socket() as free:
    free.bind(("localhost", 0))
    return free.getsockname()[1]


def start(data, workdir, *extra: str, processes: int, devices: int) -> list[subprocess.Popen]:
  """Starts a run of several processes with simulated devices each."""
  port = free_port()
  flags = f"--xla_force_host_platform_device_count={devices} {quick.FLAGS}"
  env = os.environ | {"XLA_FLAGS": flags}
  started = []
  for i in range(processes):
    argv = command(data, workdir, *extra)
    if processes > 1:
      argv += [f"--coordinator=localhost:{port}", f"--num_processes={processes}"]
      argv += [f"--process_id={i}"]
    started.append(
      subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    )
  return started


def finish(processes: list[subprocess.Popen], timeout: float = 240) -> list[tuple[int, str]]:
  """(exit status, output) of each; kills what is left on a time-out."""
  try:
    return [(p.communicate(timeout=timeout)[0], p.returncode)[::-1] for p in processes]
  finally:
    for p in processes:
      p.kill()


def train_losses(workdir) -> np.ndarray:
  rows = list(run_log.read_metrics(workdir / "metrics.csv"))
  return np.asarray([float(r["loss"]) for r in rows if r["split"] == "train"])


def test_two_processes_train_evaluate_and_save_as_one_and_resume_elsewhere(tiny_data, tmp_path):
  one, two = tmp_path / "one", tmp_path / "two"
  for workdir, processes, devices in ((one, 1, 4), (two, 2, 2)):
    for status, output in finish(start(tiny_data, workdir, processes=processes, devices=devices)):
      assert status == 0, output
  a, b = train_losses(one), train_losses(two)
  np.testing.assert_allclose(b[0], a[0], rtol=1e-6)
  np.testing.assert_allclose(b, a, rtol=1e-3)  # float32 rounding over 9 steps
  scores_one, scores_two = Scores.load(one / "scores.npz"), Scores.load(two / "scores.npz")
  # 27 clips in batches of 8: uneven on purpose, and each clip counted once.
  np.testing.assert_array_equal(scores_one.names, scores_two.names)
  np.testing.assert_allclose(scores_two.logits, scores_one.logits, atol=1e-2)
  # What four devices of two processes wrote goes on on one device of one.
  ((status, output),) = finish(start(tiny_data, two, "--config.epochs=4", processes=1, devices=1))
  assert status == 0 and "resuming from step 9" in output, output
  assert checkpoints.load_variables(two)[1] == 12


def wait_for_steps(workdir: pathlib.Path, processes: list[subprocess.Popen]) -> None:
  """Returns when a checkpoint is there, so that the processes are in the midst of steps."""
  for _ in range(600):
    if any((workdir / "checkpoints").glob("[0-9]*/state")):
      return
    assert all(p.poll() is None for p in processes), finish(processes)
    time.sleep(0.2)
  pytest.fail("no checkpoint within two minutes")


ONE_BLOCK = "--config.model.blocks=((3, 8, False, 1),)"
LONG = (
  *(ONE_BLOCK, "--config.epochs=100000", "--config.eval_every=100000"),
  "--config.save_every_steps=20",
)


def test_a_lost_process_ends_the_other_and_rerunning_resumes(tiny_data, tmp_path):
  workdir = tmp_path / "run"
  both = start(tiny_data, workdir, *LONG, "--config.heartbeat_timeout=10", processes=2, devices=2)
  wait_for_steps(workdir, both)
  both[1].kill()
  killed = time.monotonic()
  ((status, output),) = finish(both[:1], timeout=60)
  assert status != 0 and "Traceback" not in output, output
  # The heartbeat takes 10 s; the rest is for a loaded machine, the point is that it doesn't hang.
  assert time.monotonic() - killed < 55
  both[1].communicate()
  again = start(tiny_data, workdir, ONE_BLOCK, "--config.epochs=1", processes=2, devices=2)
  for status, output in finish(again):
    assert status == 0, output
  assert checkpoints.load_variables(workdir)[1] >= 20


def test_sigterm_to_one_of_two_processes_saves_one_step(tiny_data, tmp_path):
  workdir = tmp_path / "run"
  both = start(tiny_data, workdir, *LONG, processes=2, devices=2)
  wait_for_steps(workdir, both)
  both[1].send_signal(signal.SIGTERM)
  results = finish(both, timeout=60)
  assert [status for status, _ in results] == [75, 75], results
  assert f"saved step {checkpoints.load_variables(workdir)[1]}" in results[0][1]


JOIN = """
import ctypes
import signal
import jax
from mstgcn_jax.training import distributed
distributed.initialize(
  coordinator=None, num_processes=None, process_id=None, heartbeat_timeout=60
)
handler = ctypes.pythonapi.PyOS_getsig
handler.restype = ctypes.c_void_p
print("SIGTERM", "is caught" if handler(signal.SIGTERM) else "ends it")
print(jax.process_index(), jax.process_count(), jax.config.read("jax_cuda_visible_devices"))
"""


def _slurm(rank: int, port: int, one_each: bool) -> dict[str, str]:
  return {
    "SLURM_JOB_ID": str(port),
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": str(rank),
    "SLURM_LOCALID": "0" if one_each else str(rank),
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)" if one_each else "2",
  }


def _slurm_card_each(rank: int, port: int, one_each: bool) -> dict[str, str]:
  return _slurm(rank, port, one_each) | {"CUDA_VISIBLE_DEVICES": "0"}  # where cgroups hide others


def _open_mpi_4(rank: int, port: int, one_each: bool) -> dict[str, str]:
  return {
    "OMPI_MCA_orte_hnp_uri": f"{port << 12}.0;tcp://127.0.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": str(rank),
    "OMPI_COMM_WORLD_LOCAL_RANK": "0" if one_each else str(rank),
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1" if one_each else "2",
  }


def _open_mpi_5(rank: int, port: int, one_each: bool) -> dict[str, str]:
  variables = _open_mpi_4(rank, port, one_each)
  del variables["OMPI_MCA_orte_hnp_uri"]
  return variables | {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}"}


def _plain(rank: int, port: int, one_each: bool) -> dict[str, str]:
  return {
    "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
    "JAX_NUM_PROCESSES": "2",
    "JAX_PROCESS_ID": str(rank),
  }


@pytest.mark.parametrize(
  ("environment", "one_each", "devices"),
  [
    (_slurm, True, ("all", "all")),
    (_slurm, False, ("0", "1")),
    (_slurm_card_each, False, ("all", "all")),
    (_open_mpi_4, True, ("all", "all")),
    (_open_mpi_5, True, ("all", "all")),
    (_plain, True, ("all", "all")),
  ],
)
def test_processes_join_by_the_usual_environment(environment, one_each, devices):
  # The variables as these launchers set them; alone on its machine a process keeps all GPUs, and
  # where it is shown a single one, that one.
  port = free_port()
  both = [
    subprocess.Popen(
      [sys.executable, "-c", JOIN],
      env=os.environ | environment(rank, port, one_each),
      cwd=pathlib.Path(__file__).parents[1],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for rank in (0, 1)
  ]
  for rank, (status, output) in enumerate(finish(both, timeout=120)):
    assert status == 0, output
    assert output.splitlines()[-2:] == ["SIGTERM ends it", f"{rank} 2 {devices[rank]}"]
    because = dict.fromkeys((_slurm, _slurm_card_each), "SLURM_STEP_NUM_TASKS=2")
    because |= {_open_mpi_4: "OMPI_COMM_WORLD_SIZE=2"}
    said = because.get(environment, f"localhost:{port}")
    assert f"joining the other processes of this run ({said}) …" in output


@pytest.mark.parametrize(
  ("coordinator", "process_id", "said"),
  [
    ("gpu01", 0, "the coordinator is gpu01; it must be HOST:PORT"),
    ("gpu01:1234", None, "give all of --coordinator, --num_processes and --process_id"),
  ],
)
def test_a_coordinator_without_port_or_number_is_refused(coordinator, process_id, said):
  with pytest.raises(ConfigError, match=said):
    distributed.initialize(
      coordinator=coordinator, num_processes=2, process_id=process_id, heartbeat_timeout=60
    )


@pytest.mark.parametrize(
  ("others", "devices", "said"),
  [
    ({"seed": 0, "epochs": 3}, (1, 1), None),
    ({"seed": 1, "epochs": 3}, (1, 1), "of this run differ in seed; all need the same"),
    ({"seed": 0, "epoch": 3}, (1, 1), "of this run differ in their version"),
    ({"seed": 0, "epochs": 3}, (1, 3), "of this run have 1, 3 devices; all need equally many"),
  ],
)
def test_processes_that_would_compute_something_else_are_refused(
  others, devices, said, monkeypatch
):
  placed = [
    SimpleNamespace(process_index=i) for i, count in enumerate(devices) for _ in range(count)
  ]
  sums = []
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  monkeypatch.setattr(jax, "devices", lambda: placed)
  gather = lambda ours: sums.append(ours) or np.stack([ours, ours])
  monkeypatch.setattr(multihost_utils, "process_allgather", gather)
  with contextlib.suppress(ConfigError):
    distributed.check_alike(others)
  gather = lambda ours: np.stack([sums.pop(0), ours])
  monkeypatch.setattr(multihost_utils, "process_allgather", gather)
  with pytest.raises(ConfigError, match=said) if said else contextlib.nullcontext():
    distributed.check_alike({"seed": 0, "epochs": 3})


@pytest.mark.parametrize(
  ("error", "processes", "said"),
  [
    (ValueError("UNKNOWN: Gloo AllGather failed: Read error"), 2, "cannot be reached"),
    (JaxRuntimeError("INTERNAL: NCCL operation ncclAllReduce() failed"), 2, "cannot be reached"),
    (JaxRuntimeError("INTERNAL: NCCL operation ncclAllReduce() failed"), 1, "^INTERNAL"),
    (JaxRuntimeError("DEADLINE_EXCEEDED: GetKeyValue() timed out"), 2, "cannot be reached"),
    (JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), 2, "^RESOURCE_EXHAUSTED"),
    (ConfigError("epochs is 0; it must be at least 1"), 2, "^epochs"),
  ],
)
def test_a_lost_process_is_said_in_a_line(error, processes, said, monkeypatch):
  monkeypatch.setattr(jax, "process_count", lambda: processes)
  with pytest.raises((RunError, type(error)), match=said), distributed.naming_lost_processes():
    raise error


@pytest.mark.parametrize(
  "different",
  [
    "seed, values to start from (init_from or unlike machines)",
    "JAX_DEFAULT_MATMUL_PRECISION",
    "network (own code or a graph's file)",
    "what is in the workdir (to be shared)",
  ],
)
def test_processes_compare_what_would_part_them(different, tiny_data, tmp_path, monkeypatch):
  def compared(workdir: pathlib.Path, **changes) -> dict:
    facts = {}

    def check_alike(ours):
      facts.update(ours)
      if different.split(", ")[-1] in ours:
        raise Preempted

    monkeypatch.setattr(distributed, "check_alike", check_alike)
    with pytest.raises(Preempted):
      loop.train(tiny.config(tiny_data, **changes), workdir)
    return facts

  first, changes, workdir = compared(tmp_path / "run"), {}, tmp_path / "run"
  match different.split()[0]:
    case "seed,":
      changes = {"seed": 1}
    case "JAX_DEFAULT_MATMUL_PRECISION":
      config = SimpleNamespace(jax_enable_x64=False, jax_default_matmul_precision="highest")
      monkeypatch.setattr(loop, "jax", SimpleNamespace(**vars(jax) | {"config": config}))
    case "network":
      monkeypatch.setattr(own_parts, "digest", lambda _: "of another file")
    case "what":  # another process, whose disk has such a folder of its own
      monkeypatch.setattr(jax, "process_index", lambda: 1)
      workdir = tmp_path / "elsewhere"
      workdir.mkdir()
  second = compared(workdir, **changes)
  assert ", ".join(name for name in first if first[name] != second[name]) == different


def test_streams_on_a_device_each_are_evaluated_on_one(tiny_data, tmp_path):
  workdir = tmp_path / "run"
  options = ("--config.streams=('joint','bone')", "--config.stream_devices=1")
  ((status, output),) = finish(start(tiny_data, workdir, *options, processes=1, devices=2))
  assert status == 0 and "on 2 cpu devices" in output, output
  argv = [sys.executable, "-m", "mstgcn_jax", "evaluate", f"--workdir={workdir}"]
  # Three devices: neither do two streams fit them, nor batches of eight.
  env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}
  done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=240)
  assert done.returncode == 0, done.stderr
  for name in ("scores.npz", "scores_joint.npz", "scores_bone.npz"):
    here, there = Scores.load(workdir / name), Scores.load(workdir / "evaluation_newest" / name)
    np.testing.assert_array_equal(here.names, there.names)
    # Batches of another size: float32 rounding.
    np.testing.assert_allclose(here.logits, there.logits, rtol=1e-4, atol=1e-4)


def test_a_batch_whose_pairs_would_be_parted_is_refused_with_mixup(tiny_data, monkeypatch):
  monkeypatch.setattr(experiment, "place_streams", lambda *_: {"joint": SimpleNamespace(size=4)})
  config = tiny.config(tiny_data, batch_size=4, mixup=0.2)
  with pytest.raises(ConfigError, match=r"batch_size is 4; mixup blends pairs .* multiple of 8"):
    experiment.set_up(config)


def test_an_evaluation_batch_that_does_not_fit_the_devices_is_refused(tiny_data, monkeypatch):
  monkeypatch.setattr(experiment, "place_streams", lambda *_: {"joint": SimpleNamespace(size=4)})
  with pytest.raises(ConfigError, match=r"eval_batch_size is 6, which .* evenly over 4 device"):
    experiment.set_up(tiny.config(tiny_data, eval_batch_size=6))


def test_a_batch_that_does_not_fit_the_devices_is_refused(tiny_data, tmp_path):
  started = start(tiny_data, tmp_path / "run", "--config.batch_size=6", processes=1, devices=4)
  ((status, output),) = finish(started)
  assert status == 2
  assert "batch_size is 6, which cannot be split evenly over 4 device(s)" in output
