"""Checkpoints: damage, full disks, what is kept, what is read back."""

import errno
import os
import pathlib
import re
import shutil
import subprocess
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import quick
import tiny
from flax import nnx
from orbax.checkpoint._src.serialization import ocdbt_utils

from mstgcn_jax import files
from mstgcn_jax.errors import ConfigError, DataError, RunError
from mstgcn_jax.model import ModelConfig
from mstgcn_jax.training import checkpoints, loop, run_log, train_step
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training.experiment import set_up
from mstgcn_jax.use.evaluate import evaluate


def damage_truncate(checkpoint: pathlib.Path):
  for path in (checkpoint / "state").rglob("d/*"):  # not all of which Orbax needs
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_remove(checkpoint: pathlib.Path):
  next((checkpoint / "state").rglob("manifest.ocdbt")).unlink()


def damage_flip_bit(checkpoint: pathlib.Path):
  # In the middle of the largest file: the data of an array, which Orbax doesn't check. Where the
  # array is compressed this may be noticed by the decoder instead; either way it must be found.
  path = max((checkpoint / "state").rglob("d/*"), key=lambda p: p.stat().st_size)
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def damage_remove_metadata(checkpoint: pathlib.Path):
  (checkpoint / "state" / "_METADATA").unlink()


@pytest.mark.parametrize(
  "damage", [damage_truncate, damage_remove, damage_remove_metadata, damage_flip_bit]
)
def test_a_damaged_checkpoint_is_moved_aside_and_its_steps_done_again(
  damage, copy, tiny_data, finished, capsys
):
  damage(copy / "checkpoints" / "18")
  loop.train(tiny.config(tiny_data), copy)
  output = capsys.readouterr().out
  assert "checkpoint 18" in output and "moved" in output
  assert "resuming from step 12" in output
  assert (copy / "checkpoints_damaged" / "18").is_dir()
  assert tiny.arrays(copy) == tiny.arrays(finished)


def test_where_no_checkpoint_is_whole_nothing_is_changed(copy, tiny_data):
  for checkpoint in (copy / "checkpoints").iterdir():
    damage_truncate(checkpoint)
  before = sorted(path.name for path in copy.rglob("*"))
  with pytest.raises(DataError, match=r"no checkpoint in .* is whole \(checkpoint 18 .*--workdir"):
    loop.train(tiny.config(tiny_data, epochs=4), copy)
  assert sorted(path.name for path in copy.rglob("*")) == before


@pytest.mark.parametrize(
  "error", [OSError(errno.EMFILE, "Too many open files"), MemoryError(), ValueError("UNAVAILABLE")]
)
def test_a_checkpoint_that_cannot_be_read_now_is_not_damaged(error, copy, tiny_data, monkeypatch):
  before = tiny.arrays(copy)

  def fail(*args, **kwargs):
    raise error

  with monkeypatch.context() as patched, pytest.raises(RunError, match="could not be read now"):
    patched.setattr(ocp.CheckpointManager, "restore", fail)
    loop.train(tiny.config(tiny_data, epochs=4), copy)
  assert tiny.arrays(copy) == before and not (copy / "checkpoints_damaged").exists()


@pytest.mark.parametrize(
  ("error", "passing"),
  [
    *((OSError(errno.EMFILE, "Too many open files"), True), (PermissionError(), True)),
    *((FileNotFoundError(), False), (IsADirectoryError(), False), (NotADirectoryError(), False)),
    *((MemoryError(), True), (ValueError("RESOURCE_EXHAUSTED: out of memory"), True)),
    *((ValueError("PERMISSION_DENIED: d/1"), True), (ValueError("UNAVAILABLE: d/1"), True)),
    *((ValueError("d/1: Too many open files"), True), (ValueError("DATA_LOSS: d/1"), False)),
  ],
)
def test_what_may_pass_is_told_from_damage(error, passing):
  assert checkpoints._is_passing(error) == passing


