"""Before JAX starts: programs compile quickly (XLA_FLAGS= pytest: as a user's) and are kept."""

import gc
import os
import pathlib
import shutil
import sys
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(tempfile.gettempdir()) / "mstgcn_jax_test_cache")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import jax
import pytest
import quick

from mstgcn_jax.commands import process

QUICKLY = os.environ["JAX_PLATFORMS"] == "cpu" and "XLA_FLAGS" not in os.environ
if QUICKLY:
  os.environ["XLA_FLAGS"] = quick.FLAGS
process.fuse_elementwise_on_cpu()
if QUICKLY:
  jax.jit(lambda: 0)()  # reads the flags
  del os.environ["XLA_FLAGS"]  # commands that tests start compile as a user's do

# PyPI's PyTorch comes with Triton and looks for it in its optimisers. Imported beside TensorFlow
# (2.21 and 3.7.1: each brings an LLVM) it ends the process by a segmentation fault.
sys.modules["triton"] = None

# Tracing makes objects by the million, nearly all of which stay: by Python's default thresholds a
# tenth of the time goes into looking for unreachable ones among them.
gc.set_threshold(100_000, 50, 100)

# Minutes each.
LONG = ("test_equality", "test_devices", "test_network_equality", "test_loop", "test_networks")


def pytest_collection_modifyitems(items):
  """Long files first: no process is left with one at the end (--no-loadscope-reorder)."""
  items.sort(key=lambda item: item.path.stem not in LONG)


def pytest_terminal_summary(terminalreporter):
  platform = os.environ["JAX_PLATFORMS"]
  terminalreporter.write_line(f"jax {jax.__version__} on {platform} (JAX_PLATFORMS chooses)")


@pytest.fixture(scope="module", autouse=True)
def _forgets_what_was_compiled():
  """Programs of all files together would take several gigabytes."""
  yield
  jax.clear_caches()


@pytest.fixture
def raw(tmp_path):
  """A folder for recordings, to be made; what `formats.prepare` makes of them comes beside it."""
  return tmp_path / "raw"


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory):
  """A folder as `make train` leaves it, in small: raw/synthetic, data/synthetic, runs/quickstart.

  And my_clip.npy, a recording of one's own.
  """
  import numpy as np

  import data_prep.__main__
  from mstgcn_jax.training import config as config_lib
  from mstgcn_jax.training import loop

  folder = tmp_path_factory.mktemp("quickstart")
  argv = ["synthetic", "--raw", str(folder / "raw/synthetic"), "--out", str(folder / "data")]
  assert data_prep.__main__.main([*argv, "--performers", "2", "--workers", "1"]) == 0
  config = config_lib.load("quickstart")
  config.data.dir = str(folder / "data")
  config.epochs = 1
  config.model.blocks = ((3, 16, False, 1), (16, 32, True, 2))
  loop.train(config, folder / "runs/quickstart")
  np.save(folder / "my_clip.npy", np.random.default_rng(0).normal(size=(40, 25, 3)))
  return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
  """Folder of the prepared data set `tiny`."""
  import tiny

  return tiny.prepare(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def finished(tiny_data, tmp_path_factory):
  """A run of three epochs, two of its steps profiled."""
  import tiny

  from mstgcn_jax.training import loop

  workdir = tmp_path_factory.mktemp("runs") / "whole"
  loop.train(tiny.config(tiny_data, profile_steps=2), workdir)
  return workdir


@pytest.fixture
def copy(finished, tmp_path):
  """A copy of the finished run, to be harmed."""
  return shutil.copytree(finished, tmp_path / "copy")
