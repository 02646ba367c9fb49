"""Accuracies worked out by hand."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from matplotlib.image import imread

from mstgcn_jax.errors import DataError
from mstgcn_jax.evaluation import fusion, metrics, plots, report
from mstgcn_jax.evaluation.scores import Scores
from mstgcn_jax.use.evaluate import Evaluation

LOGITS = np.asarray([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 5.0, 1.0], [1.0, 0.0, 4.0]])
LABELS = np.asarray([0, 1, 2, 2])


def test_accuracies():
  assert metrics.top_k(LOGITS, LABELS) == 0.75
  assert metrics.top_k(LOGITS, LABELS, 2) == 1.0
  np.testing.assert_allclose(metrics.per_class(LOGITS, LABELS), [1, 1, 0.5])
  assert metrics.summarize(LOGITS, LABELS)["mean_class"] == pytest.approx(2.5 / 3)


def test_a_model_that_says_nothing_is_not_right():
  assert metrics.top_k(np.zeros((4, 10)), np.zeros(4, int)) == 0
  assert metrics.top_k(np.zeros((4, 10)), np.zeros(4, int), 5) == 0
  assert metrics.top_k(np.zeros((4, 10)), np.zeros(4, int), 6) == 1  # five of nine ties count


def test_top_1_and_the_confusion_matrix_agree_on_ties():
  logits = np.asarray([[0.0, 0.0, 0.0], [2.0, 2.0, 1.0], [1.0, 3.0, 3.0], [5.0, 0.0, 0.0]])
  labels = np.asarray([0, 1, 1, 0])  # the right class leads in the last only
  matrix = metrics.confusion_matrix(logits, labels)
  np.testing.assert_array_equal(matrix, [[1, 1, 0], [1, 0, 1], [0, 0, 0]])
  assert metrics.top_k(logits, labels) == np.trace(matrix) / 4
  assert np.trace(metrics.confusion_matrix(np.zeros((3, 3)), np.arange(3))) == 0
  assert np.trace(metrics.confusion_matrix(np.full((3, 3), np.nan), np.arange(3))) == 0


def test_scores_that_are_not_numbers_are_not_right():
  assert metrics.top_k(np.full((4, 10), np.nan), np.zeros(4, int), 5) == 0


def test_a_class_without_clips_does_not_count(recwarn):
  assert metrics.summarize(LOGITS[:2], LABELS[:2])["mean_class"] == 1
  assert not recwarn.list  # of a division by 0 clips, which a command would print


def test_loss_of_equal_scores_is_the_logarithm_of_the_classes():
  assert metrics.loss(np.zeros((2, 3)), np.asarray([0, 2])) == pytest.approx(np.log(3))


def test_loss_and_probabilities_by_hand_and_far_from_zero():
  p = np.asarray([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]])
  for offset in (0, 1000, -1000):
    np.testing.assert_allclose(metrics.softmax(np.log(p) + offset), p, rtol=1e-9)
    loss = metrics.loss(np.log(p) + offset, np.asarray([1, 0]))
    assert loss == pytest.approx((-np.log(0.2) - np.log(0.5)) / 2)
  # As the network gives them; small shares are summed over streams, and compared.
  assert metrics.softmax(np.log(p).astype(np.float32)).dtype == np.float64


def test_a_summary_and_its_words():
  logits = np.tile(np.arange(6.0, 0, -1), (6, 1))  # clip i has rank i
  labels = np.arange(6)
  figures = metrics.summarize(logits, labels)
  log_sum = np.log(np.exp(np.arange(1.0, 7)).sum())
  assert figures == pytest.approx(
    {"loss": log_sum - 3.5, "top1": 1 / 6, "top5": 5 / 6, "mean_class": 1 / 6}
  )
  assert metrics.in_words(figures, 6) == "top-1 16.67 %, top-5 83.33 %, mean class 16.67 %"
  assert metrics.in_words(figures, 5) == "top-1 16.67 %, mean class 16.67 %"


def test_accuracies_per_class_are_of_the_stream_that_is_named():
  of = lambda logits: Scores(np.array(["x", "y"]), np.array([0, 1]), np.asarray(logits, float))
  scores = {"joint": of(np.eye(2)), "bone": of([[0, 1], [0, 1]]), "fused_equal": of(np.eye(2))}
  run = Evaluation(scores, ("a", "b"), "mine", "all")
  assert run.per_class() == {"a": 1, "b": 1} and run.per_class("bone") == {"a": 0, "b": 1}
  # Of no clips there are no figures.
  copied = lambda *names: Evaluation(scores, ("a", "b"), "mine", "all", copies=names)
  assert copied("x").figures_without_copies["bone"]["top1"] == 1
  assert copied("x", "y").figures_without_copies == {}


def test_labels_of_small_integers_are_counted(tmp_path):
  labels = np.arange(60, dtype=np.uint8)
  Scores(labels.astype(str), labels, np.eye(60)).save(tmp_path / "scores.npz")
  scores = Scores.load(tmp_path / "scores.npz")
  assert np.trace(metrics.confusion_matrix(scores.logits, scores.labels)) == 60


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    *(({"logits": logits}, "differ in length") for logits in (np.eye(3), np.zeros(2))),
    *(({"labels": labels}, "differ in length") for labels in (np.asarray([0]), np.asarray(0))),
    *(({"names": names}, "differ in length") for names in (np.asarray("a"), np.asarray([["a"]]))),
    ({"labels": np.asarray([-1, 0])}, "2 classes and labels from -1 to 0"),
    ({"labels": np.asarray([0, 2])}, "2 classes and labels from 0 to 2"),
  ],
)
def test_scores_that_contradict_themselves_are_named(tmp_path, changes, said):
  whole = Scores(np.asarray(["a", "b"]), np.arange(2), np.eye(2))
  dataclasses.replace(whole, **changes).save(tmp_path / "scores.npz")
  with pytest.raises(DataError, match=said):
    Scores.load(tmp_path / "scores.npz")


def test_scores_of_clips_of_one_class_are_read(tmp_path):
  for label in (0, 1):
    Scores(np.asarray(["a", "b"]), np.full(2, label), np.eye(2)).save(tmp_path / "scores.npz")
    assert Scores.load(tmp_path / "scores.npz").labels.tolist() == [label, label]


def test_a_stream_of_weight_0_has_no_say_and_one_of_other_clips_is_named(tmp_path):
  first, second, third = (tmp_path / f"{name}.npz" for name in ("first", "second", "third"))
  names = np.asarray(["a", "b"])
  Scores(names, np.arange(2), np.log([[0.7, 0.3], [0.4, 0.6]])).save(first)
  Scores(names, np.arange(2), np.log([[0.1, 0.9], [0.8, 0.2]])).save(second)
  Scores(np.asarray(["a", "c"]), np.arange(2), np.eye(2)).save(third)
  fused = fusion.fuse_runs([first, second], [1.0, 0.0])
  np.testing.assert_allclose(fused.logits, np.log([[0.7, 0.3], [0.4, 0.6]]))
  with pytest.raises(DataError, match=r"third\.npz and .*first\.npz do not hold the same clips"):
    fusion.fuse_runs([first, second, third])


def test_scores_whose_names_repeat_are_not_fused(tmp_path):
  one, twice = tmp_path / "one.npz", tmp_path / "twice.npz"
  Scores(np.asarray(["a", "b"]), np.arange(2), np.eye(2)).save(one)
  Scores(np.asarray(["a", "b", "b"]), np.asarray([0, 1, 1]), np.eye(2)[[0, 1, 1]]).save(twice)
  for paths in ([twice, one], [one, twice]):
    with pytest.raises(DataError, match=r"twice.*clip names repeat"):
      fusion.fuse_runs(paths)


def test_class_names_are_no_formulas_and_of_any_alphabet(tmp_path, recwarn):
  names = ("give_$5_or_$10", "挥手")
  plots.confusion_matrix(np.eye(2), names, tmp_path / "matrix.png", title="x")
  assert (tmp_path / "matrix.png").stat().st_size and not recwarn.list


def test_a_title_wider_than_the_picture_of_few_classes_is_whole(tmp_path):
  path = tmp_path / "matrix.png"
  plots.confusion_matrix(np.eye(2), ("a", "b"), path, title="own_recordings, cross_subject " * 3)
  pixels = imread(path)[..., :3]
  assert (pixels[:, [0, -1]] == 1).all()  # nothing is cut at the sides


def test_a_picture_of_many_classes_numbers_them_from_0_as_all_else_does(tmp_path, monkeypatch):
  drawn = []
  monkeypatch.setattr(plots, "_save", lambda figure, path: drawn.append(figure))
  plots.confusion_matrix(np.eye(31), [f"c{i}" for i in range(31)], tmp_path / "m.png", title="x")
  axes = drawn[0].axes[0]
  assert [label.get_text() for label in axes.get_xticklabels()][:2] == ["0", "5"]
  assert axes.get_ylabel() == "true (class number, from 0)"
  plots.confusion_matrix(np.eye(1000), ["x"] * 1000, tmp_path / "m.png", title="x")
  assert len(drawn[1].axes[0].get_xticklabels()) <= 24  # side by side, and drawn in a second


def test_confusions():
  matrix = metrics.confusion_matrix(LOGITS, LABELS)
  np.testing.assert_array_equal(matrix, [[1, 0, 0], [0, 1, 0], [0, 1, 1]])
  assert metrics.most_confused(matrix) == [(2, 1, 1)]


def test_the_most_confused_come_first_and_equals_in_their_order():
  matrix = np.asarray([[9, 1, 0, 3], [0, 9, 1, 0], [2, 1, 9, 0], [0, 0, 0, 9]])
  found = [(0, 3, 3), (2, 0, 2), (0, 1, 1), (1, 2, 1), (2, 1, 1)]
  assert metrics.most_confused(matrix) == found
  assert metrics.most_confused(matrix, 2) == found[:2]


def test_the_middle_half_of_the_resampled_figures():
  # Normal: 0.8 ± 0.674 · 0.04, and of the mean of two classes of 100 ± 0.674 · 0.0283.
  labels = np.repeat([0, 1], 100)
  right = np.tile(np.repeat([True, False], [80, 20]), 2)
  logits = np.eye(2)[np.where(right, labels, 1 - labels)]
  one = metrics.bootstrap_interval(right[:100].astype(float), level=0.5, resamples=20_000)
  two = metrics.bootstrap_mean_class(logits, labels, level=0.5, resamples=20_000)
  assert one == pytest.approx((0.8 - 0.027, 0.8 + 0.027), abs=0.006)  # a clip is 0.01
  assert two == pytest.approx((0.8 - 0.019, 0.8 + 0.019), abs=0.004)


def test_where_all_clips_are_right_the_mean_class_is_certain(recwarn):
  assert metrics.bootstrap_mean_class(np.eye(3), np.arange(3)) == (1, 1)
  # Classes without clips, in between and behind, do not count.
  assert metrics.bootstrap_mean_class(np.eye(5)[[0, 2]], np.asarray([0, 2])) == (1, 1)
  assert not recwarn.list


def test_bootstrap_interval_of_a_share():
  right = np.repeat([0.0, 1.0], [20, 80])
  low, high = metrics.bootstrap_interval(right)
  # Binomial: 0.8 ± 1.96 · 0.04; the resampling's own error is below 0.01.
  assert low == pytest.approx(0.8 - 0.078, abs=0.015)
  assert high == pytest.approx(0.8 + 0.078, abs=0.015)


def test_bootstrap_interval_of_more_values_than_two():
  # Normal: each value a third, so that the variance is 2 / 3: ±1.96 · sqrt(2 / 3 / 600) = 0.0653;
  # the resampling's own error is below 0.01.
  low, high = metrics.bootstrap_interval(np.tile([-1.0, 0, 1], 200))
  assert (low, high) == pytest.approx((-0.0653, 0.0653), abs=0.01)
  # One thing is drawn for values in any order.
  assert metrics.bootstrap_interval(np.repeat([-1.0, 0, 1], 200)) == (low, high)


def test_bootstrap_of_the_mean_class_is_wider_than_nothing_and_around_the_mean():
  rng = np.random.default_rng(0)
  labels = np.repeat(np.arange(3), 50)
  logits = np.eye(3)[labels] + rng.normal(0, 0.8, (150, 3))
  mean = np.mean(metrics.per_class(logits, labels))
  low, high = metrics.bootstrap_mean_class(logits, labels)
  assert low < mean < high < low + 0.25


def test_the_mean_class_of_one_clip_a_class_is_uncertain():
  # Two clips drawn of two, one right: both are the right one in a quarter of the draws, as are
  # both the wrong one, so that 95 % of the means lie in nothing narrower than 0 to 1.
  assert metrics.bootstrap_mean_class(np.asarray([[1.0, 0], [1, 0]]), np.asarray([0, 1])) == (0, 1)


def test_fusion_adds_softmax_scores():
  a, b = np.log([[0.6, 0.4]]), np.log([[0.1, 0.9]])
  np.testing.assert_allclose(np.exp(metrics.fuse([a, b])), [[0.35, 0.65]])
  np.testing.assert_allclose(np.exp(metrics.fuse([a, b], [3, 1])), [[0.475, 0.525]])


def test_fitted_weights_find_the_stream_that_knows():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 4, 200)
  good, noise = 4 * np.eye(4)[labels], 4 * np.eye(4)[rng.integers(0, 4, 200)]
  weights = metrics.fit_weights([noise, good], labels)
  assert weights[1] > 0.5 and weights.sum() == pytest.approx(1)


def test_fitted_weights_are_eighths_and_the_best_of_all():
  # Right: the first clip where w > 0.538 of the first stream, the second where w < 0.692.
  first, second = np.log([[0.8, 0.2], [0.3, 0.7]]), np.log([[0.15, 0.85], [0.95, 0.05]])
  labels = np.asarray([0, 0])
  np.testing.assert_array_equal(metrics.fit_weights([first, second], labels), [5 / 8, 3 / 8])
  # An answer more that is right outweighs any cross-entropy: the first clip is right where w > 0.27
  # of the first stream, the others, of which it is sure and wrong, are lost by any w.
  first = np.log([[0.8, 0.2], [0.001, 0.999], [0.001, 0.999]])
  second = np.log([[0.39, 0.61], [0.45, 0.55], [0.45, 0.55]])
  weights = metrics.fit_weights([first, second], np.asarray([0, 0, 0]))
  np.testing.assert_array_equal(weights, [3 / 8, 5 / 8])
  # Where one stream alone is best it gets all, first or last.
  sure, wrong = np.log([[0.9, 0.1]]), np.log([[0.1, 0.9]])
  for streams in ([sure, wrong, wrong], [wrong, sure, wrong], [wrong, wrong, sure]):
    weights = metrics.fit_weights(streams, np.asarray([0]))
    np.testing.assert_array_equal(weights, [float(stream is sure) for stream in streams])


def test_fusing_streams_holds_a_few_of_them_at_a_time():
  streams = [np.zeros((500, 100), np.float32)] * 20
  one = 500 * 100 * 8  # as float64
  tracemalloc.start()
  try:
    metrics.fuse(streams)
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert peak < 8 * one


def test_fusion_wants_a_weight_a_stream_and_stays_finite():
  sure = np.asarray([[1e4, -1e4]])
  assert np.isfinite(metrics.fuse([sure, sure])).all()
  with pytest.raises(ValueError, match="weights"):
    metrics.fuse([sure, sure], [1.0])


def test_axes_of_a_run_of_one_step_begin_at_0(tmp_path, monkeypatch):
  figures = []
  monkeypatch.setattr(plots, "_save", lambda fig, path: figures.append(fig))
  names = ("step", "epoch", "loss", "top1", "learning_rate")
  one = {name: np.asarray([1.0]) for name in names}
  curves = {("train", "joint"): one, ("eval", "joint"): one}
  plots.learning_curves(curves, tmp_path / "curves.png", title="x")
  plots.curves_of_several({"ours": [curves]}, tmp_path / "curves.png")
  axes = [ax for fig in figures for ax in fig.axes]
  assert len(axes) == 4
  assert all(ax.get_xlim()[0] == ax.get_ylim()[0] == 0 for ax in axes)
  assert all(ax.get_xlim()[1] > 1 for ax in axes)


def test_steps_are_epochs_of_the_length_that_they_had():
  # Epochs of 6 steps, two of them evaluated; then of 3, of which step 15 is the end of the fifth.
  evaluated = {"step": np.array([6.0, 12.0, 15.0]), "epoch": np.array([1.0, 2.0, 5.0])}
  epochs = plots.epochs({("eval", "joint"): evaluated}, np.array([3.0, 6.0, 9.0, 15.0, 18.0]))
  assert epochs.tolist() == [0.5, 1, 1.5, 5, 6]


def test_of_many_classes_a_screen_shows_the_worst_and_the_report_all():
  names = [f"class {i}" for i in range(60)]
  labels = np.arange(60)
  logits = np.eye(60)
  logits[7] = np.eye(60)[8]  # 7 is taken for 8
  whole, shown = report.as_text(Scores(labels.astype(str), labels, logits), names)
  table = lambda text: text.split("top-1\n")[1].partition("\n\nmost confused")
  assert [line.split("  ")[0] for line in table(whole)[0].splitlines()] == [
    "class 7",
    *names[:7],
    *names[8:],
  ]
  assert table(shown)[0].splitlines() == [
    *table(whole)[0].splitlines()[:10],
    "… report.txt lists all classes",
  ]
  assert table(shown)[2] == table(whole)[2]