def test_a_checkpoint_is_meant_by_a_name_or_a_step_that_is_there():
  class Manager:
    directory = "there"

    def __init__(self, steps, best=None):
      self.all_steps, self.best_step = lambda: steps, lambda: best

  step = lambda which, manager: checkpoints.checkpoint_step(manager, which)
  some = Manager([12, 6], best=6)
  assert [step(which, some) for which in ("newest", "best", 6, "12")] == [12, 6, 6, 12]
  for which in ("latest", -1, "6.0", ""):
    with pytest.raises(ConfigError, match=f"'{which}' is neither 'newest', 'best' nor a step"):
      step(which, some)
  with pytest.raises(DataError, match=r"there holds no checkpoint 7; there are \[6, 12\]"):
    step(7, some)
  with pytest.raises(DataError, match="there: no checkpoint was evaluated, so none is the best"):
    step("best", Manager([6]))
  for which in ("newest", "best", 6):
    with pytest.raises(DataError, match=r"there holds no checkpoint$"):
      step(which, Manager([]))


def test_an_accuracy_that_was_lost_is_found_again(copy, tiny_data, finished):
  shutil.rmtree(copy / "checkpoints/18/metrics")
  (copy / "summary.json").unlink()
  loop.train(tiny.config(tiny_data), copy)
  assert (copy / "metrics.csv").read_bytes() == (finished / "metrics.csv").read_bytes()
  names = ("summary.json", "checkpoints/18/metrics/metrics")
  assert [(copy / n).read_bytes() for n in names] == [(finished / n).read_bytes() for n in names]


@pytest.mark.parametrize("name", ["run [1]", "a*b/run", "what?"])
def test_a_path_that_orbax_takes_for_a_pattern_is_refused_at_once(name, tiny_data, tmp_path):
  with pytest.raises(ConfigError, match="Orbax takes for a pattern"):
    loop.train(tiny.config(tiny_data), tmp_path / name)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("use", [loop.train, lambda config, run: checkpoints.load_variables(run)])
def test_a_path_that_is_no_text_is_no_damage(use, finished, tiny_data, tmp_path):
  run = tmp_path / "n\udcff"
  if use is not loop.train:
    shutil.copytree(finished, run)
  with pytest.raises(DataError, match=r"'.*/n\\udcff.*' is no text in UTF-8; take another folder"):
    use(tiny.config(tiny_data), run)
  assert run.exists() == (use is not loop.train)


def test_a_first_checkpoint_that_cannot_be_read_back_ends_the_run(tiny_data, tmp_path, monkeypatch):
  merge = ocdbt_utils.merge_ocdbt_per_process_files

  async def into_nothing(directory, *args, **kwargs):
    return await merge(directory / "elsewhere", *args, **kwargs)

  monkeypatch.setattr(ocdbt_utils, "merge_ocdbt_per_process_files", into_nothing)
  with pytest.raises(RunError, match="is not what is read there"):
    loop.train(tiny.config(tiny_data), tmp_path / "run")
  rows = list(run_log.read_metrics(tmp_path / "run/metrics.csv"))
  assert len(rows) == 6  # one epoch, not evaluated


@pytest.mark.parametrize("content", ['{"performance_metrics": ""}', "[" * 100_000])
def test_damaged_facts_of_orbaxs_own_are_named_and_not_needed(copy, content):
  path = copy / "checkpoints/12/_CHECKPOINT_METADATA"
  path.write_text(content)
  with pytest.raises(DataError, match="_CHECKPOINT_METADATA of one of the checkpoints is damaged"):
    checkpoints.load_variables(copy)
  path.unlink()
  assert checkpoints.load_variables(copy)[1] == 18
  assert checkpoints.load_variables(copy, checkpoint=12)[1] == 12


def test_a_checkpoint_in_the_making_is_not_damaged(copy):
  for name in ("24.orbax-checkpoint-tmp", "12.deleting"):
    (copy / "checkpoints" / name / "metrics").mkdir(parents=True)
    (copy / "checkpoints" / name / "metrics" / "metrics").write_text("")
  assert checkpoints.load_variables(copy)[1] == 18
  assert checkpoints.best_step(copy) in (6, 12, 18)


def test_a_checkpoint_that_is_deleted_while_it_is_read_gives_way_to_the_next(copy, monkeypatch):
  read = checkpoints._read_variables

  def deleted_meanwhile(manager, step, streams):
    if step == 18:
      shutil.rmtree(copy / "checkpoints/18")
    return read(manager, step, streams)

  monkeypatch.setattr(checkpoints, "_read_variables", deleted_meanwhile)
  assert checkpoints.load_variables(copy)[1] == 12


