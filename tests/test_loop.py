"""Runs: results, resuming, refusal; each on the tiny experiment."""

import concurrent.futures
import contextlib
import json
import logging
import pathlib
import re
import shutil
import signal
import subprocess
import time
import types

import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from kill_test import compare

from mstgcn_jax import files
from mstgcn_jax.data.data_set import open_data_set
from mstgcn_jax.errors import ConfigError, DataError, Preempted, RunError
from mstgcn_jax.evaluation import metrics
from mstgcn_jax.evaluation.scores import Scores
from mstgcn_jax.training import checkpoints, distributed, loop, run_log
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import workdir as workdir_lib


def test_a_run_leaves_the_files_of_its_contract(finished):
  for name in (
    *("config.json", "model.json", "metrics.csv", "log.txt", "scores.npz", "summary.json"),
    *("confusion_matrix.png", "learning_curves.png", "checkpoints", "tensorboard"),
  ):
    assert (finished / name).exists(), name
  assert any((finished / "tensorboard").rglob("events.out.tfevents*"))


def test_tensorboard_has_scalars_adjacencies_and_the_profile(finished):
  from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

  events = EventAccumulator(str(finished / "tensorboard"), size_guidance={"tensors": 0})
  tags = set(events.Reload().Tags()["tensors"])
  assert {"train/loss", "train/learning_rate", "eval/top1", "run/clips_per_second"} <= tags
  assert {"run/data_wait_share", "adjacency/joint/block_0"} <= tags
  assert len(events.Tensors("train/loss")) == 18
  assert "optimizer.learning_rate" in str(events.SummaryMetadata("_hparams_/session_start_info"))
  assert any((finished / "tensorboard/plugins/profile").rglob("*.xplane.pb"))


def test_a_run_killed_before_its_results_writes_them_and_nothing_twice(copy, tiny_data, finished):
  (copy / "summary.json").unlink()
  (copy / "scores.npz").unlink()
  loop.train(tiny.config(tiny_data), copy)
  assert (copy / "metrics.csv").read_bytes() == (finished / "metrics.csv").read_bytes()
  a, b = Scores.load(copy / "scores.npz"), Scores.load(finished / "scores.npz")
  np.testing.assert_array_equal(a.logits, b.logits)


@pytest.mark.parametrize("content", ["{}", "[", '{"step": 18'])
def test_a_damaged_summary_is_written_again(content, copy, tiny_data, finished, capsys):
  (copy / "summary.json").write_text(content)
  loop.train(tiny.config(tiny_data), copy)
  assert f"in {copy}: checkpoints/" in capsys.readouterr().out
  assert (copy / "summary.json").read_text() == (finished / "summary.json").read_text()


def test_metrics_has_a_row_a_step_and_evaluation(finished):
  rows = list(run_log.read_metrics(finished / "metrics.csv"))
  assert [r["split"] for r in rows] == (["train"] * 6 + ["eval"]) * 3
  # Warm-up over one epoch, a tenth from epoch 2 on.
  rates = {int(r["epoch"]): float(r["learning_rate"]) for r in rows if r["split"] == "train"}
  assert rates == pytest.approx({1: 0.05, 2: 0.05, 3: 0.005})


def test_scores_hold_every_evaluation_clip_once(finished):
  scores = Scores.load(finished / "scores.npz")
  assert len(set(scores.names.tolist())) == len(scores.names) == 27
  assert scores.logits.shape == (27, 3)
  last = list(run_log.read_metrics(finished / "metrics.csv"))[-1]
  assert np.mean(scores.logits.argmax(1) == scores.labels) == pytest.approx(float(last["top1"]))


def test_the_same_command_again_says_finished_and_changes_nothing(finished, tiny_data, capsys):
  before = tiny.arrays(finished), (finished / "metrics.csv").read_bytes()
  loop.train(tiny.config(tiny_data), finished)
  assert "finished" in capsys.readouterr().out
  assert (tiny.arrays(finished), (finished / "metrics.csv").read_bytes()) == before


def test_a_summary_is_of_its_step_and_names_the_epoch_of_the_best(finished):
  assert loop._finished(finished, 18) and not loop._finished(finished, 24)
  summary = json.loads((finished / "summary.json").read_text())
  best = {6: 1, 12: 2, 18: 3}[summary["best"]["best_step"]]
  assert f"best epoch ({best}, selected on the evaluation split)" in summary["text"]
  assert summary["text"].startswith("last epoch (3), joint: ")


