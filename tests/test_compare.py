"""Experiments side by side: same clips, accuracy over seeds, paired differences."""

import contextlib
import itertools
import types

import jax
import numpy as np
import pytest
import tiny

from mstgcn_jax.commands import compare as command
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.evaluation import plots
from mstgcn_jax.evaluation.scores import Scores
from mstgcn_jax.model import summary
from mstgcn_jax.training import checkpoints
from mstgcn_jax.training import workdir as workdir_lib
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


def test_size_is_the_networks_and_speed_is_told_apart(compared, monkeypatch):
  workdir, configs, rows = compared
  for row in rows:
    folder = workdir / row.name / "seed_0"
    saved, _ = checkpoints.load_variables(folder)
    assert row.parameters == sum(x.size for x in jax.tree.leaves(saved["joint"]["params"]))
    layers = summary.rows(workdir_lib.read(folder).model, 16)  # frames
    assert row.flops == sum(layer.flops for layer in layers)
  # Of four clips one is right by the first config, and three by the second.
  right = {"ours": [0, 1, 1, 1], "basic": [0, 0, 0, 1]}
  labels, names = np.zeros(4, int), np.array(["a", "b", "c", "d"])
  of = lambda path: Scores(names, labels, np.eye(2)[right[path.parts[-3]]])
  monkeypatch.setattr(compare, "Scores", types.SimpleNamespace(load=of))
  monkeypatch.setattr(compare, "_speed", lambda run: (3.0, 5.0))
  first, second = compare.compare(configs, workdir, seeds=(0, 1))
  assert (first.training, first.inference) == (3, 5)
  assert (first.top1, second.top1, second.difference) == ((0.25,) * 2, (0.75,) * 2, 0.5)


def test_seeds_are_of_a_copy_of_the_config():
  config = tiny.config("nowhere", seed=3)
  one, several = (compare._seeded(config, seeds) for seeds in ((7,), (7, 8)))
  assert (one.seed, one.seeds, several.seeds) == (7, (), (7, 8))
  assert (config.seed, config.seeds) == (3, ())


def test_speed_is_the_median_without_the_first_call(monkeypatch):
  now = itertools.accumulate([0, 99, 0, 1, 0, 9, 0, 2, 0, 3, 0, 4])  # start and end of each call
  monkeypatch.setattr(compare, "time", types.SimpleNamespace(perf_counter=lambda: next(now)))
  assert compare._seconds(lambda: None) == 3


def test_the_table_by_hand():
  rows = [
    compare.Row("ours", (0.5, 0.7), 0.0, (0.0, 0.0), 1200, 2_500_000_000, 10.4, 99.6),
    compare.Row("basic", (0.25,), -0.35, (-0.5, 0.1), 9, 4_000_000, 1.0, 2.0),
  ]
  assert compare.as_text(rows).splitlines()[2:] == [
    "| ours | 60.00 ± 14.14 |  | 1,200 | 2.500 | 10 | 100 |",
    "| basic | 25.00 | -35.00 (-50.00 to +10.00) | 9 | 0.004 | 1 | 2 |",
  ]


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
  with pytest.raises(ConfigError, match=r"seeds are \(\); give .* at least one"):
    compare.compare({"ours": tiny.config(tiny_data)}, tmp_path, seeds=())
  # The same rows of the table, of other subjects.
  renamed = tiny.config(tiny.prepare(tmp_path / "data", first_subject=3))
  with pytest.raises(ConfigError, match="other is not evaluated on the clips of ours"):
    compare.compare({"ours": tiny.config(tiny_data), "other": renamed}, tmp_path)


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