def test_a_checkpoint_that_is_deleted_once_it_is_listed_is_left_out(copy, monkeypatch):
  def deleted_meanwhile(*args, **kwargs):
    if (copy / "checkpoints/18").exists():
      shutil.rmtree(copy / "checkpoints/18")
      raise NotADirectoryError("Path is not a directory: checkpoints/18")  # as Orbax
    return manager(*args, **kwargs)

  manager = ocp.CheckpointManager
  monkeypatch.setattr(ocp, "CheckpointManager", deleted_meanwhile)
  assert checkpoints.load_variables(copy)[1] == 12


def test_checkpoints_that_stay_away_are_not_asked_for_for_ever(copy, monkeypatch):
  def gone(*args, **kwargs):
    raise NotADirectoryError("Path is not a directory: checkpoints/18")

  monkeypatch.setattr(ocp, "CheckpointManager", gone)
  monkeypatch.setattr(checkpoints.time, "sleep", lambda seconds: None)
  with pytest.raises(NotADirectoryError):
    checkpoints.best_step(copy)


def test_what_is_no_accuracy_is_damaged(tmp_path):
  path = tmp_path / "12/metrics/metrics"
  path.parent.mkdir(parents=True)
  path.write_text('{"top1": 0.5}')  # as an earlier version wrote it
  assert checkpoints._damaged_metrics(tmp_path) == []
  for content in ('{"step": 12}', '{"top1": NaN}', '{"top1": true}', '{"top1": 1, "a": 1}', "[1]"):
    path.write_text(content)
    assert checkpoints._damaged_metrics(tmp_path) == [path]


def test_facts_that_nobody_wrote_are_damage_without_a_digest_too(copy, tiny_data):
  states = set_up(tiny.config(tiny_data)).abstract_states()
  whole = {path: files.read_json(path) for path in copy.glob("checkpoints/*/facts/metadata")}
  for wrong in ({}, {"other": 1}, {"best_top1": None}):
    for path, facts in whole.items():
      facts.pop("digest_of_facts", None)  # which version 0.1.0 did not write
      files.write_json(path, facts | wrong)
    if not wrong:
      assert checkpoints.load_variables(copy)[1] == 18
      continue
    said = pytest.raises(DataError, match=r"whole \(checkpoint 18 is damaged: its facts are \{")
    with checkpoints.make_manager(copy) as manager, said:
      checkpoints.restore_newest(manager, states)


def test_flipped_facts_of_a_checkpoint_are_damage(copy):
  path = next((copy / "checkpoints/18/facts").rglob("metadata"))
  path.write_text(path.read_text().replace('"since_best": ', '"since_best": 1'))
  with pytest.raises(DataError, match="its facts are not those that were written"):
    checkpoints.load_variables(copy)


def test_a_checkpoint_without_facts_and_a_folder_without_checkpoints_are_named(copy):
  (copy / "checkpoints/18/facts/metadata").unlink()
  with pytest.raises(DataError, match="checkpoint 18 cannot be read"):
    checkpoints.load_variables(copy)
  shutil.rmtree(copy / "checkpoints")
  with pytest.raises(DataError, match="holds no checkpoint yet"):
    checkpoints.load_variables(copy)


def test_a_step_that_is_damaged_again_takes_the_place_of_the_one_moved_aside_before(copy):
  (copy / "checkpoints_damaged/18/before").mkdir(parents=True)
  with checkpoints.make_manager(copy) as manager:
    checkpoints._move_aside(manager, 18, DataError("checkpoint 18 is damaged"))
    assert max(manager.all_steps()) == 12
  assert {"state", "facts"} <= {path.name for path in (copy / "checkpoints_damaged/18").iterdir()}
  assert not (copy / "checkpoints_damaged/18/before").exists()


def test_a_loop_of_ones_own_cannot_leave_the_normalisation_out(tiny_data, tmp_path):
  run = set_up(tiny.config(tiny_data, **{"data.normalize": True}))
  states = {"joint": run.initial_states()["joint"].replace(normalization=None)}
  with checkpoints.make_manager(tmp_path) as manager:
    checkpoints.save(manager, 0, states, checkpoints.Progress())
  run.facts().write(tmp_path)
  assert checkpoints.load_variables(tmp_path)  # nothing says that its clips were normalised
  config_lib.write(run.config, tmp_path / "config.json")
  with pytest.raises(DataError, match="has no mean and deviation, although"):
    checkpoints.load_variables(tmp_path)