def test_what_is_no_summary_of_ours_marks_no_run_as_finished():
  row = dict.fromkeys(metrics.FIGURES, 0.5)
  summary = {"step": 18, "last": {"joint": row, "bone": row}, "best": {}, "text": "last epoch"}
  assert loop._is_summary(summary)
  less = {name: value for name, value in row.items() if name != "loss"}
  for last in ({}, {"joint": row, "bone": less}, {"joint": row | {"top2": 0.5}}, {"joint": 0.5}):
    assert not loop._is_summary(summary | {"last": last})


def test_what_a_network_computes_in_is_no_reason_to_measure_it_again():
  changes = ("data.window: 8 -> 9", "data set: the clip table", "model.width: 8 -> 9")
  assert all(map(loop._is_measured_otherwise, changes))
  others = (
    "model.dtype: 'float32' -> 'bfloat16'",
    "model.dropout: 0.0 -> 0.5",
    "batch_size: 4 -> 8",
  )
  assert not any(map(loop._is_measured_otherwise, others))


def test_a_longer_run_goes_on_and_equals_one_that_was_planned_longer(copy, tiny_data, tmp_path):
  config = tiny.config(tiny_data, epochs=4)
  loop.train(config, copy)
  loop.train(config, tmp_path / "planned")
  assert tiny.arrays(copy) == tiny.arrays(tmp_path / "planned")
  assert (copy / "metrics.csv").read_bytes() == (tmp_path / "planned/metrics.csv").read_bytes()


def test_a_long_epoch_is_several_passes(tiny_data, tmp_path):
  for name, epochs, least in (("one", 1, 18), ("three", 3, 5)):  # a pass has six steps
    config = tiny.config(tiny_data, epochs=epochs, min_steps_per_epoch=least)
    config.optimizer.warmup_epochs, config.optimizer.decay_epochs = 0, ()
    loop.train(config, tmp_path / name)
  assert tiny.arrays(tmp_path / "one") == tiny.arrays(tmp_path / "three")
  rows = [run_log.read_metrics(tmp_path / name / "metrics.csv") for name in ("one", "three")]
  assert [{int(row["epoch"]) for row in run} for run in rows] == [{1}, {1, 2, 3}]


def test_killed_runs_end_bitwise_equal(tmp_path):
  # SIGKILL and SIGTERM at random moments; kill_test.py does the same with twenty.
  kills, different = compare(kills=4, seed=0, root=tmp_path, epochs=24)
  assert (kills, different) == (4, [])


def test_sigterm_saves_and_exits_with_75(tiny_data, tmp_path):
  argv = [*tiny.TRAIN, f"--config={tiny.CONFIG}", f"--workdir={tmp_path / 'run'}"]
  argv += [f"--config.data.dir={tiny_data}", "--config.epochs=2000", "--config.eval_every=2000"]
  process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
  for line in process.stdout:
    if "first step" in line:
      break
  time.sleep(0.5)
  process.send_signal(signal.SIGTERM)
  output = process.stdout.read()
  assert process.wait() == 75, output
  step, _ = tiny.arrays(tmp_path / "run")
  assert f"saved step {step}" in output
  rows = list(run_log.read_metrics(tmp_path / "run/metrics.csv"))
  assert [int(r["step"]) for r in rows] == list(range(1, step + 1))


def mean_square(model, clips, targets, key):
  logits = model(clips)
  return jnp.square(logits - targets).mean(), logits


def test_processes_compare_what_they_share_before_the_first_step(tiny_data, tmp_path, monkeypatch):
  compared = []

  def check_alike(facts):
    compared.append(facts)
    if len(compared) == 2:
      raise ConfigError("they differ")

  monkeypatch.setattr(distributed, "check_alike", check_alike)
  with pytest.raises(ConfigError, match="they differ"):
    loop.train(tiny.config(tiny_data, loss=f"{__name__}:mean_square"), tmp_path / "run")
  config, found = json.loads(json.dumps(compared))
  assert {"version", "seed", "optimizer.learning_rate"} <= config.keys()
  assert "data.dir" not in config  # a machine may have a copy of its own
  assert {"data set", "what is in the workdir (to be shared)"} <= found.keys()
  assert {"JAX_ENABLE_X64", "JAX_DEFAULT_MATMUL_PRECISION"} <= config.keys()
  data_set = open_data_set(tiny_data / "tiny")
  assert found["data set"] == json.loads(json.dumps(data_set.identity))
  model, code, loss_code = found["network (own code or a graph's file)"]
  assert model["skeleton"] == data_set.skeleton.to_dict() and not code and loss_code


