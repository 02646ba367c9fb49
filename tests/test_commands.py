"""The commands as a user types them: results, and one clear line for every mistake."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from ending import Ended, catch_ends
from flax import nnx

from mstgcn_jax import __main__ as door
from mstgcn_jax import files, skeletons
from mstgcn_jax.commands import ensemble, evaluate, process
from mstgcn_jax.data.data_set import open_data_set
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.evaluation import fusion, metrics
from mstgcn_jax.evaluation.scores import Scores
from mstgcn_jax.model import MSTGCN
from mstgcn_jax.training import checkpoints, loop, run_log, train_step
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.use import evaluate as evaluate_lib
from mstgcn_jax.use.classifier import Classifier

STREAMS = ("joint", "bone", "joint_motion", "bone_motion")


@pytest.fixture(scope="module")
def four_streams(tiny_data, tmp_path_factory):
  """A run of four streams for two epochs, subject 5 held out."""
  workdir = tmp_path_factory.mktemp("runs") / "streams"
  changes = {"streams": STREAMS, "epochs": 2, "data.holdout_subjects": (5,)}
  loop.train(tiny.config(tiny_data, **changes), workdir)
  return workdir


@pytest.fixture
def train(monkeypatch, capsys):
  """A function of arguments that gives the status of mstgcn train, and what it says of an error."""
  monkeypatch.setattr(process, "quiet_libraries", lambda: None)
  ends = catch_ends(monkeypatch)

  def status_and_message(*arguments: str) -> tuple[int, str]:
    with pytest.raises(Ended):
      door.main(["train", *arguments])
    return ends.pop(), capsys.readouterr().err

  return status_and_message


@pytest.mark.parametrize(
  ("arguments", "status", "said"),
  [
    ([], 2, "--config is missing"),
    (["quickstart"], 2, "'quickstart'; the config is named by --config, its fields are set by"),
    (["--config=no_such_file.py"], 2, "config file no_such_file.py does not exist"),
    (["--config", "setup.cfg"], 2, "config file setup.cfg is no Python file"),
    (["--config", "configs"], 2, "config file configs is a folder; name the Python file (.py)"),
    (
      [f"--config={tiny.CONFIG}", "--config.modell.width=3"],
      2,
      "no such field: modell.width; did you mean model.width?",
    ),
    ([f"--config={tiny.CONFIG}", "--config.epochs=many"], 2, "many"),
    ([f"--config={tiny.CONFIG}", "--wrokdir=x"], 2, "wrokdir"),
    ([f"--config={tiny.CONFIG}", "--config.model.kernel_size=4"], 2, "kernel_size"),
    ([f"--config={tiny.CONFIG}", "--config.data.views=2"], 2, "views=2"),
    ([f"--config={tiny.CONFIG}", "--config.streams=('joint', 'joint')"], 2, "repetition"),
    ([f"--config={tiny.CONFIG}", "--config.data.dir=nowhere"], 1, "nowhere"),
    ([f"--config={tiny.CONFIG}", "--config.seeds=(0, -1)"], 2, "seeds is (0, -1)"),
  ],
)
def test_a_mistake_gets_one_line_and_its_exit_status(train, arguments, status, said, tmp_path):
  got, message = train(*arguments, f"--workdir={tmp_path / 'run'}")
  assert got == status and message.startswith("error: ") and said in message
  assert not (tmp_path / "run").exists()


def test_help_prints_flags_and_with_a_config_every_field(monkeypatch, capsys):
  monkeypatch.setattr(process, "quiet_libraries", lambda: None)
  assert door.main(["train", "--help"]) == 0
  assert "usage: mstgcn train --config FILE|NAME" in capsys.readouterr().out
  assert door.main(["train", "-h", f"--config={tiny.CONFIG}", "--config.seed=7"]) == 0
  fields = capsys.readouterr().out
  assert "--config.seed=7" in fields and "--config.model.attention=None" in fields


FUSED = "--xla_cpu_experimental_ynn_fusion_type=+eltwise"


@pytest.mark.parametrize(
  ("given", "expected"),
  [
    ("", FUSED),
    ("--xla_dump_to=/tmp/x", f"--xla_dump_to=/tmp/x {FUSED}"),
    *[(f, f) for f in ("--xla_cpu_experimental_ynn_fusion_type=reduce", "/a/file/of/flags")],
    # YNNPACK refuses layouts of programs that are split over several devices.
    ("--xla_force_host_platform_device_count=2",) * 2,
  ],
)
def test_elementwise_work_is_fused_where_a_cpu_is_the_only_device(monkeypatch, given, expected):
  monkeypatch.setenv("XLA_FLAGS", given)
  process.fuse_elementwise_on_cpu()
  assert os.environ["XLA_FLAGS"] == expected


def test_an_xla_that_does_not_know_the_fusion_is_not_asked_for_it(monkeypatch):
  assert process.xla_knows("xla_cpu_enable_fast_math")
  assert not process.xla_knows("xla_cpu_no_such_option")
  monkeypatch.setenv("XLA_FLAGS", "")
  monkeypatch.setattr(process, "xla_knows", lambda flag: False)
  process.fuse_elementwise_on_cpu()
  assert os.environ["XLA_FLAGS"] == ""


def test_the_fusion_takes_effect():  # conftest.py asks for it
  compiled = jax.jit(lambda x: jnp.tanh(2 * x + 1)).lower(jnp.ones((64, 64))).compile()
  assert "ynn_fusion" in compiled.as_text()


@pytest.mark.parametrize(
  ("several", "told", "expected"),
  [
    (False, "", "home/mstgcn_jax/xla"),
    # A process that found a program, where another did not, would be waited for on a GPU.
    (True, "", ""),
    (True, "shared", "shared"),
  ],
)
def test_programs_of_several_processes_are_kept_only_where_the_user_says(
  monkeypatch, tmp_path, several, told, expected
):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
  monkeypatch.setattr(jax.distributed, "is_initialized", lambda: several)
  before = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", str(tmp_path / told) if told else None)
  try:
    process.use_compilation_cache()
    found = jax.config.jax_compilation_cache_dir
  finally:
    jax.config.update("jax_compilation_cache_dir", before)
  assert (found or "") == (expected and str(tmp_path / expected))


def test_a_user_without_a_home_keeps_no_programs(monkeypatch):
  monkeypatch.delenv("HOME", raising=False)
  monkeypatch.setenv("XDG_CACHE_HOME", "")  # as if it were not set
  monkeypatch.setattr(os, "getuid", lambda: 2**31)  # of nobody that the system knows
  before = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", None)
  try:
    process.use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir is None
  finally:
    jax.config.update("jax_compilation_cache_dir", before)


def test_programs_that_cannot_be_kept_are_no_warning():
  with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    process.use_compilation_cache()
    for done in ("reading", "writing"):  # in JAX's words
      warnings.warn(f"Error {done} persistent compilation cache entry for 'jit_f': …", stacklevel=1)
  assert not said


@pytest.mark.parametrize(
  ("trains", "given", "expected"),
  [(True, None, None), (False, None, "false"), (False, "true", "true")],
)
def test_only_training_takes_most_of_a_gpus_memory_at_once(monkeypatch, trains, given, expected):
  name = "XLA_PYTHON_CLIENT_PREALLOCATE"
  monkeypatch.setenv(name, given or "")
  if not given:
    monkeypatch.delenv(name)
  process.start(trains=trains)
  assert os.environ.get(name) == expected


def test_a_second_command_in_the_same_workdir_is_refused(train, tiny_data, tmp_path):
  with files.only_writer(tmp_path / "run"):
    status, message = train(
      f"--config={tiny.CONFIG}", f"--config.data.dir={tiny_data}", f"--workdir={tmp_path / 'run'}"
    )
  assert status == 1 and "another command is writing into" in message


def test_a_reader_that_has_seen_enough_is_no_error():
  argv = [sys.executable, "-m", "mstgcn_jax", "summary", "--config", "configs/quickstart.py"]
  with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
    process.stdout.close()
    assert process.wait() == 141 and process.stderr.read() == b""


def test_streams_are_reported_each_and_fused(four_streams):
  rows = list(run_log.read_metrics(four_streams / "metrics.csv"))
  assert [r["stream"] for r in rows if r["split"] == "train"][:4] == list(STREAMS)
  evaluated = {r["stream"] for r in rows if r["split"] == "eval"}
  assert evaluated == {*STREAMS, "fused_equal", "fused_2211", "fused_fitted"}
  assert {r["stream"] for r in rows if r["split"] == "holdout"} >= set(STREAMS)


def test_all_streams_share_one_compilation(four_streams, tiny_data):
  from mstgcn_jax.training.experiment import set_up

  changes = {"streams": STREAMS, "epochs": 2, "data.holdout_subjects": (5,)}
  run = set_up(tiny.config(tiny_data, **changes))
  (mesh,) = set(run.meshes.values())
  # The function that the run of the fixture used, since task and mesh are equal.
  assert train_step.make_train_step(run.task, mesh)._cache_size() == 1


def test_a_stream_of_several_equals_a_run_of_its_own(four_streams, tiny_data, tmp_path):
  changes = {"streams": ("bone",), "epochs": 2, "data.holdout_subjects": (5,)}
  loop.train(tiny.config(tiny_data, **changes), tmp_path / "bone")
  alone, _ = checkpoints.load_variables(tmp_path / "bone")
  together, _ = checkpoints.load_variables(four_streams)
  for name, leaf in alone["bone"]["params"]["classifier"].items():
    # Equal mathematics, compiled with a switch around it: float32 rounding over 8 steps.
    other = together["bone"]["params"]["classifier"][name]
    np.testing.assert_allclose(leaf, other, rtol=1e-3, atol=1e-5)


def test_held_out_subjects_are_not_trained_on(tiny_data):
  from mstgcn_jax.training.experiment import make_split

  config = tiny.config(tiny_data, **{"data.holdout_subjects": (5,)})
  data_set = open_data_set(tiny_data / "tiny")
  split = make_split(config, data_set)
  subjects = data_set.table["subject"]
  assert set(subjects[split.train]) == {1, 3}
  assert set(subjects[split.holdout]) == {5}
  assert set(subjects[split.eval]) == {2, 4, 6}
  with pytest.raises(ConfigError, match=r"\(5, 99\) .* training subjects are \[1, 3, 5\]"):
    make_split(tiny.config(tiny_data, **{"data.holdout_subjects": (5, 99)}), data_set)


def test_held_out_subjects_select_the_best(four_streams):
  rows = run_log.read_metrics(four_streams / "metrics.csv")
  held = [float(r["top1"]) for r in rows if (r["split"], r["stream"]) == ("holdout", "fused_2211")]
  summary = json.loads((four_streams / "summary.json").read_text())
  assert summary["best"]["best_top1"] == max(held)
  assert "selected on held-out subjects" in summary["text"]


def test_evaluate_repeats_the_last_epoch(four_streams, capsys):
  argv = ["--workdir", str(four_streams)]
  evaluate.main(argv)
  printed = capsys.readouterr().out
  assert "mean class" in printed and "95 % interval" in printed and "most confused" in printed
  for name in ("scores.npz", "scores_bone.npz", "confusion_matrix.png", "report.txt"):
    assert (four_streams / "evaluation_newest" / name).exists(), name
  for name in ("scores.npz", "scores_bone.npz", "scores_fused_fitted.npz"):
    a = Scores.load(four_streams / name)
    b = Scores.load(four_streams / "evaluation_newest" / name)
    np.testing.assert_array_equal(a.names, b.names)
    np.testing.assert_allclose(a.logits, b.logits, rtol=1e-5, atol=1e-6)


def test_blocks_of_a_checkpoint_are_in_the_order_of_their_numbers(four_streams):
  trained = config_lib.read(four_streams / "config.json")
  run = evaluate_lib._set_up(trained, None, None, trained.data.name)
  variables, _ = evaluate_lib._load(four_streams, "newest", run)
  for kind in ("params", "batch_stats"):  # as text, block 10 would be taken for block 2
    assert list(variables["bone"][kind]["blocks"]) == [0, 1]


def test_evaluate_shows_on_a_terminal_how_far_it_is(four_streams, capsys, monkeypatch):
  evaluate_lib.evaluate(four_streams)
  assert not capsys.readouterr().err
  monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
  found = evaluate_lib.evaluate(four_streams)
  assert f"0/{len(found.scores['joint'].labels)} [" in capsys.readouterr().err


def test_a_network_that_drops_within_its_blocks_is_evaluated(tiny_data, tmp_path):
  changes = {"model.network": "stgcn", "model.dropout": 0.3, "model.block_type": None, "epochs": 1}
  loop.train(tiny.config(tiny_data, **changes), tmp_path)
  found = evaluate_lib.evaluate(tmp_path).scores["joint"]
  trained = Scores.load(tmp_path / "scores.npz")
  np.testing.assert_allclose(found.logits, trained.logits, rtol=1e-5, atol=1e-6)


def test_a_run_on_the_graph_of_a_file_is_evaluated_without_the_file(tiny_data, tmp_path):
  file = tmp_path / "mine.json"
  mine = tiny.SKELETON.to_dict() | {"name": "mine"}
  files.write_json(file, mine)
  config = tiny.config(tiny_data, epochs=1, **{"model.graph": str(file)})
  loop.train(config, tmp_path / "run")
  files.write_json(file, mine | {"mirror": []})
  with pytest.raises(ConfigError, match="differs in\n  model: graph: another mine in the run\n"):
    loop.train(config, tmp_path / "run")
  file.unlink()
  found = evaluate_lib.evaluate(tmp_path / "run").scores["joint"]
  np.testing.assert_array_equal(found.logits, Scores.load(tmp_path / "run/scores.npz").logits)


def test_what_was_trained_in_bfloat16_is_evaluated_in_float32_on_a_cpu(four_streams, tmp_path):
  workdir = shutil.copytree(four_streams, tmp_path / "run")
  for name in ("config.json", "model.json"):
    content = (workdir / name).read_text()
    assert content.count('"float32"') == 1
    (workdir / name).write_text(content.replace('"float32"', '"bfloat16"'))
  half, whole = (
    evaluate_lib.evaluate(folder).scores["joint"].logits for folder in (workdir, four_streams)
  )
  np.testing.assert_array_equal(half, whole)
  assert checkpoints.load_model(workdir).config.dtype == "float32"


def test_evaluate_says_what_the_best_was_selected_on(four_streams, capsys):
  argv = ["--workdir", str(four_streams), "--checkpoint", "best", "--protocol", "all"]
  evaluate.main(argv)
  assert "fused_2211, all, step" in (printed := capsys.readouterr().out)
  assert "(selected on held-out subjects) (18 of 54 clips were trained on)" in printed
  assert (four_streams / "evaluation_best_all/scores.npz").exists()


def test_other_clips_are_not_those_that_the_best_was_selected_on(finished, tmp_path, monkeypatch):
  tiny.prepare(tmp_path, "other")
  found = [
    evaluate_lib.evaluate(finished, checkpoint="best", **options).selected_on
    for options in ({}, {"protocol": "all"}, {"data_set": tmp_path / "other"})
  ]
  assert found == ["this very split", "tiny, cross_subject", "tiny, cross_subject"]
  # Nothing was selected where the best is another step, or merely the newest, which was asked for.
  newest = evaluate_lib.evaluate(finished).step
  for best, checkpoint in ((newest - 1, newest), (newest, "newest")):
    monkeypatch.setattr(evaluate_lib.checkpoints, "best_step", lambda _, best=best: best)
    assert evaluate_lib.evaluate(finished, checkpoint=checkpoint).selected_on == ""


def test_evaluate_counts_clips_whose_copies_were_trained_on_apart(four_streams, tmp_path, capsys):
  trained = config_lib.read(four_streams / "config.json").data
  shutil.copytree(pathlib.Path(trained.dir) / trained.name, tmp_path / trained.name)
  (path,) = tmp_path.glob("*/*/metadata.json")
  metadata = files.read_json(path)
  # Subjects 1 and 3 train, 2 is evaluated, 5 is held out; nine clips of each, in this order.
  files.write_json(path, metadata | {"copies": [[9, 0], [19, 10], [36, 12]]})
  evaluate.main([str(four_streams), "--data", str(tmp_path)])
  printed = capsys.readouterr().out
  found = evaluate_lib.evaluate(four_streams, data_set=tmp_path / trained.name)
  assert found.copies == ("a1_s2_t1", "a1_s2_t2")
  scores = found.scores["joint"]
  kept = ~np.isin(scores.names, found.copies)
  right = (scores.logits.argmax(1) == scores.labels)[kept].mean()
  assert found.figures_without_copies["joint"]["top1"] == pytest.approx(right)
  said = f"2 clips of 27 have the frames of training clips; of the other 25 {100 * right:.2f} % are"
  assert said in printed
  # What another protocol would train on or hold out counts for nothing.
  by_all = evaluate_lib.evaluate(four_streams, data_set=tmp_path / trained.name, protocol="all")
  assert (by_all.trained_on, by_all.copies, by_all.holdout) == (18, found.copies, {})


def test_a_data_set_in_a_renamed_folder_is_still_what_was_trained_on(tiny_data, tmp_path):
  shutil.copytree(tiny_data / "tiny", tmp_path / "data/renamed")
  changes = {"data.name": "renamed", "data.holdout_subjects": (5,), "epochs": 1}
  loop.train(tiny.config(tmp_path / "data", **changes), tmp_path / "run")
  (tmp_path / "data").rename(tmp_path / "moved")
  evaluate.main([str(tmp_path / "run"), "--data", str(tmp_path / "moved"), "--calibrate"])
  assert (tmp_path / "run/calibration.json").exists()  # fitted on whom the run held out
  assert (tmp_path / "run/evaluation_newest").is_dir()


def test_evaluate_says_in_what_other_data_differ(four_streams, tmp_path):
  tiny.prepare(tmp_path, "uncentred", center=None)
  found = evaluate_lib.evaluate(four_streams, data_set=tmp_path / "uncentred")
  assert found.notes == ("clips of uncentred are not centred, those trained on centred at joint 2",)
  workdir = shutil.copytree(four_streams, tmp_path / "run")
  facts = files.read_json(workdir / "model.json")
  files.write_json(workdir / "model.json", facts | {"class_names": facts["class_names"][::-1]})
  with pytest.raises(ConfigError, match="the names of the classes, or their order"):
    evaluate_lib.evaluate(workdir, data_set=tmp_path / "uncentred")


def test_evaluate_of_a_checkpoint_that_is_not_there(four_streams):
  argv = [sys.executable, "-m", "mstgcn_jax", "evaluate", "--workdir", str(four_streams)]
  done = subprocess.run([*argv, "--checkpoint", "7"], capture_output=True, text=True)
  assert done.returncode == 1 and "no checkpoint 7; there are" in done.stderr
  assert "Traceback" not in done.stderr


def test_evaluating_what_is_no_workdir_says_so(tmp_path):
  for path, said in (
    (tmp_path / "none", "none does not exist; expected the workdir of a run"),
    (tmp_path, "is not a workdir of this project"),
  ):
    with pytest.raises(DataError, match=said):
      evaluate.main([str(path)])


def test_evaluating_on_other_data_says_what_does_not_fit(four_streams, tmp_path):
  data = tiny.prepare(tmp_path / "data", "tiny", skeletons.get("ntu_rgbd"))
  argv = ["--workdir", str(four_streams), "--data", str(data)]
  with pytest.raises(ConfigError, match="skeleton: utd_mhad in the run, ntu_rgbd here"):
    evaluate.main(argv)


def test_evaluating_on_the_same_clips_of_other_subjects_is_refused(four_streams, tmp_path):
  data = tiny.prepare(tmp_path / "data", first_subject=2)
  argv = ["--workdir", str(four_streams), "--data", str(data)]
  with pytest.raises(ConfigError, match=r"does not fit .*\(the clip table's column 'subject'\)"):
    evaluate.main(argv)


def test_evaluating_data_prepared_again_or_a_run_of_an_earlier_version(
  four_streams, tmp_path, capsys
):
  workdir = shutil.copytree(four_streams, tmp_path / "run")
  data = tiny.prepare(tmp_path / "data")
  argv = ["--workdir", str(workdir), "--data", str(data)]
  evaluate.main(argv)
  assert "warning" not in capsys.readouterr().out
  facts = json.loads((workdir / "model.json").read_text())
  facts["data"] = {"name": "tiny", "fingerprint": "of the shards' bytes"}
  (workdir / "model.json").write_text(json.dumps(facts))
  evaluate.main(argv)
  assert "is not known: the run is of an earlier version" in capsys.readouterr().out


def test_ensemble_matches_by_name_and_equals_the_runs_own_fusion(four_streams, tmp_path):
  paths = [four_streams / f"scores_{name}.npz" for name in STREAMS]
  shuffled = Scores.load(paths[1])
  order = np.random.default_rng(0).permutation(len(shuffled.names))
  other = tmp_path / "bone.npz"
  Scores(shuffled.names[order], shuffled.labels[order], shuffled.logits[order]).save(other)
  fused = fusion.fuse_runs([paths[0], other, *paths[2:]], [2, 2, 1, 1])
  expected = Scores.load(four_streams / "scores.npz")
  np.testing.assert_array_equal(fused.names, expected.names)
  np.testing.assert_allclose(fused.logits, expected.logits, atol=1e-6)


def test_ensemble_does_not_write_over_what_it_fuses(four_streams):
  before = (four_streams / "scores.npz").read_bytes()
  argv = [str(four_streams), str(four_streams / "scores_bone.npz")]
  with pytest.raises(ConfigError, match="is one of the scores that are fused"):
    ensemble.main([*argv, "--out", str(four_streams / "." / "scores.npz")])
  assert (four_streams / "scores.npz").read_bytes() == before


def test_ensemble_refuses_what_does_not_match(four_streams, tmp_path):
  path = four_streams / "scores_joint.npz"
  scores = Scores.load(path)
  fewer, other, wrong = (tmp_path / f"{name}.npz" for name in ("fewer", "other", "wrong"))
  Scores(scores.names[1:], scores.labels[1:], scores.logits[1:]).save(fewer)
  Scores(scores.names, (scores.labels + 1) % 3, scores.logits).save(other)
  Scores(scores.names, scores.labels, scores.logits[:, :2]).save(wrong)
  with pytest.raises(DataError, match="1 in only one of them"):
    fusion.fuse_runs([path, fewer])
  with pytest.raises(DataError, match="different labels"):
    fusion.fuse_runs([path, other])
  with pytest.raises(DataError, match="has 2 classes"):
    fusion.fuse_runs([path, wrong])
  with pytest.raises(DataError, match="does not exist"):
    fusion.fuse_runs([tmp_path / "none.npz"])
  with pytest.raises(ConfigError, match="1 weight for 2 runs"):
    fusion.fuse_runs([path, path], [1.0])
  for weights in ([float("nan"), 1.0], [float("inf"), 1.0], [0.0, 0.0], [-1.0, 2.0]):
    with pytest.raises(ConfigError, match="expected finite numbers from 0, and one above 0"):
      fusion.fuse_runs([path, path], weights)
  with pytest.raises(ConfigError, match="named twice; to let one count more, give weights"):
    fusion.fuse_runs([path, four_streams / ".." / four_streams.name / path.name])
  names = ("empty", "from_one", "named", "infinite")
  empty, from_one, named, infinite = (tmp_path / f"{name}.npz" for name in names)
  Scores(scores.names, scores.labels, scores.logits + np.inf).save(infinite)
  with pytest.raises(DataError, match=r"infinite\.npz holds scores that are not finite"):
    fusion.fuse_runs([path, infinite])
  Scores(scores.names[:0], scores.labels[:0], scores.logits[:0]).save(empty)
  Scores(scores.names, scores.labels + 1, scores.logits).save(from_one)
  Scores(scores.names, scores.labels.astype(str), scores.logits).save(named)
  with pytest.raises(DataError, match="3 classes and labels from 1 to 3; they count from 0"):
    fusion.fuse_runs([from_one])
  for path_of_none in (empty, named):
    with pytest.raises(DataError, match="holds no clips, or labels or logits that are no numbers"):
      fusion.fuse_runs([path_of_none])
  (tmp_path / "text.npz").write_text("no archive")
  with pytest.raises(DataError, match="is not a scores file; expected") as error:
    fusion.fuse_runs([tmp_path / "text.npz"])
  assert "unsafely" not in str(error.value)  # numpy's advice on what is no archive


def test_an_evaluation_whose_numbers_are_not_finite_says_so(four_streams, monkeypatch):
  scores = Scores(np.array(["a"]), np.array([0]), np.full((1, 3), np.nan))
  found = evaluate_lib.Evaluation({"joint": scores}, ("a", "b", "c"), "tiny", "all")
  monkeypatch.setattr(evaluate_lib, "_evaluate", lambda *_: found)
  with pytest.raises(DataError, match=r"network of step \d+ gives no finite numbers"):
    evaluate_lib.evaluate(four_streams)


def evaluated(classify, data_set, scores):
  """Row of a clip, the clip as the network saw it, and the probabilities that the run gave it."""
  scores = Scores.load(scores)
  (row,) = np.flatnonzero(data_set.table["name"] == scores.names[0]).tolist()
  return row, classify.from_data_set(data_set, row), metrics.softmax(scores.logits[:1])


def test_a_trained_model_is_restored_and_classifies_a_clip(four_streams, tiny_data):
  # The lines of docs/evaluation.md, "Use a trained model".
  classify = Classifier(four_streams, stream="bone")
  data_set = open_data_set(tiny_data / "tiny")
  probabilities = classify(classify.from_data_set(data_set, 0)[None])
  assert classify.class_names[int(probabilities[0].argmax())] in data_set.class_names
  _, clip, expected = evaluated(classify, data_set, four_streams / "scores_bone.npz")
  np.testing.assert_allclose(classify(clip[None]), expected, rtol=1e-4, atol=1e-6)


def test_a_normalised_run_is_classified_as_it_was_evaluated(tiny_data, tmp_path):
  changes = {"data.normalize": True, "epochs": 1, "profile_steps": 0}
  loop.train(tiny.config(tiny_data, **changes), tmp_path / "run")
  classify = Classifier(tmp_path / "run")
  data_set = open_data_set(tiny_data / "tiny")
  _, clip, expected = evaluated(classify, data_set, tmp_path / "run/scores.npz")
  np.testing.assert_allclose(classify(clip[None]), expected, rtol=1e-4, atol=1e-6)


def test_a_workdir_does_not_run_code_unless_trusted(four_streams, tmp_path):
  for name in ("model.json", "config.json"):
    workdir = shutil.copytree(four_streams, tmp_path / name)
    content = json.loads((workdir / name).read_text())
    content["model"]["block_type"] = "antigravity:anything"
    (workdir / name).write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="code of its own, 'antigravity:anything'"):
      evaluate.main(["--workdir", str(workdir)])
  with pytest.raises(ConfigError, match="code of its own, 'antigravity:anything'"):
    checkpoints.load_model(tmp_path / "model.json")
  assert "antigravity" not in sys.modules


def test_a_stream_that_was_not_trained_is_named(four_streams):
  with pytest.raises(ConfigError, match="no stream 'joint\\+bone'; it has joint, bone"):
    checkpoints.load_model(four_streams, stream="joint+bone")
  assert checkpoints.load_variables(four_streams, streams=("bone",))[0].keys() == {"bone"}


def test_classifier_takes_the_frames_and_views_that_evaluation_took(tiny_data, tmp_path):
  # Windows of 8 of clips of up to 23 frames: uniform samples and the central crop differ.
  changes = {"data.sampling": "uniform", "data.window": 8, "data.views": 3, "epochs": 1}
  loop.train(tiny.config(tiny_data, **changes), tmp_path / "run")
  classify = Classifier(tmp_path / "run")
  data_set = open_data_set(tiny_data / "tiny")
  row, clip, expected = evaluated(classify, data_set, tmp_path / "run/scores.npz")
  assert clip.shape == (3, 1, 8, 20, 3)
  np.testing.assert_array_equal(classify.from_recording(data_set.read([row])[0]), clip)
  # Scores of several views are the log of their mean probability.
  np.testing.assert_allclose(classify(clip[None]), expected, rtol=1e-4, atol=1e-6)
  views = np.asarray(classify(clip))
  np.testing.assert_allclose(views.mean(0), expected[0], rtol=1e-4, atol=1e-6)
  assert np.ptp(views, axis=0).max() > 1e-3


def test_best_is_the_checkpoint_of_the_highest_accuracy(four_streams):
  with checkpoints.make_manager(four_streams, read_only=True) as manager:
    steps = {step: manager.metrics(step)["top1"] for step in manager.all_steps()}
    assert steps[checkpoints.checkpoint_step(manager, "best")] == max(steps.values())


def test_warm_start_keeps_what_is_named_fresh_and_names_what_does_not_fit(four_streams, tiny_data):
  from mstgcn_jax.training.experiment import set_up

  config = tiny.config(tiny_data)
  model_config = set_up(config).model_config
  _, params, stats = train_step.split_model(MSTGCN(model_config, rngs=nnx.Rngs(1)))
  saved, _ = checkpoints.load_variables(four_streams)
  new, _ = checkpoints.warm_start(four_streams, "joint", params, stats, ignore=("classifier",))
  kernel = next(iter(params["classifier"]))
  assert new["classifier"][kernel] is params["classifier"][kernel]
  np.testing.assert_array_equal(
    new["blocks"][0]["spatial"]["body"]["conv"]["weight"],
    saved["joint"]["params"]["blocks"]["0"]["spatial"]["body"]["conv"]["weight"],
  )
  other, _ = checkpoints.warm_start(four_streams, "bone", params, stats)
  np.testing.assert_array_equal(
    other["classifier"][kernel], saved["bone"]["params"]["classifier"][kernel]
  )
  with pytest.raises(ConfigError, match=r"has no stream 'knee'; it has joint, bone, joint_motion"):
    checkpoints.warm_start(four_streams, "knee", params, stats)
  params["classifier"][kernel] = np.zeros((2, 2), np.float32)
  with pytest.raises(ConfigError, match=rf"classifier\.{kernel} is .* the model has \(2, 2\)"):
    checkpoints.warm_start(four_streams, "joint", params, stats)
  ignore = ("classifier", "no_such_tensor")
  with pytest.raises(ConfigError, match="no tensor's path contains 'no_such_tensor'"):
    checkpoints.warm_start(four_streams, "joint", params, stats, ignore=ignore)


def test_several_seeds_end_with_mean_and_deviation(tiny_data, tmp_path, capsys):
  results = loop.train(tiny.config(tiny_data, epochs=1, seeds=(0, 1)), tmp_path / "run")
  printed = capsys.readouterr().out
  assert "top-1 over seeds (0, 1)" in printed and "±" in printed
  seeds = [Scores.load(tmp_path / f"run/seed_{i}/scores.npz") for i in (0, 1)]
  top1 = [100 * metrics.top_k(scores.logits, scores.labels) for scores in seeds]
  summary = json.loads((tmp_path / "run/seeds.json").read_text())["top1"]["joint"]
  assert summary["of_seeds"] == pytest.approx(top1)
  assert summary["mean"] == pytest.approx(np.mean(top1))
  assert 100 * results["joint"]["top1"] == pytest.approx(np.mean(top1))
  losses = [metrics.loss(scores.logits, scores.labels) for scores in seeds]  # top-1 may be equal
  assert losses[0] != losses[1] and results["joint"]["loss"] == pytest.approx(np.mean(losses))
  with pytest.raises(DataError, match=r"not a workdir .*take one of .*seed_0, .*seed_1"):
    checkpoints.load_variables(tmp_path / "run")
  a, b = (checkpoints.load_variables(tmp_path / f"run/seed_{i}")[0]["joint"] for i in (0, 1))
  assert np.any(a["params"]["classifier"]["bias"] != b["params"]["classifier"]["bias"])