@pytest.mark.parametrize("exchanged", ["blocks", "classifier"])
def test_a_checkpoint_of_another_network_than_its_workdir_says_is_refused(
  exchanged, finished, tiny_data, tmp_path
):
  model = checkpoints.load_model(finished)
  if exchanged == "blocks":
    channels = model.config.blocks[1].in_channels, model.config.blocks[1].out_channels
    model.blocks[1].spatial = nnx.Linear(*channels, rngs=nnx.Rngs(0))
  else:
    model.classifier = nnx.Linear(model.classifier.in_features, 9, rngs=nnx.Rngs(0))
  run = set_up(tiny.config(tiny_data))
  state = train_step.init_state(run.task, *train_step.split_model(model)[1:], seed=0)
  with checkpoints.make_manager(tmp_path) as manager:
    checkpoints.save(manager, 0, {"joint": state}, checkpoints.Progress())
  run.facts().write(tmp_path)
  config_lib.write(run.config, tmp_path / "config.json")
  for use in (checkpoints.load_model, evaluate):
    with pytest.raises(DataError, match=rf"checkpoint 0 of .* {exchanged}.* expected"):
      use(tmp_path)


def test_a_stream_that_a_checkpoint_lacks_is_named(copy):
  facts = files.read_json(copy / "model.json") | {"streams": ["joint", "bone"]}
  files.write_json(copy / "model.json", facts)
  with pytest.raises(DataError, match="has no stream bone, which"):
    checkpoints.load_variables(copy)


@pytest.mark.parametrize("content", ["", '{"top1": 0.'])
def test_a_damaged_accuracy_does_not_spoil_the_workdir(content, copy, tiny_data, capsys):
  path = copy / "checkpoints/12/metrics/metrics"
  path.write_text(content)
  with pytest.raises(DataError, match="metrics is damaged; delete it, or start the run again"):
    checkpoints.load_variables(copy)
  loop.train(tiny.config(tiny_data, epochs=4), copy)
  assert "resuming from step 18 of 24" in capsys.readouterr().out
  assert tiny.arrays(copy)[0] == 24


def test_the_best_of_equals_is_the_first_and_is_kept(tmp_path):
  state = train_step.TrainState(
    *(jnp.zeros((), jnp.int32), jnp.zeros(2, jnp.uint32), {"w": jnp.ones(2)}, {}, {})
  )
  with checkpoints.make_manager(tmp_path) as manager:
    for step, top1 in ((1, 0.2), (2, 0.5), (3, 0.5), (4, 0.5), (5, 0.5)):
      checkpoints.save(manager, step, {"joint": state}, checkpoints.Progress())
      checkpoints.set_evaluated(manager, step, top1, checkpoints.Progress())
    assert manager.best_step() == 2
    assert sorted(manager.all_steps()) == [2, 4, 5]


def test_the_newest_two_and_the_best_are_kept_and_no_other(tmp_path):
  state = train_step.TrainState(
    *(jnp.zeros((), jnp.int32), jnp.zeros(2, jnp.uint32), {"w": jnp.ones(2)}, {}, {})
  )
  save = lambda step: checkpoints.save(manager, step, {"joint": state}, checkpoints.Progress())
  with checkpoints.make_manager(tmp_path) as manager:
    for step, top1, kept in (
      (1, 0.5, [1]),
      (2, 0.2, [1, 2]),
      (3, 0.2, [1, 2, 3]),
      (4, 0.6, [3, 4]),
    ):
      save(step)
      checkpoints.set_evaluated(manager, step, top1, checkpoints.Progress())
      assert sorted(manager.all_steps()) == kept
    for step in (5, 6, 7):  # between evaluations
      save(step)
    checkpoints.wait(manager)
    assert sorted(manager.all_steps()) == [4, 6, 7]


def test_orbax_is_given_copies_on_the_host(tmp_path):
  # Of arrays on several devices it would compile a program for every shape.
  state = train_step.TrainState(
    *(jnp.zeros((), jnp.int32), jnp.zeros(2, jnp.uint32), {"w": jnp.ones(2)}, {}, {})
  )
  given = []
  manager = SimpleNamespace(save=lambda step, args: given.append(args["state"].item))
  checkpoints.save(manager, 1, {"joint": state}, checkpoints.Progress())
  saved, held = jax.tree.leaves(given), jax.tree.leaves(checkpoints._as_tree({"joint": state}))
  for copy, array in zip(saved, held, strict=True):
    assert type(copy) is np.ndarray and not np.shares_memory(copy, np.asarray(array))
    np.testing.assert_array_equal(copy, array)


