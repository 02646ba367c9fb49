"""Batches are pure functions of their number, whoever asks for them."""

import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest
from prepared import prepare, random_clips

from mstgcn_jax.data import input_pipeline, temporal_sampling
from mstgcn_jax.data.data_set import open_data_set
from mstgcn_jax.errors import ConfigError, DataError

INDICES = np.arange(3, 40)  # 37 clips: 4 batches of 8 per epoch, 5 clips left over


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
  return prepare(tmp_path_factory.mktemp("data"), random_clips(43))


def how(data_set, *, window=12, num_persons=2, sampling="loop", views=1, **more):
  """How clips are seen, and the arguments that are left."""
  placing = {name: more.pop(name) for name in ("origin", "body_size") if name in more}
  return data_set.sampling(window, num_persons, sampling, views, **placing), more


def train(data_set, count, **changes):
  sampling, more = how(data_set, **changes)
  arguments = {"batch_size": 8, "seed": 5, **more}
  batches = input_pipeline.train_batches(data_set, INDICES, sampling, **arguments)
  taken = list(itertools.islice(batches, count))
  batches.close()
  return taken


def evaluate(data_set, **changes):
  sampling, more = how(data_set, **changes)
  return list(input_pipeline.eval_batches(data_set, INDICES, sampling, **{"batch_size": 8} | more))


def clips_of(data_set, batch):
  """Clips of a batch that is not divided among devices, [clip, person, frame, joint, channel]."""
  windows = {name: batch[name] for name in temporal_sampling.EXPANDED if name in batch}
  return temporal_sampling.expand(**windows, scale=data_set.scale, center=data_set.center, xp=np)


def assert_same(data_set, whole, *parts):
  """Asserts that the parts of a batch, one after the other, are the whole."""
  for key in whole.keys() - {"frames", "shown"}:
    np.testing.assert_array_equal(whole[key], np.concatenate([part[key] for part in parts]))
  clips = np.concatenate([clips_of(data_set, part) for part in parts])
  np.testing.assert_array_equal(clips_of(data_set, whole), clips)


def test_a_batch_has_the_promised_shapes_and_types(data_set):
  (batch,) = train(data_set, 1)
  assert batch["frames"].shape[1:] == (25, 3) and batch["frames"].dtype == np.float32
  assert batch["shown"].shape == (8, 2, 12) and batch["shown"].dtype == np.int32
  assert batch["label"].shape == (8,) and batch["label"].dtype == np.int32
  assert batch["index"].shape == (8,) and batch["index"].dtype == np.int32
  np.testing.assert_array_equal(batch["label"], data_set.table["label"][batch["index"]])


def test_clips_are_filled_with_zeros_where_the_data_set_says_so(tmp_path):
  data_set = prepare(tmp_path, random_clips(8, frames=(5, 9)), fill="zero")
  seen = data_set.sampling(12, 2)
  (batch,) = input_pipeline.eval_batches(data_set, range(8), seen, batch_size=8)
  for clip, row in zip(clips_of(data_set, batch), batch["index"], strict=True):
    np.testing.assert_array_equal(clip, data_set.sample(row, 12))
    assert not clip[:, 9:].any()


def test_clips_are_looped_and_centred(data_set):
  (batch,) = train(data_set, 1)
  for clip, row in zip(clips_of(data_set, batch), batch["index"], strict=True):
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
    seen = data_set.sampling(64, 1, sampling)
    trained = input_pipeline.train_batches(data_set, [0, 1], seen, batch_size=2, seed=0)
    evaluated = input_pipeline.eval_batches(data_set, [0, 1], seen, batch_size=2)
    clips.append([clips_of(data_set, next(batches)) for batches in (trained, evaluated)])
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
    assert_same(data_set, a, b)


def test_another_seed_gives_other_batches(data_set):
  (a,), (b,) = train(data_set, 1), train(data_set, 1, seed=6)
  assert a["index"].tolist() != b["index"].tolist()


def test_random_sampling_differs_from_epoch_to_epoch(data_set):
  batches = train(data_set, 8, sampling="random_crop", window=4)
  seen = {}
  for batch in batches:
    for clip, row in zip(clips_of(data_set, batch), batch["index"].tolist(), strict=True):
      seen.setdefault(row, []).append(clip)
  pairs = [clips for clips in seen.values() if len(clips) == 2]
  assert any(not np.array_equal(*pair) for pair in pairs)


