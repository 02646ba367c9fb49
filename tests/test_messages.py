"""What a run says while it goes, and what is left of the libraries' messages."""

import importlib
import logging
import os
import pathlib
import subprocess
import sys
import threading
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from ending import Ended, catch_ends

from mstgcn_jax import __main__
from mstgcn_jax.commands import process
from mstgcn_jax.errors import ConfigError, DataError, first_line
from mstgcn_jax.evaluation import plots
from mstgcn_jax.training import devices, run_log


@pytest.fixture
def ends(monkeypatch):
  """Has `command` end the test's block instead of the process; the exit status goes into a list."""
  return catch_ends(monkeypatch)


def in_a_thread(error):
  def fail():
    raise error

  thread = threading.Thread(target=fail)
  thread.start()
  thread.join()


def test_an_error_in_a_background_thread_adds_no_page_to_the_line_that_ends_the_run(ends, capfd):
  with pytest.raises(Ended), process.errors_in_one_line():
    for _ in range(3):
      in_a_thread(OSError(28, "No space left on device"))
    # As threads of a C++ library report what they raise.
    threading.Thread(target=lambda: sys.excepthook(RuntimeError, RuntimeError("x"), None)).start()
    logging.StreamHandler().handle(logging.LogRecord("a", 50, "b", 1, "%d", ("x",), None))
    raise DataError("the disk is full")
  assert ends == [1] and capfd.readouterr().err == "error: the disk is full\n"


def test_a_background_thread_that_failed_while_all_went_well_is_one_line(capfd):
  hooks = sys.excepthook, sys.unraisablehook, threading.excepthook, logging.raiseExceptions
  with process.errors_in_one_line():
    in_a_thread(ValueError("lost\nin a page"))
  assert capfd.readouterr().err == "warning: in the background: ValueError: lost\n"
  assert hooks == (
    *(sys.excepthook, sys.unraisablehook),
    *(threading.excepthook, logging.raiseExceptions),
  )


def test_a_file_in_a_folders_place_is_named(ends, capfd, tmp_path):
  (tmp_path / "taken").touch()
  with pytest.raises(Ended), process.errors_in_one_line():
    (tmp_path / "taken").mkdir(exist_ok=True)
  said = f"error: {tmp_path / 'taken'} is a file; a folder is needed there\n"
  assert ends == [1] and capfd.readouterr().err == said


@pytest.mark.parametrize(
  ("command", "helps"), [("train", "a smaller batch_size"), ("predict", "JAX_PLATFORMS=cpu")]
)
def test_too_little_memory_is_one_line_with_what_helps(command, helps, ends, capfd, monkeypatch):
  def main(argv):
    raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nand a page")

  monkeypatch.setattr(importlib.import_module(f"mstgcn_jax.commands.{command}"), "main", main)
  monkeypatch.setattr(process, "quiet_libraries", lambda: None)
  with pytest.raises(Ended):
    __main__.main([command, "runs/quickstart"])
  (line,) = capfd.readouterr().err.splitlines()
  assert ends == [1] and line.startswith("error: the device's memory is too small (RESOURCE_EXH")
  assert helps in line and ("batch_size" in line) == (command == "train")
  assert "what else uses" in line  # of two programs on a card the second finds little


@pytest.mark.parametrize(
  "said",
  [
    "FAILED_PRECONDITION: DNN library initialization failed. Look at the errors above",
    "INTERNAL: Failed to create cuBLAS handle",
    "INTERNAL: kernel launch: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    "INTERNAL: in convolution: CUDNN_STATUS_ALLOC_FAILED",
  ],
)
def test_a_card_whose_libraries_do_not_start_is_one_line_with_what_helps(said, ends, capfd):
  with pytest.raises(Ended), process.errors_in_one_line():
    raise RuntimeError(f"{said}\nand a page")
  (line,) = capfd.readouterr().err.splitlines()
  assert ends == [1] and line.startswith(f"error: the GPU's libraries could not start ({said}): ")
  assert "XLA_CLIENT_MEM_FRACTION" in line and "driver is too old" in line


