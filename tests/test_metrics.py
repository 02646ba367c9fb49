"""Accuracies worked out by hand."""

import numpy as np
import pytest

from mstgcn_jax import metrics

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


def test_a_class_without_clips_does_not_count():
  assert metrics.summarize(LOGITS[:2], LABELS[:2])["mean_class"] == 1


def test_loss_of_equal_scores_is_the_logarithm_of_the_classes():
  assert metrics.loss(np.zeros((2, 3)), np.asarray([0, 2])) == pytest.approx(np.log(3))


def test_confusions():
  matrix = metrics.confusion_matrix(LOGITS, LABELS)
  np.testing.assert_array_equal(matrix, [[1, 0, 0], [0, 1, 0], [0, 1, 1]])
  assert metrics.most_confused(matrix) == [(2, 1, 1)]


def test_bootstrap_interval_of_a_share():
  right = np.repeat([0.0, 1.0], [20, 80])
  low, high = metrics.bootstrap_interval(right)
  # Binomial: 0.8 ± 1.96 · 0.04; the resampling's own error is below 0.01.
  assert low == pytest.approx(0.8 - 0.078, abs=0.015)
  assert high == pytest.approx(0.8 + 0.078, abs=0.015)


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
