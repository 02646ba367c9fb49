"""Calibration: the expected error of Guo et al. (2017), temperatures, who fits and uses them."""

import dataclasses

import numpy as np
import pytest
import tiny

from mstgcn_jax.commands import evaluate as command
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.evaluation import calibration, metrics
from mstgcn_jax.evaluation.scores import Scores
from mstgcn_jax.training import loop
from mstgcn_jax.use.evaluate import Evaluation, evaluate
from mstgcn_jax.use.predict import Predictor


def logits_of(confidences):
  """Two classes, of which the first has these probabilities."""
  p = np.asarray(confidences, np.float64)
  return np.log(np.stack([p, 1 - p], axis=1))


def test_the_expected_calibration_error_is_that_of_the_bins_by_hand():
  # Bins of 1/15: 0.91 and 0.92 lie in (0.8667, 0.9333], one of two right: |0.5 - 0.915| = 0.415.
  # 0.61 and 0.62 lie in (0.6, 0.6667], both right: |1 - 0.615| = 0.385. Mean over four clips.
  logits = logits_of([0.91, 0.92, 0.61, 0.62])
  error = calibration.expected_calibration_error(logits, np.array([0, 1, 0, 0]))
  assert error == pytest.approx((2 * 0.415 + 2 * 0.385) / 4)


def test_a_confidence_on_the_edge_belongs_to_the_bin_below_it():
  # 0.8 is the upper edge of (0.7333, 0.8], so it is not with 0.81; alone each is off by itself.
  logits = np.log(np.array([[0.8, 0.2], [0.81, 0.19]]))
  logits[0] = [0, -np.log(4)]  # exactly 0.8
  error = calibration.expected_calibration_error(logits, np.array([0, 1]))
  assert error == pytest.approx((0.2 + 0.81) / 2)


def test_bins_are_fifteenths_and_hold_their_upper_edges():
  found = calibration.reliability(np.array([0.0, 0.6, 0.61, 0.68, 1.0]), np.ones(5, bool))
  assert len(found.count) == 15 and np.flatnonzero(found.count).tolist() == [0, 8, 9, 10, 14]


def test_the_temperature_gives_the_confidence_that_the_clips_bear_out():
  # 75 of 100 are right at logits 0, -4: the likelihood is highest where 4 / T = log(0.75 / 0.25).
  logits = np.tile([0.0, -4.0], (100, 1))
  labels = np.repeat([0, 1], [75, 25])
  temperature = calibration.fit_temperature(logits, labels)
  assert temperature == pytest.approx(4 / np.log(3), rel=1e-6)
  assert calibration.apply(logits, temperature)[0, 0] == pytest.approx(0.75)


def test_clips_without_a_mistake_and_clips_all_wrong_do_not_lead_beyond_bounds():
  logits = np.tile([0.0, -4.0], (10, 1))
  assert calibration.fit_temperature(logits, np.zeros(10, int)) == 1
  assert calibration.fit_temperature(logits, np.ones(10, int)) == pytest.approx(10)
  # 99 of 100 are right at logits 0, -0.1: unbounded, 0.1 / T would be log(99), T 0.02.
  logits, labels = np.tile([0.0, -0.1], (100, 1)), np.repeat([0, 1], [99, 1])
  assert calibration.fit_temperature(logits, labels) == pytest.approx(0.1)


@pytest.fixture(scope="module")
def held_out(tiny_data, tmp_path_factory):
  """A tiny run of two streams with a subject held out of training."""
  workdir = tmp_path_factory.mktemp("held_out") / "run"
  changes = {"data.holdout_subjects": (5,), "streams": ("joint", "bone")}
  loop.train(tiny.config(tiny_data, **changes), workdir)
  return workdir