def test_processes_compare_what_was_found_where_they_go_on(copy, tiny_data, monkeypatch):
  def compared() -> dict:
    facts = {}

    def check_alike(ours):
      facts.update(ours)
      if "the step to go on from" in ours:
        raise Preempted

    monkeypatch.setattr(distributed, "check_alike", check_alike)
    with pytest.raises(Preempted):
      loop.train(tiny.config(tiny_data, epochs=4), copy)
    return facts

  evaluated = compared()
  shutil.rmtree(copy / "checkpoints/18/metrics")  # what another machine may still see of the disk
  saved = compared()
  assert [name for name in saved if saved[name] != evaluated[name]] == ["the step to go on from"]


def test_processes_end_early_when_the_first_one_does(copy, tiny_data, monkeypatch):
  monkeypatch.setattr(loop.multihost_utils, "broadcast_one_to_all", lambda _: np.int32(0))
  changes = {"optimizer.learning_rate": 1e-9, "allow_config_change": True}
  loop.train(tiny.config(tiny_data, early_stopping=3, epochs=7, **changes), copy)
  assert tiny.arrays(copy)[0] == 7 * 6  # this one alone would have ended


# --- saving comes first


def test_an_epoch_is_saved_before_it_is_evaluated(tiny_data, tmp_path, finished, monkeypatch):
  workdir = tmp_path / "run"
  evaluate, steps = loop._evaluate, []

  def killed_at_the_second(run, states, watchdog):
    steps.append(int(states["joint"].step))
    if len(steps) == 2:
      raise KeyboardInterrupt
    return evaluate(run, states, watchdog)

  monkeypatch.setattr(loop, "_evaluate", killed_at_the_second)
  with pytest.raises(KeyboardInterrupt):
    loop.train(tiny.config(tiny_data), workdir)
  assert steps == [6, 12] and checkpoints.load_variables(workdir)[1] == 12
  loop.train(tiny.config(tiny_data), workdir)
  assert steps == [6, 12, 12, 18]  # the epoch is evaluated first, and not trained again
  assert tiny.arrays(workdir) == tiny.arrays(finished)
  assert (workdir / "metrics.csv").read_bytes() == (finished / "metrics.csv").read_bytes()


def test_saving_and_evaluating_have_intervals_of_their_own(tiny_data, tmp_path, monkeypatch):
  rows = lambda: list(run_log.read_metrics(tmp_path / "run/metrics.csv"))
  save, saved, read = checkpoints.save, [], []

  def spied(manager, step, *args):
    saved.append((step, int(rows()[-1]["step"])))
    save(manager, step, *args)

  monkeypatch.setattr(checkpoints, "save", spied)
  monkeypatch.setattr(checkpoints, "read_back", lambda manager, step: read.append(step))
  loop.train(tiny.config(tiny_data, epochs=2, save_every_steps=4, eval_every=2), tmp_path / "run")
  assert saved == [(step, step) for step in (4, 8, 12)]  # with the rows until there
  assert read == [4]  # one shows that what is written here can be read
  assert [int(row["step"]) for row in rows() if row["split"] == "eval"] == [12]


def test_asked_to_end_a_run_doesnt_evaluate_first(tiny_data, tmp_path, finished):
  workdir = tmp_path / "run"
  with pytest.raises(Preempted, match="saved step 18"):
    loop.train(tiny.config(tiny_data), workdir, stop=StopAfter(17))  # heeded at the last step
  rows = list(run_log.read_metrics(workdir / "metrics.csv"))
  assert [r["split"] for r in rows].count("eval") == 2 and int(rows[-1]["step"]) == 18
  loop.train(tiny.config(tiny_data), workdir)
  assert (workdir / "metrics.csv").read_bytes() == (finished / "metrics.csv").read_bytes()
  assert (workdir / "summary.json").read_bytes() == (finished / "summary.json").read_bytes()


# --- asked to end


def test_ctrl_c_saves_the_step(tiny_data, tmp_path, monkeypatch):
  read_step, steps = loop._read_step, []

  def interrupted(record, step, outputs):
    steps.append(step)
    if step == 2:
      signal.raise_signal(signal.SIGINT)
    return read_step(record, step, outputs)

  monkeypatch.setattr(loop, "_read_step", interrupted)
  with pytest.raises(Preempted, match="the same command goes on from there"):
    loop.train(tiny.config(tiny_data, epochs=9), tmp_path / "run")
  assert checkpoints.load_variables(tmp_path / "run")[1] == steps[-1] < 9 * 6


def test_a_checkpoint_that_cannot_be_written_is_not_said_to_be_saved(copy, tiny_data, monkeypatch):
  def full(manager):
    raise RunError("the checkpoint could not be written")

  monkeypatch.setattr(checkpoints, "read_back", lambda *_: None)  # as after the first one
  monkeypatch.setattr(checkpoints, "wait", full)
  with pytest.raises(RunError, match="the checkpoint could not be written"):
    loop.train(tiny.config(tiny_data, epochs=4), copy, stop=StopAfter(1))


