"""The published code's operations in PyTorch, which the benchmarks time beside ours."""

import pathlib
import sys

import numpy as np
import pytest
from golden import golden
from test_classifier import write_run

from mstgcn_jax.use.classifier import Classifier

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def torch_step(monkeypatch):
  pytest.importorskip("torch", reason="nothing is wrong: PyTorch is not installed")
  monkeypatch.syspath_prepend(str(BENCHMARKS))
  import torch_step

  yield torch_step
  for name in ("torch_step", "torch_onnx"):
    sys.modules.pop(name, None)


def test_what_is_timed_gives_the_published_codes_logits(torch_step):
  # Measured: 1.0e-6, rounding of float32 in logits of size 5.
  assert torch_step.check(str(golden("model/ms_kinetics.npz")), "cpu") < 1e-5


def test_what_is_timed_has_the_published_number_of_parameters(torch_step):
  model = torch_step.MSTGCN(torch_step.PUBLISHED)
  assert sum(p.numel() for p in model.parameters()) == 2_896_055


def test_what_is_exported_by_pytorch_is_the_run(torch_step, tmp_path, monkeypatch, capsys):
  pytest.importorskip("onnxruntime", reason="of the extra 'export'")
  import torch_onnx

  blocks = ((3, 8, False, 1), (8, 8, True, 1), (8, 16, True, 2))
  scales = {"spatial_scales": 4, "temporal_scales": 4}
  run = write_run(tmp_path / "run", block_type="ms", blocks=blocks, **scales)
  monkeypatch.setattr(sys, "argv", ["", str(run), str(tmp_path / "out.onnx")])
  torch_onnx.main()
  assert "differs from the run by" in capsys.readouterr().out
  clips = np.random.default_rng(0).normal(size=(3, 2, 12, 25, 3)).astype(np.float32)
  got = torch_onnx.export.FORMATS["onnx"].load(tmp_path / "out.onnx")(clips)
  # Two libraries sum float32 in different orders; probabilities are of the size of 1.
  np.testing.assert_allclose(got, Classifier(run)(clips), atol=1e-4)


def test_what_is_exported_has_the_graph_of_the_runs_skeleton(torch_step, tmp_path):
  import torch_onnx

  run = write_run(tmp_path / "run", block_type="ms", skeleton="utd_mhad")
  exported, shape = torch_onnx.reference(run)
  assert shape[2] == 20
  assert exported.network.layers[0].msgcn.conv.A.shape == (3, 20, 20)


def test_a_run_that_the_published_code_cannot_hold_is_refused(torch_step, tmp_path):
  import torch_onnx

  run = write_run(tmp_path / "run", stream="bone")
  with pytest.raises(SystemExit, match="is no run of the joint stream"):
    torch_onnx.reference(run)