@pytest.mark.parametrize("kind", [k for k in temporal_sampling.SAMPLINGS if k != "loop"])
def test_random_sampling_draws_anew_for_every_seed_step_and_place(data_set, kind):
  row = int(data_set.table["frames"].argmax())
  starts = []
  for seed in (5, 6):
    seen = data_set.sampling(2, 1, kind)
    batches = input_pipeline.train_batches(data_set, [row] * 16, seen, batch_size=8, seed=seed)
    # All places of a batch show one clip; its frames are told by what they hold.
    starts.append(
      [clips_of(data_set, batch)[:, 0, 0, 0, 0] for batch in itertools.islice(batches, 2)]
    )
    batches.close()
  starts = np.asarray(starts)  # [seed, step, place]
  for axis in range(3):
    assert (starts != np.roll(starts, 1, axis)).any()


@pytest.mark.parametrize("sampling", ["loop", "random_crop"])
def test_processes_see_the_slices_of_the_batch_that_one_would(data_set, sampling):
  whole = train(data_set, 5, sampling=sampling)
  parts = [
    train(data_set, 5, sampling=sampling, process_index=i, process_count=4) for i in range(4)
  ]
  for step, batch in enumerate(whole):
    assert_same(data_set, batch, *(part[step] for part in parts))
    assert len({part[step]["frames"].shape for part in parts}) == 1  # pieces of one global array


@pytest.mark.parametrize("batch_size", [1, 7, 8, 37, 64])
@pytest.mark.parametrize("views", [1, 3])
def test_evaluation_covers_every_clip_exactly_once_a_view(data_set, batch_size, views):
  batches = evaluate(data_set, batch_size=batch_size, views=views, sampling="uniform")
  valid = np.concatenate([batch["valid"] for batch in batches])
  index = np.concatenate([batch["index"] for batch in batches])
  assert len(valid) % batch_size == 0
  assert index[valid].tolist() == np.repeat(INDICES, views).tolist()
  assert (index[~valid] == -1).all()
  shown = np.concatenate([clips_of(data_set, batch) for batch in batches])[valid]
  seen = data_set.sampling(12, 2, "uniform", views)
  expected = [seen.windows(persons) for persons in data_set.read(INDICES)]
  np.testing.assert_array_equal(shown, np.reshape(expected, shown.shape))


def test_padding_is_empty_and_masked(data_set):
  last = evaluate(data_set)[-1]
  assert last["valid"].tolist() == [True] * 5 + [False] * 3
  assert not clips_of(data_set, last)[5:].any() and not last["label"][5:].any()


def test_evaluation_processes_get_equally_many_batches(data_set):
  whole = evaluate(data_set)
  parts = [evaluate(data_set, process_index=i, process_count=4) for i in range(4)]
  assert {len(part) for part in parts} == {len(whole)}
  for step, batch in enumerate(whole):
    assert_same(data_set, batch, *(part[step] for part in parts))
    assert len({part[step]["frames"].shape for part in parts}) == 1  # pieces of one global array


def test_devices_get_the_frames_of_their_own_clips(data_set):
  (whole,), (divided,) = train(data_set, 1), train(data_set, 1, shares=4)
  parts = [
    {"frames": frames, "shown": shown}
    for frames, shown in zip(
      np.split(divided["frames"], 4), np.split(divided["shown"], 4), strict=True
    )
  ]
  clips = np.concatenate([clips_of(data_set, part) for part in parts])
  np.testing.assert_array_equal(clips, clips_of(data_set, whole))


def test_frames_have_the_room_that_the_fullest_device_may_need_and_no_more(data_set):
  for persons, shares in ((2, 4), (2, 1), (1, 1)):
    (batch,) = train(data_set, 1, shares=shares, num_persons=persons)
    people, frames = (data_set.table[name][batch["index"]] for name in ("persons", "frames"))
    needed = np.minimum(people, persons) * np.minimum(frames, 12)  # of a window of 12
    fullest = needed.reshape(shares, -1).sum(1).max()
    assert len(batch["frames"]) == shares * input_pipeline._round_up(fullest)


def test_a_frame_is_sent_once_and_only_if_it_is_shown(tmp_path):
  # Windows of 8: all 5 frames of the short clip, 8 of the long one's 20.
  clips = random_clips(1, frames=(5, 6)) + random_clips(1, frames=(20, 21))
  clips = [dataclasses.replace(clip, name=f"c{i}") for i, clip in enumerate(clips)]
  for sampling in ("loop", "random_crop", "random_shift", "uniform"):
    data_set = prepare(tmp_path / sampling, clips)
    seen = data_set.sampling(8, 2, sampling)
    (batch,) = input_pipeline.eval_batches(data_set, [0, 1], seen, batch_size=2)
    assert batch["shown"].max() == 5 + 8 - 1
    assert len(batch["frames"]) == 14  # 13, rounded up: 8, 10, 12, 14, 16, 20, 24, …