def test_an_array_that_no_memory_holds_is_one_line(ends, capfd):
  with pytest.raises(Ended), process.errors_in_one_line():
    np.zeros((2, 10**12, 25, 3), np.float32)  # as of `mstgcn stream --frames 1000000000000`
  (line,) = capfd.readouterr().err.splitlines()
  assert ends == [1] and line.startswith("error: the computer's memory is too small (Unable to all")


def test_other_errors_keep_their_traceback():
  with pytest.raises(RuntimeError, match="a bug"), process.errors_in_one_line():
    raise RuntimeError("a bug")


@pytest.mark.parametrize(
  ("platforms", "status", "said"),
  [
    ("cuda", 2, "error: JAX_PLATFORMS=cuda asks for what is not there"),
    ("rocm", 2, "error: JAX_PLATFORMS=rocm asks for what is not there (Unable to initialize"),
    ("cuda,cpu", 0, "warning: JAX_PLATFORMS=cuda,cpu, but JAX finds no cuda: falling back to cpu"),
    ("cpu", 0, None),
  ],
)
def test_platforms_that_are_not_there_are_one_line(platforms, status, said):
  if platforms != "cpu" and any(pathlib.Path("/dev").glob("nvidia*")):
    pytest.skip("this machine has what the test asks for in vain")
  script = (
    "from mstgcn_jax.commands import process\nfrom mstgcn_jax.training import devices\n"
    "process.quiet_libraries()\n"
    "with process.errors_in_one_line():\n  devices.start()"
  )
  env = os.environ | {"JAX_PLATFORMS": platforms}
  done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
  assert done.returncode == status, done.stderr
  lines = done.stderr.splitlines()
  assert len(lines) == (said is not None) and all(line.startswith(said) for line in lines)


def test_a_fall_back_to_the_cpu_is_said_where_jax_is_else_silenced(monkeypatch, capfd):
  logger = logging.getLogger("jax._src.xla_bridge")
  state = logger.level, logger.propagate, list(logger.handlers)
  monkeypatch.setattr(devices, "_warnings", [])
  try:
    assert "fell" not in devices.in_words() and "not what" not in devices.in_words()
    devices.heed_warnings()
    devices.heed_warnings()
    logger.warning("An NVIDIA GPU may be present. Falling back to %s.\nA page.", "cpu")
    line = "An NVIDIA GPU may be present. Falling back to cpu."
    assert capfd.readouterr().err == f"warning: {line}\n"
    assert devices.in_words() == f"on 1 cpu device (not what JAX looked for: {line})"
  finally:
    logger.level, logger.propagate, logger.handlers[:] = state


def test_a_plugin_that_fails_is_said_with_its_reason(monkeypatch, capfd):
  logger = logging.getLogger("jax._src.xla_bridge")
  state = logger.level, logger.propagate, list(logger.handlers)
  monkeypatch.setattr(devices, "_warnings", [])
  try:
    devices.heed_warnings()
    try:
      raise RuntimeError("Unable to load CUDA. Is it installed?\nA page.") from OSError("no driver")
    except RuntimeError:  # as JAX logs it
      logger.exception("Exception when calling %s.initialize()", "jax_plugins.xla_cuda12")
    logger.warning("A CUDA-enabled jaxlib is not installed.")  # it is
    called = "Exception when calling jax_plugins.xla_cuda12.initialize()"
    line = f"{called}: Unable to load CUDA. Is it installed?: no driver"
    assert capfd.readouterr().err.splitlines()[0] == f"warning: {line}"
    assert devices.in_words() == f"on 1 cpu device (not what JAX looked for: {line})"
  finally:
    logger.level, logger.propagate, logger.handlers[:] = state


def test_a_card_that_is_there_and_cannot_be_used_is_not_what_jax_platforms_asks_for(monkeypatch):
  def fails():
    raise RuntimeError("Unable to initialize backend 'cuda': No visible GPU devices.")

  config = SimpleNamespace(jax_platforms=None)
  monkeypatch.setattr(devices, "jax", SimpleNamespace(config=config, default_backend=fails))
  with pytest.raises(ConfigError, match=r"^JAX cannot use the .*: Unable to initialize .* devices"):
    devices.start(trains=True)