def test_a_run_outside_the_main_thread_works(copy, tiny_data, finished):
  (copy / "summary.json").unlink()
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    results = pool.submit(loop.train, tiny.config(tiny_data), copy).result(120)
  assert results == json.loads((finished / "summary.json").read_text())["last"]


def test_two_runs_in_one_workdir_are_refused(copy, tiny_data):
  with files.only_writer(copy), pytest.raises(DataError, match="another command is writing into"):
    loop.train(tiny.config(tiny_data), copy)
  assert not (copy / ".lock").exists()


def test_two_who_write_a_file_at_a_time_do_not_damage_each_other(tmp_path):
  path = tmp_path / "report.txt"
  with files.written_whole(path) as first:
    first.write_text("the first, which is long")
    with files.written_whole(path) as second:
      second.write_text("the second")
    assert path.read_text() == "the second"
  assert path.read_text() == "the first, which is long"
  assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
  for fails in (True, False):
    ended = contextlib.suppress(KeyboardInterrupt)
    with ended, files.written_whole(tmp_path / "model") as aside:
      aside.mkdir()
      (aside / "part").touch()
      if fails:
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ([] if fails else ["model"])


def test_a_locked_folder_that_stays_empty_goes(tmp_path):
  with files.only_writer(tmp_path / "run"):
    assert (tmp_path / "run" / ".lock").exists()
  assert not (tmp_path / "run").exists()


def test_a_second_run_in_one_process_is_refused_while_one_trains(tiny_data, tmp_path, monkeypatch):
  def meanwhile(config):
    with concurrent.futures.ThreadPoolExecutor() as threads:
      threads.submit(loop.train, config, tmp_path / "second").result()

  monkeypatch.setattr(loop, "set_up", meanwhile)
  for _ in range(2):  # what was refused leaves nothing held
    with pytest.raises(ConfigError, match="second: another thread of this process is training"):
      loop.train(tiny.config(tiny_data), tmp_path / "first")
  assert not list(tmp_path.iterdir())


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
  (tmp_path / "features.npz").mkdir()
  with (
    pytest.raises(IsADirectoryError) as raised,
    files.written_whole(tmp_path / "features.npz") as aside,
  ):
    aside.write_text("features")
  assert raised.value.filename == str(tmp_path / "features.npz")
  assert [path.name for path in tmp_path.iterdir()] == ["features.npz"]


# --- what is said and refused


