"""Batches are pure functions of their number, whoever asks for them."""

import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest
from prepared import prepare, random_clips

from mstgcn_jax import input_pipeline
from mstgcn_jax.data_set import open_data_set
from mstgcn_jax.errors import ConfigError, DataError

INDICES = np.arange(3, 40)  # 37 clips: 4 batches of 8 an epoch, 5 clips left over
SHAPE = {"window": 12, "num_persons": 2}


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
  return prepare(tmp_path_factory.mktemp("data"), random_clips(43))


def train(data_set, count, **changes):
  arguments = {"batch_size": 8, "seed": 5, **SHAPE, **changes}
  batches = input_pipeline.train_batches(data_set, INDICES, **arguments)
  taken = list(itertools.islice(batches, count))
  batches.close()
  return taken


def evaluate(data_set, **changes):
  return list(input_pipeline.eval_batches(data_set, INDICES, **{"batch_size": 8} | SHAPE | changes))


def assert_same(a, b):
  assert a.keys() == b.keys()
  for key in a:
    np.testing.assert_array_equal(a[key], b[key])


def test_a_batch_has_the_promised_shapes_and_types(data_set):
  (batch,) = train(data_set, 1)
  assert batch["clips"].shape == (8, 2, 12, 25, 3) and batch["clips"].dtype == np.float32
  assert batch["label"].shape == (8,) and batch["label"].dtype == np.int32
  assert batch["index"].shape == (8,) and batch["index"].dtype == np.int32
  np.testing.assert_array_equal(batch["label"], data_set.table["label"][batch["index"]])


def test_clips_are_looped_and_centred(data_set):
  (batch,) = train(data_set, 1)
  for clip, row in zip(batch["clips"], batch["index"], strict=True):
    np.testing.assert_array_equal(clip, data_set.sample(row, 12))


@pytest.mark.parametrize("sampling", ["loop", "uniform", "random_shift"])
def test_people_whom_the_model_does_not_see_do_not_decide_what_it_sees(tmp_path, sampling):
  first, second = random_clips(2, frames=(20, 21)), random_clips(2, seed=1, frames=(100, 101))
  both = [
    dataclasses.replace(one, persons=[one.persons[0], two.persons[0]])
    for one, two in zip(first, second, strict=True)
  ]
  alone = [dataclasses.replace(one, persons=one.persons[:1]) for one in first]
  clips = []
  for name, content in (("alone", alone), ("both", both)):
    data_set = prepare(tmp_path / name, content)
    shape = {"batch_size": 2, "window": 64, "num_persons": 1, "sampling": sampling}
    trained = input_pipeline.train_batches(data_set, [0, 1], **shape, seed=0)
    evaluated = input_pipeline.eval_batches(data_set, [0, 1], **shape)
    clips.append([next(trained)["clips"], next(evaluated)["clips"]])
    trained.close()
    np.testing.assert_array_equal(clips[-1][1][0], data_set.sample(0, 64, 1, sampling))
  np.testing.assert_array_equal(*clips)


def test_an_epoch_shows_no_clip_twice_and_the_next_another_order(data_set):
  batches = train(data_set, 8)
  epochs = [np.concatenate([b["index"] for b in batches[i : i + 4]]) for i in (0, 4)]
  for epoch in epochs:
    assert len(set(epoch.tolist())) == 32
    assert set(epoch.tolist()) <= set(INDICES.tolist())
  assert epochs[0].tolist() != epochs[1].tolist()


@pytest.mark.parametrize("sampling", ["loop", "random_crop", "random_shift", "uniform"])
def test_resuming_repeats_and_skips_nothing(data_set, sampling):
  whole = train(data_set, 7, sampling=sampling)
  resumed = train(data_set, 3, sampling=sampling, first_step=4)
  for a, b in zip(whole[4:], resumed, strict=True):
    assert_same(a, b)


def test_another_seed_gives_other_batches(data_set):
  (a,), (b,) = train(data_set, 1), train(data_set, 1, seed=6)
  assert a["index"].tolist() != b["index"].tolist()