def test_a_trained_network_computes_in_its_own_type_but_for_bfloat16_on_a_cpu(monkeypatch):
  for backend, in_bfloat16 in (("cpu", "float32"), ("gpu", "bfloat16")):
    monkeypatch.setattr(jax, "default_backend", lambda found=backend: found)
    used = [devices.dtype_for_use(dtype) for dtype in ("bfloat16", "float32", "float64")]
    assert used == [in_bfloat16, "float32", "float64"]


def test_a_long_message_keeps_its_end():
  line = first_line(ValueError("a" * 400 + ": No space left on device\nand a page"))
  assert line.endswith(": No space left on device") and len(line) < 300


class Terminal:
  """Standard output as a terminal of a width."""

  def __init__(self, columns):
    self.columns, self.text = columns, ""

  def isatty(self):
    return True

  def fileno(self):
    return 1

  def write(self, text):
    self.text += text

  def flush(self):
    pass


@pytest.mark.parametrize("columns", [0, 120])
def test_a_bar_counts_from_the_end_of_the_first_step(columns, monkeypatch):
  terminal = Terminal(columns)
  monkeypatch.setattr(sys, "stdout", terminal)
  monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((columns, 24)))
  progress = run_log.ProgressBar(first=0, total=4, batch_size=8, enabled=True)
  silent = run_log.ProgressBar(first=0, total=4, batch_size=8, enabled=False)
  silent.update(1, epoch=1, loss=0.25, learning_rate=0.1)
  assert terminal.text == ""  # of another process than the first; no frozen bar while it compiles
  for step in (1, 2):
    progress.update(step, epoch=1, loss=0.25, learning_rate=0.1)
  assert (progress._bar.initial, progress._bar.n) == (1, 2)
  with progress.busy("evaluating …"):
    progress.close()
  assert "/4 [" in terminal.text and "evaluating …" in terminal.text


@pytest.mark.parametrize(
  ("train", "evaluated", "top"),
  [
    ([4.0, 3.0, 2.0, 1.0], [242_072.0, 1.5], 1.1 * 4.0),
    ([4.0, 3.0, 2.0, 1.0], [6.0, 1.5], 1.1 * 6.0),
    ([900.0, 2.0, 1.0], [1.0], 1.1 * 2.0),
    ([3.0], [242_072.0], 1.1 * 3.0),
    ([], [2.0], 1.1 * 2.0),
    ([], [], None),
  ],
)
def test_single_losses_far_beyond_the_others_do_not_flatten_the_curve(train, evaluated, top):
  got = plots._highest_shown(train, np.asarray(train + evaluated))
  assert got == (None if top is None else pytest.approx(top))


@pytest.mark.parametrize(
  ("row", "said"),
  [
    ("x,1,train,joint,1,1,1,1,1,1", "step 'x'"),
    ("1,0,train,joint,1,1,1,1,1,1", "epoch '0'"),
    ("1,1,train,joint,1;0,1,1,1,1,1", "'1;0'"),
    ("1,x,train,joint,1,1,1,1,1,1", "epoch 'x'"),
    ("1,1,train,joint,1", "it has 5 values; expected 10"),
    ("1,1,train,joint,1,1,1,1,1,1,1", "it has 11 values; expected 10"),
    ('"1,1,train,joint,1,1,1,1,1,1', "step '\"1'"),
    (200_000 * "1", "field larger than field limit"),
  ],
)
def test_a_damaged_line_of_metrics_csv_is_named(row, said, tmp_path):
  path = tmp_path / "metrics.csv"
  path.write_text(",".join(run_log.COLUMNS) + "\n1,1,train,joint,1.5,0.5,,,0.1,1.0\n" + row + "\n")
  with pytest.raises(DataError, match=rf"metrics\.csv: line 3 is damaged .*{said}"):
    list(run_log.read_metrics(path))