def test_a_refused_start_from_another_run_leaves_nothing(tiny_data, tmp_path):
  for source, said in ((tmp_path / "none", "does not exist"), (tiny_data, "is not a workdir")):
    with pytest.raises(DataError, match=said):
      loop.train(tiny.config(tiny_data, init_from=str(source)), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_memory_may_be_saved_on_resuming(copy, tiny_data, capsys):
  loop.train(tiny.config(tiny_data, **{"model.remat": True}), copy)
  assert "this run is finished" in capsys.readouterr().out


# --- one flipped bit


@pytest.mark.parametrize(
  ("name", "read"),
  [
    ("config.json", lambda path: config_lib.validate(config_lib.read(path))),
    ("model.json", lambda path: workdir_lib.read(path.parent)),
    ("summary.json", lambda path: loop._finished(path.parent, 18)),
    ("metrics.csv", lambda path: list(run_log.read_metrics(path))),
    ("checkpoints/18/metrics/metrics", lambda path: checkpoints._evaluation(path)),
    ("checkpoints/18/metrics/metrics", lambda path: checkpoints._damaged_metrics(path.parents[2])),
  ],
)
def test_a_flipped_bit_is_an_error_of_ours_or_none(name, read, copy):
  path = copy / name
  whole = path.read_bytes()
  rng = np.random.default_rng(0)
  refused = 0
  for _ in range(250):
    data = bytearray(whole)
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    path.write_bytes(data)
    try:
      read(path)
    except (ConfigError, DataError) as error:
      refused += 1
      assert len(str(error).splitlines()) == 1
  assert refused or "metrics/" in name or name == "summary.json"  # those are written again


def test_another_computation_is_refused_with_the_difference(finished, tiny_data):
  with pytest.raises(ConfigError) as error:
    loop.train(tiny.config(tiny_data, **{"optimizer.learning_rate": 0.1}), finished)
  assert "optimizer.learning_rate: 0.05 -> 0.1" in str(error.value)
  assert "allow_config_change" in str(error.value)


def test_another_computation_goes_on_where_allowed(copy, tiny_data):
  changes = {"optimizer.learning_rate": 0.1, "allow_config_change": True, "epochs": 4}
  loop.train(tiny.config(tiny_data, **changes), copy)
  assert tiny.arrays(copy)[0] == 24


@pytest.mark.parametrize("change", [{"batch_size": 8}, {"min_steps_per_epoch": 12}])
def test_how_far_a_run_is_with_epochs_of_other_lengths_is_said(copy, tiny_data, capsys, change):
  changes = {**change, "allow_config_change": True, "epochs": 1}
  loop.train(tiny.config(tiny_data, **changes), copy)
  said = capsys.readouterr().out
  length = change.get("min_steps_per_epoch", 3)
  assert f"steps so far count as {18 / length:g} of 1 epochs now" in said
  assert "this run is finished" in said


def test_another_model_in_the_workdir_is_refused(finished, tiny_data):
  with pytest.raises(ConfigError, match=r"model\.kernel_size: 5 -> 3"):
    loop.train(tiny.config(tiny_data, **{"model.kernel_size": 3}), finished)


@pytest.mark.parametrize("name", ["config.json", "model.json"])
def test_an_emptied_file_of_the_workdir_is_named(name, copy, tiny_data):
  (copy / name).write_text("")
  with pytest.raises(DataError, match=name):
    loop.train(tiny.config(tiny_data, epochs=4), copy)


def flat_layer(config, block, *, rngs):
  return lambda x: x.mean(2)  # without a frame axis


def test_layers_of_ones_own_that_do_not_fit_are_named_before_a_workdir_is_made(tiny_data, tmp_path):
  changes = {"model.blocks": ((3, 4, False, 1), (4, 4, True, 1)), "model.block_type": "basic"}
  config = tiny.config(tiny_data, **(changes | {"model.block_type": f"ms/{__name__}:flat_layer"}))
  with pytest.raises(ConfigError, match=r"the layers don't fit together \("):
    loop.train(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_evaluation_clips_that_are_trained_on_are_mentioned(tiny_data, tmp_path, capsys):
  loop.train(tiny.config(tiny_data, **{"data.protocol": "all", "epochs": 1}), tmp_path / "run")
  assert "; 54 clips are trained on and evaluated" in capsys.readouterr().out


def test_a_protocol_without_evaluation_clips_is_refused(tiny_data, tmp_path):
  config = tiny.config(tiny_data, **{"data.protocol": "leave_one_out:column=subject,value=77"})
  with pytest.raises(ConfigError, match="77"):
    loop.train(config, tmp_path / "run")


def test_resuming_does_not_need_what_the_run_started_from(finished, tiny_data, tmp_path, capsys):
  source = shutil.copytree(finished, tmp_path / "source")
  facts = source / "model.json"
  facts.write_text(facts.read_text().replace('"activation": "relu"', '"activation": "swish"'))
  changes = {"init_from": str(source), "epochs": 1}
  loop.train(tiny.config(tiny_data, **changes), tmp_path / "run")
  assert "init_from's network is another one (activation: swish in" in capsys.readouterr().out
  shutil.rmtree(source)
  loop.train(tiny.config(tiny_data, **(changes | {"epochs": 2})), tmp_path / "run")
  assert tiny.arrays(tmp_path / "run")[0] == 12


def test_the_same_clips_of_other_subjects_are_refused(copy, tmp_path):
  data = tiny.prepare(tmp_path / "data", first_subject=2)  # the sides change places
  with pytest.raises(
    ConfigError, match="differs in\n  data set: the clip table's column 'subject'\n"
  ):
    loop.train(tiny.config(data, epochs=4), copy)


def test_normalisation_by_the_clips_before_is_mentioned(tiny_data, tmp_path, capsys):
  config = lambda data, **changes: tiny.config(data, **{"data.normalize": True} | changes)
  loop.train(config(tiny_data, epochs=1), tmp_path / "run")
  assert "goes on with the mean" not in capsys.readouterr().out
  other = tiny.prepare(tmp_path / "data", first_subject=2)
  loop.train(config(other, epochs=2, allow_config_change=True), tmp_path / "run")
  said = capsys.readouterr().out
  assert "data.normalize goes on with the mean and deviation of the clips before" in said


def test_data_prepared_again_are_the_same(copy, tmp_path):
  assert loop.train(tiny.config(tiny.prepare(tmp_path / "data"), epochs=4), copy)
  assert tiny.arrays(copy)[0] == 24


def test_a_run_of_an_earlier_version_says_how_to_go_on(copy, tiny_data):
  facts = json.loads((copy / "model.json").read_text())
  facts["data"] = {"name": "tiny", "fingerprint": "of the shards' bytes"}
  (copy / "model.json").write_text(json.dumps(facts))
  with pytest.raises(ConfigError, match=r"earlier version, .*allow_config_change=True goes on and"):
    loop.train(tiny.config(tiny_data, epochs=4), copy)
  loop.train(tiny.config(tiny_data, epochs=4, allow_config_change=True), copy)
  loop.train(tiny.config(tiny_data, epochs=5), copy)
  assert tiny.arrays(copy)[0] == 30


def test_rows_lost_from_metrics_csv_are_said(copy, tiny_data, capsys):
  (copy / "metrics.csv").write_text("")
  loop.train(tiny.config(tiny_data, epochs=4), copy)
  assert "metrics.csv has no rows of steps 1 to 18 any more" in capsys.readouterr().out
  assert next(run_log.read_metrics(copy / "metrics.csv"))["step"] == "19"


def test_a_finished_run_answers_another_protocol_with_its_own_figures(copy, tiny_data):
  before = list(run_log.read_metrics(copy / "metrics.csv"))[-1]
  changes = {"data.protocol": "kfold:column=subject,k=2", "allow_config_change": True}
  figures = loop.train(tiny.config(tiny_data, **changes), copy)
  scores = Scores.load(copy / "scores.npz")
  # Not the even subjects, on which it was evaluated before.
  subjects = {name.split("_")[1] for name in scores.names}
  assert len(subjects) == 3 and subjects != {"s2", "s4", "s6"}
  assert figures["joint"]["top1"] == metrics.top_k(scores.logits, scores.labels)
  summary = json.loads((copy / "summary.json").read_text())
  assert summary["last"] == figures
  assert summary["best"]["best_top1"] == figures["joint"]["top1"]  # of this protocol, too
  *_, train, last = run_log.read_metrics(copy / "metrics.csv")
  assert (train["step"], train["split"], last["step"], last["split"]) == (
    "18",
    "train",
    "18",
    "eval",
  )
  assert float(last["loss"]) == figures["joint"]["loss"] != float(before["loss"])
  assert loop.train(tiny.config(tiny_data, **changes), copy) == figures
  # Only the newest was measured by this protocol.
  assert [path.parent.name for path in (copy / "checkpoints").glob("*/metrics")] == ["18"]
  assert checkpoints.best_step(copy) == 18


def test_a_finished_run_with_another_network_of_the_same_shapes_is_evaluated_again(
  copy, tiny_data, capsys
):
  changes = {"model.activation": "swish", "allow_config_change": True}
  loop.train(tiny.config(tiny_data, **changes), copy)
  said = capsys.readouterr().out
  assert "going on with another config, model.activation: 'relu' -> 'swish'" in said
  # The others were measured as another network.
  assert [path.parent.name for path in (copy / "checkpoints").glob("*/metrics")] == ["18"]
  assert config_lib.read(copy / "config.json").model.activation == "swish"


def test_a_loss_that_is_not_finite_names_the_first_bad_step_and_stops(copy, tiny_data):
  before = tiny.arrays(copy)
  changes = {"optimizer.learning_rate": 1e30, "optimizer.decay_epochs": ()}
  changes |= {"allow_config_change": True, "epochs": 5}
  with pytest.raises(RunError, match=r"step 20, stream joint: the loss"):
    loop.train(tiny.config(tiny_data, **changes), copy)
  assert tiny.arrays(copy) == before


def test_a_run_whose_folder_is_moved_writes_no_checkpoint_where_it_was(
  tiny_data, tmp_path, monkeypatch
):
  def moving(self, *args, **kwargs):
    if (tmp_path / "run").exists():
      (tmp_path / "run").rename(tmp_path / "moved")
    return step(self, *args, **kwargs)

  step = run_log.Recorder.step
  with monkeypatch.context() as patch, pytest.raises(RunError, match=r"metrics\.csv is gone"):
    patch.setattr(run_log.Recorder, "step", moving)
    loop.train(tiny.config(tiny_data, epochs=1), tmp_path / "run")
  assert not (tmp_path / "run").exists()
  assert loop.train(tiny.config(tiny_data, epochs=1), tmp_path / "moved")


def test_a_full_disk_under_metrics_csv_says_so(copy, tiny_data, monkeypatch):
  before = tiny.arrays(copy)

  def full(self):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(run_log.MetricsFile, "flush", full)
  with pytest.raises(RunError, match=r"metrics\.csv .* could not be written .*No space left"):
    loop.train(tiny.config(tiny_data, epochs=4), copy)
  assert tiny.arrays(copy) == before


class StopAfter:
  """A `StopSignal` that comes at the given step."""

  def __init__(self, steps: int):
    self.left = steps

  @property
  def received(self) -> bool:
    self.left -= 1
    return self.left < 0


def test_a_run_shortened_to_before_its_checkpoint_is_evaluated_where_it_is(tiny_data, tmp_path):
  workdir = tmp_path / "run"
  with pytest.raises(Preempted):
    loop.train(tiny.config(tiny_data, eval_every=9), workdir, stop=StopAfter(8))
  step, _ = tiny.arrays(workdir)
  assert step > 6
  rows = run_log.read_metrics(workdir / "metrics.csv")
  assert [int(row["step"]) for row in rows] == list(range(1, step + 1))
  loop.train(tiny.config(tiny_data, epochs=1), workdir)
  summary = json.loads((workdir / "summary.json").read_text())
  assert summary["best"]["best_top1"] == summary["last"]["joint"]["top1"] >= 0
  assert summary["text"].startswith("last epoch (2)")  # of which a few steps were done
  (workdir / "summary.json").unlink()  # as if killed before it was written
  loop.train(tiny.config(tiny_data, epochs=1), workdir)
  *_, before, last = run_log.read_metrics(workdir / "metrics.csv")
  assert (int(last["step"]), last["split"], before["split"]) == (step, "eval", "train")


def test_with_every_option_an_interrupted_run_ends_bitwise_equal(tiny_data, tmp_path):
  changes = {
    **{"streams": ("joint", "bone"), "mixup": 0.2, "label_smoothing": 0.1, "epochs": 2},
    **{"data.normalize": True, "data.sampling": "random_crop", "data.window": 8},
    **{"augment.jitter": 0.01, "augment.joint_dropout": 0.1, "augment.random_move": True},
    **{"optimizer.name": "adamw", "optimizer.ema": 0.9, "optimizer.accumulate": 2},
    **{"optimizer.schedule": "cosine", "optimizer.clip_norm": 1.0},
    **{"optimizer.freeze_adjacency_through": 0},
  }
  config = tiny.config(tiny_data, **changes)
  loop.train(config, tmp_path / "whole")
  for steps in (2, 2):
    with pytest.raises(Preempted):
      loop.train(config, tmp_path / "stopped", stop=StopAfter(steps))
  loop.train(config, tmp_path / "stopped")
  assert tiny.arrays(tmp_path / "stopped") == tiny.arrays(tmp_path / "whole")
  rows = [(tmp_path / name / "metrics.csv").read_bytes() for name in ("whole", "stopped")]
  assert rows[0] == rows[1]


def test_a_run_too_short_to_profile_says_so(tiny_data, tmp_path, capsys):
  loop.train(tiny.config(tiny_data, epochs=1, profile_steps=2), tmp_path / "run")
  assert "the run ended before step 10: no step was profiled" in capsys.readouterr().out


def test_without_a_terminal_progress_is_plain_lines(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(run_log.ProgressBar, "SECONDS_BETWEEN_LINES", 0.0)
  with run_log.logging_to(tmp_path):
    progress = run_log.ProgressBar(first=0, total=4, batch_size=8, enabled=True)
    for step in range(1, 4):
      progress.update(step, epoch=1, loss=0.25, learning_rate=0.1)
    progress.close()
  lines = capsys.readouterr().out.splitlines()
  assert re.fullmatch(
    r"step 3/4  epoch 1  \d+ clips/s  loss 0\.250  lr 0\.1  00:00 left", lines[-1]
  )
  assert not any("\r" in line for line in lines)


def test_clips_per_second_leave_evaluations_out_and_the_time_left_does_not(
  tmp_path, capsys, monkeypatch
):
  now = [0.0]
  monkeypatch.setattr(time, "monotonic", lambda: now[0])
  monkeypatch.setattr(run_log.ProgressBar, "SECONDS_BETWEEN_LINES", 0.0)
  with run_log.logging_to(tmp_path):
    progress = run_log.ProgressBar(first=0, total=21, batch_size=8, enabled=True)
    with progress.busy("evaluating …"):  # where a run ended between saving and evaluating
      now[0] += 100
    for step in range(1, 12):  # of 4 s each, with two evaluations of 100 s between them
      if step in (5, 10):
        with progress.busy("evaluating …"):
          now[0] += 100
      now[0] += 4
      progress.update(step, epoch=1, loss=0.25, learning_rate=0.1)
  last = capsys.readouterr().out.splitlines()[-1]
  # From the end of the first step on 10 steps in 40 s, or 240; 10 more would take as long.
  assert last == "step 11/21  epoch 1  2 clips/s  loss 0.250  lr 0.1  04:00 left"


def test_a_run_ends_early_at_as_many_evaluations_without_a_new_best_as_it_says():
  config = config_lib.default()
  for most, ends in ((0, []), (1, [1, 2, 3]), (2, [2, 3])):
    config.early_stopping = most
    after = [n for n in range(4) if loop._ends_early(config, checkpoints.Progress(since_best=n))]
    assert after == ends


def test_early_stopping_ends_the_run_and_it_stays_ended(tiny_data, tmp_path, capsys):
  changes = {"optimizer.learning_rate": 1e-9, "early_stopping": 2, "epochs": 9}
  loop.train(tiny.config(tiny_data, **changes), tmp_path / "run")
  step, _ = tiny.arrays(tmp_path / "run")
  assert "ending early" in capsys.readouterr().out
  assert step < 9 * 6
  loop.train(tiny.config(tiny_data, **changes), tmp_path / "run")
  assert "finished" in capsys.readouterr().out
  assert tiny.arrays(tmp_path / "run")[0] == step
  # What other clips said is no reason to end.
  other = {"data.protocol": "kfold:column=subject,k=2", "allow_config_change": True}
  shutil.copytree(tmp_path / "run", tmp_path / "other")
  loop.train(tiny.config(tiny_data, **(changes | other)), tmp_path / "other")
  assert tiny.arrays(tmp_path / "other")[0] > step
  loop.train(tiny.config(tiny_data, **(changes | {"early_stopping": 0})), tmp_path / "run")
  assert tiny.arrays(tmp_path / "run")[0] == 9 * 6


def test_early_stopping_set_within_an_epoch_waits_for_an_evaluation(tiny_data, tmp_path, capsys):
  changes = {"optimizer.learning_rate": 1e-9, "epochs": 9}
  with pytest.raises(Preempted):
    loop.train(tiny.config(tiny_data, **changes), tmp_path / "run", stop=StopAfter(3 * 6 + 1))
  assert tiny.arrays(tmp_path / "run")[0] % 6
  loop.train(tiny.config(tiny_data, **changes, early_stopping=1), tmp_path / "run")
  step, _ = tiny.arrays(tmp_path / "run")
  assert step == 4 * 6
  assert "last epoch (4, an end selected on" in capsys.readouterr().out


def test_seeds_train_one_after_the_other_until_asked_to_end(tmp_path, monkeypatch):
  with pytest.raises(ConfigError, match=r"seeds is \(3,\); it must be several"):
    loop.train(tiny.config("nowhere", seeds=(3,)), tmp_path / "run")
  top1, runs, asked = {3: 0.5, 5: 0.25, 9: 0.75}, [], []

  def train(config, workdir, *, stop):
    runs.append((config.seed, config.seeds, workdir.name))
    return {"joint": {"top1": top1[config.seed], "loss": float(config.seed)}}

  monkeypatch.setattr(loop, "train", train)
  config = tiny.config("nowhere", seeds=(3, 5, 9))
  stop = types.SimpleNamespace(check=asked.append)
  assert loop._train_seeds(config, tmp_path, stop) == {
    "joint": {"top1": 0.5, "loss": pytest.approx(17 / 3)}
  }
  assert runs == [(seed, (), f"seed_{seed}") for seed in (3, 5, 9)]
  assert asked == [f"seeds before {seed} are finished" for seed in (3, 5, 9)]
  assert (config.seed, config.seeds) == (0, (3, 5, 9))
  said = json.loads((tmp_path / "seeds.json").read_text())
  of_joint = {"mean": 50, "deviation": 25, "of_seeds": [50, 25, 75]}  # of a sample: n - 1
  assert said == {"seeds": [3, 5, 9], "top1": {"joint": of_joint}}


def test_a_workdir_that_is_none_is_named():
  with pytest.raises(DataError, match=r"not a workdir.*model\.json"):
    checkpoints.load_model(pathlib.Path(__file__).parent)


def test_messages_of_a_run_go_to_its_log_alone(tmp_path, monkeypatch, capsys):
  logger = logging.getLogger("mstgcn_jax")
  monkeypatch.setattr(logger, "propagate", True)
  before = logger.handlers, logger.level, logger.propagate
  with run_log.logging_to(tmp_path, quiet=True):
    logger.info("of another process than the first")
  assert not list(tmp_path.iterdir()) and not capsys.readouterr().out
  with run_log.logging_to(tmp_path):
    assert not list(tmp_path.iterdir()) and not logger.propagate
    logger.info("of all seeds")
    (tmp_path / "seed_0").mkdir()
    with run_log.logging_to(tmp_path / "seed_0"):
      logger.info("of one")
  assert (logger.handlers, logger.level, logger.propagate) == before
  said = lambda folder: (folder / "log.txt").read_text().split(" ", 2)[2]
  assert said(tmp_path) == "of all seeds\n" and said(tmp_path / "seed_0") == "of one\n"
