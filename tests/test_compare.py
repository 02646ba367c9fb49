"""Experiments side by side: same clips, accuracy over seeds, paired differences."""

import contextlib

import numpy as np
import pytest
import tiny

from mstgcn_jax.commands import compare as command
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.evaluation import plots
from mstgcn_jax.evaluation.scores import Scores
from mstgcn_jax.use import compare


@pytest.fixture(scope="module")
def compared(tiny_data, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("compare")
  short = {"epochs": 2, "profile_steps": 0}
  configs = {
    "ours": tiny.config(tiny_data, **short),
    "basic": tiny.config(tiny_data, **short, **{"model.block_type": "basic"}),
  }
  return workdir, configs, compare.compare(configs, workdir, seeds=(0, 1))


def test_rows_say_accuracy_size_and_speed(compared):
  workdir, _, (first, second) = compared
  assert (first.name, first.difference, first.interval) == ("ours", 0, (0, 0))
  scores = [Scores.load(workdir / "basic" / f"seed_{seed}" / "scores.npz") for seed in (0, 1)]
  right = [(s.logits.argmax(1) == s.labels).mean() for s in scores]
  np.testing.assert_allclose(second.top1, right)
  np.testing.assert_allclose(second.difference, np.mean(second.top1) - np.mean(first.top1))
  assert second.interval[0] <= second.difference <= second.interval[1]
  assert min(first.training, first.inference) > 0 and first.parameters != second.parameters
  assert (workdir / "learning_curves.png").stat().st_size > 10_000
  lines = compare.as_text([first, second]).splitlines()
  assert len(lines) == 4 and lines[2].startswith("| ours |") and " ± " in lines[3]


def test_seeds_that_ended_early_are_drawn_with_the_others(tmp_path, monkeypatch):
  curves = lambda *top1: {
    ("eval", "joint"): {"epoch": 1 + np.arange(len(top1)), "top1": np.asarray(top1)}
  }
  long, short = curves(0.2, 0.4, 0.9), curves(0.4)
  drawn = []
  monkeypatch.setattr(plots.Figure, "savefig", lambda fig, *_, **__: drawn.append(fig))
  monkeypatch.setattr(plots.files, "written_whole", contextlib.nullcontext)
  plots.curves_of_several({"ours": [long, short]}, tmp_path / "curves.png")
  *_, mean = drawn[0].axes[0].lines
  np.testing.assert_allclose(mean.get_xydata(), [[1, 30]])
  assert mean.get_marker() == "."  # a line of one evaluation would not be seen
  assert mean.get_label() == "ours: 65.0 %"  # of 90 and 40, where each ended


def test_of_several_streams_the_table_and_the_picture_show_the_same_result(tmp_path, monkeypatch):
  names = ("joint", "bone", "fused_equal", "fused_fitted")
  curves = {
    ("eval", name): {"epoch": np.array([1]), "top1": np.array([i / 10])}
    for i, name in enumerate(names)
  }
  drawn = []
  monkeypatch.setattr(plots, "_save", lambda fig, path: drawn.append(fig))
  plots.curves_of_several({"ours": [curves]}, tmp_path / "curves.png")
  assert drawn[0].axes[0].lines[-1].get_label() == "ours: 20.0 %"  # headline_name of these


def test_seeds_are_those_of_the_first_config(compared):
  workdir, configs, rows = compared
  seeded = {name: config.copy_and_resolve_references() for name, config in configs.items()}
  seeded["ours"].seeds = (0, 1)
  assert [row.top1 for row in compare.compare(seeded, workdir)] == [row.top1 for row in rows]
  with pytest.raises(ConfigError, match=r"config\.seed is set by --seeds"):
    command.main(["quickstart", "--config.seed=3"])


def test_other_clips_are_refused(compared, tiny_data, tmp_path):
  other = tiny.config(tiny_data, **{"data.protocol": "all"})
  with pytest.raises(ConfigError, match="other is not evaluated on the clips of ours"):
    compare.compare({"ours": tiny.config(tiny_data), "other": other}, tmp_path)
  with pytest.raises(ConfigError, match="give each once"):
    compare.compare({"ours": tiny.config(tiny_data)}, tmp_path, seeds=(1, 1))


def test_the_workdir_of_a_run_keeps_its_curves(compared, tiny_data):
  run = compared[0] / "ours" / "seed_0"
  with pytest.raises(ConfigError, match="is the workdir of a run"):
    compare.compare({"ours": tiny.config(tiny_data)}, run)


def test_the_command_goes_on_and_writes_its_table(tiny_data, tmp_path, capsys):
  argv = [str(tiny.CONFIG), f"--config.data.dir={tiny_data}", "--config.epochs=1"]
  assert command.main([*argv, "--workdir", str(tmp_path / "out")]) == 0
  assert command.main([*argv, "--workdir", str(tmp_path / "out")]) == 0
  assert "this run is finished" in capsys.readouterr().out
  assert "tiny_config" in (tmp_path / "out" / "comparison.md").read_text()
  with pytest.raises(ConfigError, match="two configs are called tiny_config"):
    command.main([str(tiny.CONFIG), str(tiny.CONFIG)])
