"""The published code's operations in PyTorch, which the benchmarks time beside ours."""

import pathlib
import sys

import pytest
from golden import golden

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def torch_step(monkeypatch):
  pytest.importorskip("torch", reason="nothing is wrong: PyTorch is not installed")
  monkeypatch.syspath_prepend(str(BENCHMARKS))
  import torch_step

  yield torch_step
  sys.modules.pop("torch_step")


def test_what_is_timed_gives_the_published_codes_logits(torch_step):
  # Measured: 1.0e-6, rounding of float32 in logits of size 5.
  assert torch_step.check(str(golden("model/ms_kinetics.npz")), "cpu") < 1e-5


def test_what_is_timed_has_the_published_number_of_parameters(torch_step):
  model = torch_step.MSTGCN(torch_step.PUBLISHED)
  assert sum(p.numel() for p in model.parameters()) == 2_896_055