def test_what_is_kept_is_decided_by_the_first_process_alone(monkeypatch):
  waits = []
  # Of another one, which neither lists nor deletes: what it sees of a network's disk may be old.
  manager = SimpleNamespace(wait_until_finished=lambda: waits.append("for the checkpoint"))
  monkeypatch.setattr(jax, "process_index", lambda: 1)
  checkpoints.set_evaluated(manager, 1, 0.5, checkpoints.Progress())
  assert waits == ["for the checkpoint"]


def test_evaluations_are_counted_from_the_best():
  progress = checkpoints.Progress()
  for step, top1 in ((6, 0.5), (12, 0.4), (18, 0.6), (24, 0.6)):
    progress = progress.judged(step, top1)
  expected = {"best_top1": 0.6, "best_step": 18, "since_best": 1, "judged_step": 24}
  assert progress == checkpoints.Progress(**expected)


def test_a_warm_start_takes_the_parameters_that_were_evaluated(tmp_path):
  step, key = jnp.zeros((), jnp.int32), jnp.zeros(2, jnp.uint32)
  state = train_step.TrainState(step, key, {"w": jnp.ones(2)}, {}, {}, ema={"w": jnp.full(2, 3.0)})
  facts = {
    "model": ModelConfig(num_classes=2).to_dict(),
    "class_names": ["a", "b"],
    "streams": ["joint"],
    "input": {"window": 8, "num_persons": 2, "sampling": "loop"},
  }
  files.write_json(tmp_path / "model.json", facts)
  with checkpoints.make_manager(tmp_path) as manager:
    checkpoints.save(manager, 1, {"joint": state}, checkpoints.Progress())
    checkpoints.wait(manager)
  params, _ = checkpoints.warm_start(tmp_path, "joint", {"w": jnp.zeros(2)}, {})
  np.testing.assert_array_equal(params["w"], [3, 3])
  # Of one stream, whatever it is called, and only into its own shape.
  params, _ = checkpoints.warm_start(tmp_path, "bone", {"w": jnp.zeros(2)}, {})
  np.testing.assert_array_equal(params["w"], [3, 3])
  with pytest.raises(ConfigError, match=r"w is \(2,\), the model has \(1, 2\)"):
    checkpoints.warm_start(tmp_path, "joint", {"w": jnp.zeros((1, 2))}, {})
  with pytest.raises(ConfigError, match="leaves nothing to take"):
    checkpoints.warm_start(tmp_path, "joint", {"w": jnp.zeros(2)}, {}, ignore=("w",))


def test_float64_is_taken_as_what_it_is_or_refused(tmp_path, copy):
  with jax.enable_x64(True):
    fresh = {"w": jnp.zeros(2, "float64")}
    state = lambda x: train_step.TrainState(
      jnp.int32(0), jnp.zeros(2, jnp.uint32), {"w": x}, {}, {}
    )
    shutil.copy(copy / "model.json", tmp_path)
    with checkpoints.make_manager(tmp_path) as manager:
      checkpoints.save(manager, 1, {"joint": state(jnp.ones(2, "float32"))}, checkpoints.Progress())
      checkpoints.wait(manager)
      params, _ = checkpoints.warm_start(tmp_path, "joint", fresh, {})
      assert params["w"].dtype == "float64"
      with pytest.raises(ConfigError, match=r"float32 \(2,\) saved, float64 \(2,\) now"):
        checkpoints.restore_newest(manager, {"joint": state(fresh["w"])})
      checkpoints.save(manager, 2, {"joint": state(fresh["w"])}, checkpoints.Progress())
      checkpoints.wait(manager)
  with pytest.raises(ConfigError, match="checkpoint 2 is of a run in float64; set JAX_ENABLE_X64"):
    checkpoints.load_variables(tmp_path)


