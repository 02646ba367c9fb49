"""Before JAX starts: compiled as by the commands, steps of earlier test runs are used again."""

import os
import pathlib
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(tempfile.gettempdir()) / "mstgcn_jax_test_cache")
)

import pytest

from mstgcn_jax.commands import process

process.fuse_elementwise_on_cpu()


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
  """Folder of the prepared data set `tiny`."""
  import tiny

  return tiny.prepare(tmp_path_factory.mktemp("data"))