def test_evaluate_reports_the_error_and_writes_temperatures_that_predict_uses(held_out, capsys):
  assert command.main([str(held_out), "--calibrate"]) == 0
  printed = capsys.readouterr().out
  assert printed.count("(expected error, 15 bins)") == 4  # two streams, two fusions
  assert "temperatures fitted on 9 held-out clips of subject 5" in printed
  result = evaluate(held_out)
  fitted = calibration.load(held_out)
  assert fitted.step == result.step and set(fitted.temperatures) == {"joint", "bone", "fused_equal"}
  held = result.holdout["fused_equal"]
  assert fitted.temperatures["fused_equal"] == calibration.fit_temperature(held.logits, held.labels)
  error = result.figures["joint"]["calibration_error"]
  assert error == calibration.expected_calibration_error(
    result.scores["joint"].logits, result.scores["joint"].labels
  )

  predictor = Predictor(held_out)
  assert "temperature" in predictor.calibrated and "of subject 5" in predictor.calibrated
  clip = predictor.classifier.from_recording(tiny.read((0, 1, 2), 20).persons)
  one = [np.asarray(c(clip[None])) for c in predictor._classifiers.values()]
  fused = metrics.fuse([np.log(p) for p in one])
  expected = calibration.apply(fused, fitted.temperatures["fused_equal"])
  np.testing.assert_allclose(predictor.probabilities([clip]), expected, atol=1e-6)


def test_the_runs_own_protocol_may_be_named(held_out):
  assert evaluate(held_out, protocol="cross_subject").calibrate() == evaluate(held_out).calibrate()


def test_other_data_has_no_held_out_subjects_and_a_folder_of_its_own(held_out, tmp_path):
  calibrated = (held_out / "calibration.json").read_bytes()
  for name in ("other", "third"):
    tiny.prepare(tmp_path, name, first_subject=1 if name == "other" else 2)
    argv = [str(held_out), "--data", str(tmp_path), "--data-name", name]
    assert command.main(argv) == 0
    with pytest.raises(ConfigError, match="this run has none"):
      command.main([*argv, "--calibrate"])
  folders = sorted(path.name for path in held_out.glob("evaluation_*"))
  expected = [f"evaluation_newest_{name}_cross_subject" for name in ("other", "third")]
  assert folders == ["evaluation_newest", *expected]
  assert (held_out / "calibration.json").read_bytes() == calibrated


def test_temperatures_of_another_step_are_not_used(held_out):
  calibration.Calibration({"joint": 2.0}, 999, "nothing").save(held_out)
  predictor = Predictor(held_out, stream="joint")
  assert predictor.temperature == 1 and "is for step 999" in predictor.calibrated


def test_without_held_out_subjects_nothing_is_fitted(tiny_data, tmp_path):
  run = tmp_path / "a run"
  loop.train(tiny.config(tiny_data, epochs=1), run)
  with pytest.raises(ConfigError, match="this run has none; train with"):
    evaluate(run).calibrate()
  assert Predictor(run).calibrated == (
    f"probabilities are not calibrated: mstgcn evaluate '{run}' --calibrate does it, where the run "
    "held training subjects out"
  )


def test_of_fresh_weights_nothing_is_fitted():
  scores = {"joint": Scores(np.array(["x", "y"]), np.array([0, 1]), np.eye(2))}
  found = Evaluation(scores, ("a", "b"), "mine", "all", holdout=scores, holdout_subjects=(5,))
  with pytest.raises(ConfigError, match="this run has none"):
    found.calibrate()
  assert dataclasses.replace(found, step=7).calibrate().step == 7


@pytest.mark.parametrize(
  "text",
  [
    *("{", "[]", "[" * 100_000),
    '{"temperatures": {"joint": -1}, "step": 1, "fitted_on": "9 clips"}',
    '{"temperatures": {"joint": 1}, "step": Infinity, "fitted_on": "9 clips"}',
    '{"temperatures": {"joint": 99}, "step": 1, "fitted_on": "9 clips"}',
    '{"temperatures": [1], "step": 1, "fitted_on": "9 clips"}',
    '{"temperatures": {"joint": 1}, "step": 1}',
  ],
)
def test_a_damaged_calibration_is_named(tmp_path, text):
  (tmp_path / "calibration.json").write_text(text)
  with pytest.raises(DataError, match=r"calibration\.json"):
    calibration.load(tmp_path)


def test_a_temperature_is_of_one_stream_at_one_step(tmp_path):
  calibration.Calibration({"joint": 2.0}, 12, "9 held-out clips").save(tmp_path)
  at = lambda name, step: calibration.of_run(tmp_path, name, step)[0]
  assert (at("joint", 12), at("bone", 12), at("joint", 6), at("joint", 18)) == (2, 1, 1, 1)