def test_whole_numbers_are_sent_as_they_are_stored(tmp_path):
  clips = [
    dataclasses.replace(clip, persons=[np.round(p, 2) for p in clip.persons])
    for clip in random_clips(8)
  ]
  data_set = prepare(tmp_path, clips, storage_scale=100)
  seen = data_set.sampling(12)
  (batch,) = input_pipeline.eval_batches(data_set, range(8), seen, batch_size=8)
  assert batch["frames"].dtype == np.int16
  for clip, row in zip(clips_of(data_set, batch), batch["index"], strict=True):
    np.testing.assert_array_equal(clip, data_set.sample(row, 12))


def test_too_few_clips_for_a_batch_names_both_numbers(data_set):
  with pytest.raises(ConfigError, match="37 training clips cannot fill one batch of 64"):
    train(data_set, 1, batch_size=64)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"sampling": "zoom"}, "sampling 'zoom' is unknown"),
    ({"views": 2}, "views=2 is not possible with sampling 'loop'"),
    ({"window": 0}, "window=0: expected 1 or more"),
    ({"num_persons": 0}, "num_persons=0: expected 1 or more"),
    ({"batch_size": 0}, "batch_size=0 cannot be divided among 1 processes"),
    ({"process_count": 3}, "batch_size=8 cannot be divided among 3 processes"),
    ({"process_count": 2, "shares": 3}, "batch_size=8 cannot be divided among 6 devices"),
  ],
)
def test_wrong_arguments_are_refused_before_the_first_batch(data_set, changes, message):
  for function in (train, lambda data_set, _, **c: evaluate(data_set, **c)):
    with pytest.raises(ConfigError, match=message):
      function(data_set, 1, **changes)


def test_a_shard_that_breaks_while_training_is_a_data_error(tmp_path):
  data_set = prepare(tmp_path, random_clips(40))
  for shard in data_set.shards:
    path = data_set.path / shard["file"]
    path.write_bytes(b"\1" * path.stat().st_size)
  with pytest.raises(DataError, match="is damaged") as error:
    train(open_data_set(data_set.path), 1)
  assert len(str(error.value).splitlines()) == 1


def test_threads_import_nothing_and_unfinished_ones_do_not_crash_the_end_of_the_program(data_set):
  script = f"""
import sys, threading
from mstgcn_jax.data import data_set, input_pipeline

class Imports:  # what is imported beside the main thread, where two can wait for each other
  def find_spec(self, name, *_):
    if threading.current_thread() is not threading.main_thread():
      print(name)

sys.meta_path.insert(0, Imports())
opened = data_set.open_data_set({str(data_set.path)!r})
batches = input_pipeline.train_batches(
  opened, range(40), opened.sampling(9, 1), batch_size=4, seed=0)
next(batches)
import tensorflow as tf
print(tf.config.get_visible_devices("GPU"))
"""
  done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
  assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("stored", [{}, {"storage_scale": 100}])
@pytest.mark.parametrize("sampling", ["loop", "random_sorted"])
def test_a_batch_carries_what_places_its_clips(tmp_path, sampling, stored):
  clips = [
    dataclasses.replace(clip, persons=[np.round(p, 2) for p in clip.persons])
    for clip in random_clips(9)
  ]
  data_set = prepare(tmp_path, clips, **stored)
  how = data_set.sampling(12, 2, sampling, origin="first_frame", body_size=True)
  batches = list(input_pipeline.eval_batches(data_set, range(9), how, batch_size=4))
  for batch in batches:
    assert (batch["origin"].shape, batch["factor"].shape) == ((4, 3), (4,))
    for clip, row in zip(clips_of(data_set, batch), batch["index"], strict=True):
      seen = how.windows(data_set.read([row])[0]) if row >= 0 else np.zeros_like(clip)
      np.testing.assert_array_equal(clip, seen)


def test_the_first_frame_as_origin_needs_no_body_size(tmp_path):
  data_set = prepare(tmp_path, random_clips(3))
  how = data_set.sampling(12, 2, origin="first_frame")
  (batch,) = input_pipeline.eval_batches(data_set, range(3), how, batch_size=4)
  assert batch["origin"].shape == (4, 3) and "factor" not in batch
  assert not batch["origin"][3].any()  # of the row that fills up the batch


def test_batches_that_need_no_placement_carry_none(data_set):
  assert train(data_set, 1)[0].keys() == {"frames", "shown", "label", "index"}