def test_a_digest_finds_a_changed_array(copy):
  _, tree = tiny.state(copy)
  digests = checkpoints.digests(tree)
  leaf = tree["joint"]["params"]["classifier"]["bias"]
  changed = np.asarray(leaf).copy()
  changed[0] = np.nextafter(changed[0], 1)  # the last bit
  tree["joint"]["params"]["classifier"]["bias"] = changed
  different = [k for k, v in checkpoints.digests(tree).items() if digests[k] != v]
  assert len(different) == 1 and "classifier" in different[0]


def test_what_evaluation_does_not_need_is_not_read(copy, tiny_data):
  path = copy / "checkpoints/18/facts/metadata"

  def damage(field):
    facts = files.read_json(path)
    digests = facts["digests"]
    digests[next(name for name in digests if name.startswith(f"['joint']['{field}']"))] = "another"
    files.write_json(path, facts)

  damage("opt_state")
  assert checkpoints.load_variables(copy)[1] == 18
  states = checkpoints._as_tree(set_up(tiny.config(tiny_data)).abstract_states())
  is_damaged = pytest.raises(DataError, match="checkpoint 18 is damaged: 1 arrays differ")
  with checkpoints.make_manager(copy, read_only=True) as manager, is_damaged:
    checkpoints._read(manager, 18, states)
  damage("params")
  with pytest.raises(DataError, match=r"1 arrays differ, first .*params"):
    checkpoints.load_variables(copy)


def test_a_state_of_another_shape_is_refused_even_where_changes_are_allowed(copy, tiny_data):
  before = tiny.arrays(copy)
  for change in ({"model.kernel_size": 3}, {"optimizer.name": "adam"}, {"optimizer.ema": 0.9}):
    config = tiny.config(tiny_data, allow_config_change=True, epochs=4, **change)
    with pytest.raises(ConfigError, match="of another model, optimiser or set of streams"):
      loop.train(config, copy)
  assert tiny.arrays(copy) == before and not (copy / "checkpoints_damaged").exists()


def test_figures_stay_forgotten_where_a_run_is_killed_before_it_saves_again(copy, tiny_data):
  states = set_up(tiny.config(tiny_data)).abstract_states()
  with checkpoints.make_manager(copy) as manager:
    assert checkpoints.restore_newest(manager, states)[2].judged_step == 18
    checkpoints.forget_figures(manager)
    step, _, progress = checkpoints.restore_newest(manager, states)
    assert (step, progress) == (18, checkpoints.Progress())


def test_a_full_disk_stops_with_a_message_and_leaves_older_checkpoints(
  copy, tiny_data, monkeypatch
):
  before = tiny.arrays(copy)

  def full(*args, **kwargs):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(ocp.CheckpointManager, "save", full)
  steps = sorted(int(path.name) for path in (copy / "checkpoints").iterdir())
  whole = re.escape(f"No space left on device); checkpoints {steps} are whole; ") + ".* newest"
  with pytest.raises(RunError, match=r"\[Errno 28\] " + whole):
    loop.train(tiny.config(tiny_data, epochs=4), copy)
  assert tiny.arrays(copy) == before


def test_what_orbax_says_of_a_full_disk_is_one_line_of_ours(tiny_data, tmp_path):
  argv = [*tiny.TRAIN, f"--config={tiny.CONFIG}", f"--workdir={tmp_path / 'run'}"]
  full = ["bash", "-c", 'ulimit -f 40; exec "$@"', "bash"]  # files of at most 40 KiB
  # The cache of compiled programs would warn that it is full, too.
  env = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "0", "XLA_FLAGS": quick.FLAGS}
  done = subprocess.run(
    [*full, *argv, f"--config.data.dir={tiny_data}"], env=env, capture_output=True, text=True
  )
  assert done.returncode == 1
  (line,) = done.stderr.splitlines()
  assert line.startswith("error: the checkpoint could not be written ([Errno 27] File too large)")


def test_a_checkpoint_that_fails_beside_does_not_hide_what_a_full_disk_ended(
  copy, tiny_data, monkeypatch
):
  def full(self):
    raise OSError(28, "No space left on device")

  def fails_beside(self):
    raise ValueError("RESOURCE_EXHAUSTED: No space left on device")

  monkeypatch.setattr(run_log.MetricsFile, "flush", full)
  monkeypatch.setattr(ocp.CheckpointManager, "close", fails_beside)
  with pytest.raises(RunError, match=r"metrics\.csv .* could not be written .*No space left"):
    loop.train(tiny.config(tiny_data, epochs=4), copy)