def test_random_sampling_differs_from_epoch_to_epoch(data_set):
  batches = train(data_set, 8, sampling="random_crop", window=4)
  seen = {}
  for batch in batches:
    for clip, row in zip(batch["clips"], batch["index"].tolist(), strict=True):
      seen.setdefault(row, []).append(clip)
  pairs = [clips for clips in seen.values() if len(clips) == 2]
  assert any(not np.array_equal(*pair) for pair in pairs)


@pytest.mark.parametrize("sampling", ["loop", "random_crop"])
def test_processes_see_the_slices_of_the_batch_that_one_would(data_set, sampling):
  whole = train(data_set, 5, sampling=sampling)
  parts = [
    train(data_set, 5, sampling=sampling, process_index=i, process_count=4) for i in range(4)
  ]
  for step, batch in enumerate(whole):
    assert_same(batch, {key: np.concatenate([part[step][key] for part in parts]) for key in batch})


@pytest.mark.parametrize("batch_size", [1, 7, 8, 37, 64])
@pytest.mark.parametrize("views", [1, 3])
def test_evaluation_covers_every_clip_exactly_once_a_view(data_set, batch_size, views):
  batches = evaluate(data_set, batch_size=batch_size, views=views, sampling="uniform")
  valid = np.concatenate([batch["valid"] for batch in batches])
  index = np.concatenate([batch["index"] for batch in batches])
  assert len(valid) % batch_size == 0
  assert index[valid].tolist() == np.repeat(INDICES, views).tolist()
  assert (index[~valid] == -1).all()


def test_padding_is_empty_and_masked(data_set):
  last = evaluate(data_set)[-1]
  assert last["valid"].tolist() == [True] * 5 + [False] * 3
  assert not last["clips"][5:].any() and not last["label"][5:].any()


def test_evaluation_processes_get_equally_many_batches(data_set):
  whole = evaluate(data_set)
  parts = [evaluate(data_set, process_index=i, process_count=4) for i in range(4)]
  assert {len(part) for part in parts} == {len(whole)}
  for step, batch in enumerate(whole):
    assert_same(batch, {key: np.concatenate([part[step][key] for part in parts]) for key in batch})


def test_views_show_a_clip_differently(data_set):
  batch = evaluate(data_set, views=2, sampling="uniform", window=4)[0]
  assert batch["index"][0] == batch["index"][1]
  assert not np.array_equal(batch["clips"][0], batch["clips"][1])


def test_too_few_clips_for_a_batch_names_both_numbers(data_set):
  with pytest.raises(ConfigError, match="37 training clips do not fill one batch of 64"):
    train(data_set, 1, batch_size=64)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"sampling": "zoom"}, "sampling 'zoom' is unknown"),
    ({"window": 0}, "window=0: expected 1 or more"),
    ({"num_persons": 0}, "num_persons=0: expected 1 or more"),
    ({"process_count": 3}, "batch_size=8 cannot be divided among 3 processes"),
  ],
)
def test_wrong_arguments_are_refused_before_the_first_batch(data_set, changes, message):
  for function in (train, lambda data_set, _, **c: evaluate(data_set, **c)):
    with pytest.raises(ConfigError, match=message):
      function(data_set, 1, **changes)


def test_several_views_need_a_sampling_that_has_them(data_set):
  for sampling in ("loop", "random_shift"):
    with pytest.raises(ConfigError, match=f"views=2 is not possible with sampling '{sampling}'"):
      evaluate(data_set, views=2, sampling=sampling)


def test_a_shard_that_breaks_while_training_is_a_data_error(tmp_path):
  data_set = prepare(tmp_path, random_clips(40))
  for shard in data_set.shards:
    path = data_set.path / shard["file"]
    path.write_bytes(b"\1" * path.stat().st_size)
  with pytest.raises(DataError, match="is damaged") as error:
    train(open_data_set(data_set.path), 1)
  assert len(str(error.value).splitlines()) == 1


def test_an_unfinished_iterator_does_not_crash_the_end_of_the_program(data_set):
  script = f"""
from mstgcn_jax import data_set, input_pipeline
opened = data_set.open_data_set({str(data_set.path)!r})
batches = input_pipeline.train_batches(
  opened, range(40), batch_size=4, window=9, num_persons=1, seed=0)
next(batches)
import tensorflow as tf
print(tf.config.get_visible_devices("GPU"))
"""
  done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
  assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
