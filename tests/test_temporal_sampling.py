"""Temporal sampling against the reference's outputs and arithmetic done by hand."""

import functools

import jax
import numpy as np
import pytest
from golden import golden

from mstgcn_jax import skeletons
from mstgcn_jax.data import normalise, temporal_sampling
from mstgcn_jax.data.temporal_sampling import Sampling
from mstgcn_jax.errors import ConfigError

NTU = skeletons.get("ntu_rgbd")


def persons_of(array):
  """The reference's [C, T, V, M] -> a list over persons of [T, V, C]."""
  return [np.ascontiguousarray(array[..., m].transpose(1, 2, 0)) for m in range(array.shape[-1])]


def counting(length, start=1):
  """A person of one joint whose single coordinate is its frame number."""
  return np.arange(start, start + length, dtype=np.float32).reshape(-1, 1, 1)


def window_of(persons, times, fill="loop", center=None, num_persons=None):
  shown = np.empty((num_persons or len(persons), len(times)), np.int32)
  frames = np.concatenate(temporal_sampling.select(persons, times, fill, 0, shown))
  return temporal_sampling.expand(frames, shown, 0, center, np)


@pytest.mark.parametrize("case", range(8))
def test_normalised_edge_cases_equal_the_reference(case):
  with np.load(golden("data/normalise_edge_cases.npz")) as data:
    raw, expected = persons_of(data["input"][case]), data["output"][case]
  persons = normalise.normalise(raw, NTU, by_sum=True)
  persons = persons or [np.zeros((0, 25, 3), np.float32)]  # of nobody
  clip = Sampling(60, 2, center=NTU.center).windows(persons)
  # 1e-5: coordinates of a few metres in float32, rotated once here and twice there
  np.testing.assert_allclose(clip.transpose(3, 1, 2, 0), expected, atol=1e-5)


def sampled(persons, window, num_persons, sampling, fill="loop", **random):
  """What the model sees of persons of one joint, [person, window]."""
  how = Sampling(window, num_persons, sampling, random.pop("views", 1), fill)
  return temporal_sampling.sample(persons, how, **random)[..., 0, 0]


@pytest.mark.parametrize("begin", [0, 9, 17])
def test_shifting_equals_the_reference(begin):
  with np.load(golden("data/augment.npz")) as data:
    array, expected = data["input"], data[f"random_shift/{begin}"]
  persons = persons_of(array.astype(np.float32))
  tracked = np.flatnonzero(array.any(axis=(0, 2, 3)))
  times = temporal_sampling.shift_times(tracked[0], tracked[-1] + 1, 40, begin)
  clip = window_of(persons, times, fill="zero")
  np.testing.assert_array_equal(clip.transpose(3, 1, 2, 0), expected.astype(np.float32))


@pytest.mark.parametrize(
  ("key", "window", "begin"),
  [
    ("random_choose/size20_begin11", 20, 11),
    ("random_choose/size50_pad6", 50, -6),
    ("auto_pading/50", 50, 0),
  ],
)
def test_cropping_and_padding_equal_the_reference(key, window, begin):
  with np.load(golden("data/augment.npz")) as data:
    array, expected = data["input"].astype(np.float32), data[key].astype(np.float32)
  clip = window_of(persons_of(array), temporal_sampling.crop_times(window, begin), fill="zero")
  np.testing.assert_array_equal(clip.transpose(3, 1, 2, 0), expected)


def test_two_people_of_unequal_length_loop_with_their_own_period():
  times = temporal_sampling.loop_times(3, 7)
  clip = window_of([counting(3), counting(2, start=10)], times)
  assert clip[0].ravel().tolist() == [1, 2, 3, 1, 2, 3, 1]
  assert clip[1].ravel().tolist() == [10, 11, 10, 11, 10, 11, 10]


def test_the_second_person_is_centred_on_the_first_as_it_loops():
  times = temporal_sampling.loop_times(3, 4)
  clip = window_of([counting(3), counting(2, start=10)], times, center=0)
  assert clip[0].ravel().tolist() == [0, 0, 0, 0]
  assert clip[1].ravel().tolist() == [10 - 1, 11 - 2, 10 - 3, 11 - 1]


def test_a_centre_whose_coordinates_sum_to_zero_is_subtracted():
  raw = np.arange(1, 76, dtype=np.float32).reshape(1, 25, 3)
  raw[0, NTU.center] = 1, -1, 0
  (person,) = normalise.normalise([raw], NTU, by_sum=True)
  np.testing.assert_allclose(np.linalg.norm(person[0, NTU.center]), np.sqrt(2), rtol=1e-6)


def test_untracked_joints_stay_zero_when_centred():
  person = np.ones((2, 3, 2), np.float32)
  person[1, 2] = 0
  clip = window_of([person, person * 5], np.arange(2), center=0)
  assert clip[0, 1, 2].tolist() == [0, 0]
  assert clip[1, 1].tolist() == [[4, 4], [4, 4], [0, 0]]


def test_fill_zero_leaves_what_follows_the_last_frame_untracked():
  clip = window_of([counting(2)], temporal_sampling.loop_times(2, 4), fill="zero")
  assert clip.ravel().tolist() == [1, 2, 0, 0]


def test_a_clip_longer_than_the_window_is_cropped_at_its_centre():
  assert temporal_sampling.sample_times([counting(9)], 3, "loop", "loop").tolist() == [3, 4, 5]


def test_missing_people_are_zero_and_surplus_people_left_out():
  times = np.arange(2)
  assert not window_of([counting(2)], times, num_persons=3)[1:].any()
  assert window_of([counting(2)] * 3, times, num_persons=1).shape[0] == 1


@pytest.mark.parametrize("fill", ["loop", "zero"])
def test_a_person_without_frames_is_zero(fill):
  clip = window_of([counting(2), counting(0)], np.arange(4), fill)
  assert not clip[1].any()


@pytest.mark.parametrize("fill", ["loop", "zero"])
@pytest.mark.parametrize("sampling", temporal_sampling.SAMPLINGS)
@pytest.mark.parametrize("length", [1, 8, 9, 30])
def test_random_times_lie_in_the_clip_or_where_it_is_filled(sampling, fill, length):
  window = 8
  for seed in range(20):
    rng = np.random.default_rng(seed)
    times = temporal_sampling.sample_times([counting(length)], window, sampling, fill, rng)
    assert times.shape == (window,)
    if length >= window:
      assert times.min() >= 0 and times.max() < length
      assert (np.diff(times) >= 0).all()
    else:
      clip = window_of([counting(length)], times, fill)
      shown = set(clip.ravel().tolist()) - {0}
      assert shown == set(range(1, length + 1))  # all of a short clip is in the window


def test_random_crops_reach_both_ends():
  starts = {
    int(
      temporal_sampling.sample_times(
        [counting(10)], 8, "random_crop", "loop", np.random.default_rng(seed)
      )[0]
    )
    for seed in range(40)
  }
  assert starts == {0, 1, 2}


def test_uniform_takes_one_frame_from_each_segment():
  times = temporal_sampling.uniform_times(12, 4, 0.5)
  assert times.tolist() == [1, 4, 7, 10]


def test_views_of_uniform_sampling_show_different_frames():
  views = [
    temporal_sampling.sample_times([counting(12)], 4, "uniform", "loop", view=k, views=3).tolist()
    for k in range(3)
  ]
  assert views == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]


def test_views_of_crops_are_spread_over_the_clip():
  starts = [
    int(
      temporal_sampling.sample_times([counting(13)], 4, "random_crop", "loop", view=k, views=3)[0]
    )
    for k in range(3)
  ]
  assert starts == [1, 4, 8]


@pytest.mark.parametrize("fill", ["loop", "zero"])
@pytest.mark.parametrize(("sampling", "view", "views"), [
  ("random_shift", 0, 1), ("random_crop", 0, 1), ("random_crop", 1, 3),
])  # fmt: skip
@pytest.mark.parametrize(("length", "first"), [(4, 0), (5, 0), (9, 2), (10, 3)])
def test_evaluation_of_a_longer_clip_shows_the_centre_that_loop_shows(
  length, first, sampling, view, views, fill
):
  at_view = {"view": view, "views": views} if views > 1 else {}
  for how, at in (("loop", {}), (sampling, at_view)):
    times = temporal_sampling.sample_times([counting(length)], 4, how, fill, **at)
    assert times.tolist() == [first, first + 1, first + 2, first + 3], how


def test_a_shift_moves_the_tracked_span():
  person = counting(6)
  person[:2] = 0
  rng = np.random.default_rng(0)
  times = temporal_sampling.sample_times([person], 10, "random_shift", "zero", rng)
  clip = window_of([person], times, "zero").ravel()
  assert clip[clip != 0].tolist() == [3, 4, 5, 6]


@pytest.mark.parametrize("fill", ["loop", "zero"])
@pytest.mark.parametrize("sampling", temporal_sampling.SAMPLINGS)
@pytest.mark.parametrize("length", [4, 20])
def test_people_whom_the_model_does_not_see_change_nothing(sampling, fill, length):
  seen, unseen = counting(length), counting(100, start=1000)
  for seed in (None, *range(5)):
    alone, among = (
      sampled(
        persons, 8, 1, sampling, fill, rng=None if seed is None else np.random.default_rng(seed)
      )
      for persons in ([seen], [seen, unseen])
    )
    assert among.tolist() == alone.tolist()


def test_everybody_whom_the_model_sees_decides_how_long_the_clip_is():
  first, second = sampled([counting(2), counting(8)], 4, 2, "uniform")
  assert second.tolist() == [2, 4, 6, 8]
  assert first.tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize(
  ("center", "placed"),
  [(None, ()), (1, ()), (1, ("origin",)), (1, ("factor",)), (1, ("origin", "factor"))],
)
def test_a_device_makes_the_same_clips_to_the_last_bit(center, placed):
  rng = np.random.default_rng(0)
  frames = rng.normal(size=(40, 5, 3)).astype(np.float32)
  frames[rng.random(frames.shape[:2]) < 0.2] = 0
  frames[3, 2, 1] = frames[4, 1, 0] = 0  # tracked all the same
  shown = rng.integers(-1, 40, (6, 2, 9)).astype(np.int32)
  values = {"origin": rng.normal(size=(6, 3)), "factor": rng.uniform(0.5, 2, 6)}
  placed = {name: values[name].astype(np.float32) for name in placed}
  expected = temporal_sampling.expand(frames, shown, 0, center, np, **placed)
  device = jax.jit(functools.partial(temporal_sampling.expand, scale=0, center=center))
  clips = np.asarray(device(frames, shown, **placed))
  assert clips.dtype == np.float32 and clips.tobytes() == expected.tobytes()


@pytest.mark.parametrize("scale", [3, 1000, 1024, 7.5])
def test_a_device_divides_every_whole_number_as_numpy_does(scale):
  numbers = np.arange(-(2**15), 2**15, dtype=np.int16).reshape(-1, 4, 2)
  expected = np.divide(numbers, scale, dtype=np.float32)
  device = jax.jit(functools.partial(temporal_sampling.expand, scale=scale, center=None))
  shown = np.arange(len(numbers), dtype=np.int32)[None]
  assert np.asarray(device(numbers, shown))[0].tobytes() == expected.tobytes()


def test_only_uniform_and_crops_have_several_views():
  for sampling in temporal_sampling.SAMPLINGS:
    temporal_sampling.check(sampling)
    with pytest.raises(ConfigError, match="views=0 is not possible"):
      temporal_sampling.check(sampling, 0)
  for sampling in ("uniform", "random_crop", "random_sorted"):
    temporal_sampling.check(sampling, 2)
  for sampling in ("loop", "random_shift"):
    with pytest.raises(ConfigError, match=f"views=2 is not possible with sampling '{sampling}'"):
      temporal_sampling.check(sampling, 2)
  with pytest.raises(ConfigError, match="'zoom' is unknown; expected one of loop"):
    Sampling(3, 1, "zoom")


def test_sorted_sampling_draws_frames_with_replacement_and_evaluates_evenly():
  sorted_pairs = {(a, b) for a in (1, 2, 3) for b in (1, 2, 3) if a <= b}
  assert drawn([counting(3)], 2, "random_sorted", "zero") == sorted_pairs
  # Shorter than the window: (i + 1/2) * 3 / 6 is 0.25, 0.75, 1.25, …
  assert sampled([counting(3)], 6, 1, "random_sorted", "zero").tolist() == [[1, 1, 2, 2, 3, 3]]
  # Views at 1/4 and 3/4 of segments of two frames.
  views = [sampled([counting(8)], 4, 1, "random_sorted", view=k, views=2)[0] for k in (0, 1)]
  assert [view.tolist() for view in views] == [[1, 3, 5, 7], [2, 4, 6, 8]]


@pytest.mark.parametrize("sampling", ["random_crop", "uniform"])
@pytest.mark.parametrize(
  ("fill", "views", "begins"),
  # A clip of 6 frames in a window of 10 starts anywhere in its loop, or lies at 5 places.
  [
    ("loop", 1, [0]),
    ("loop", 3, [0, 2, 4]),
    ("zero", 1, [0]),
    ("zero", 3, [0, -1, -3]),
    ("zero", 5, [0, -1, -2, -3, -4]),
  ],
)
def test_views_of_a_shorter_clip_start_elsewhere(sampling, fill, views, begins):
  for view, begin in enumerate(begins):
    times = temporal_sampling.sample_times(
      [counting(6)], 10, sampling, fill, view=view, views=views
    )
    assert times.tolist() == [max(-1, begin + i) for i in range(10)]


def drawn(persons, window, sampling, fill, seeds=200):
  """All windows that random sampling shows, as tuples of what a person of one joint shows."""
  return {
    tuple(sampled(persons, window, 1, sampling, fill, rng=np.random.default_rng(seed))[0].tolist())
    for seed in range(seeds)
  }


@pytest.mark.parametrize(
  ("sampling", "fill", "length", "expected"),
  [
    # Longer than the window of 4: every crop, nothing else.
    ("random_crop", "loop", 6, [(1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 6)]),
    ("random_shift", "loop", 5, [(1, 2, 3, 4), (2, 3, 4, 5)]),
    ("loop", "loop", 7, [(2, 3, 4, 5)]),
    # As long.
    *((how, fill, 4, [(1, 2, 3, 4)]) for how in ("random_crop", "random_shift", "uniform", "loop")
      for fill in ("loop", "zero")),
    # Shorter: begun anywhere in its loop, or lying anywhere in the window.
    *((how, "loop", 3, [(1, 2, 3, 1), (2, 3, 1, 2), (3, 1, 2, 3)])
      for how in ("random_crop", "uniform")),
    *((how, "zero", 2, [(1, 2, 0, 0), (0, 1, 2, 0), (0, 0, 1, 2)])
      for how in ("random_crop", "uniform", "random_shift")),
    ("random_shift", "loop", 2, [(1, 2, 0, 0), (0, 1, 2, 0), (0, 0, 1, 2)]),
    ("loop", "zero", 2, [(1, 2, 0, 0)]),
    ("loop", "loop", 3, [(1, 2, 3, 1)]),
    # One frame of each of 4 segments of 2.
    ("uniform", "loop", 8, [
      (a, b, c, d) for a in (1, 2) for b in (3, 4) for c in (5, 6) for d in (7, 8)
    ]),
  ],
)  # fmt: skip
def test_what_random_sampling_can_show(sampling, fill, length, expected):
  assert drawn([counting(length)], 4, sampling, fill) == set(expected)


def test_a_shift_moves_what_is_tracked_of_anybody_and_nothing_where_nobody_is():
  first, second = counting(6), counting(6, start=10)
  first[[0, 4, 5]] = 0  # tracked in 1..3
  second[:2] = second[5] = 0  # tracked in 2..4
  times = temporal_sampling.sample_times([first, second], 8, "random_shift", "zero")
  assert times.tolist() == [1, 2, 3, 4, -1, -1, -1, -1]  # evaluation: at the start
  nobody = temporal_sampling.sample_times([counting(6) * 0], 8, "random_shift", "zero")
  assert nobody.tolist() == [-1] * 8
  rng = np.random.default_rng(0)
  assert (
    temporal_sampling.sample_times([counting(6) * 0], 8, "random_shift", "zero", rng) < 0
  ).all()


@pytest.mark.parametrize("sampling", temporal_sampling.SAMPLINGS)
def test_a_clip_of_nobody_is_a_window_of_zeros(sampling):
  nobody = [np.zeros((0, 2, 1), np.float32)]
  placed = Sampling(4, 1, sampling, center=0, origin="first_frame", bone_parents=(0, 0))
  for how in (Sampling(4, 2, sampling), placed):
    for rng in (None, np.random.default_rng(0)):
      assert not temporal_sampling.sample(nobody, how, rng).any()


def test_an_empty_first_person_does_not_hide_the_second():
  second = counting(3)
  for sampling in temporal_sampling.SAMPLINGS:
    clip = sampled([counting(0), second], 3, 2, sampling, "zero")
    assert clip.tolist() == [[0, 0, 0], [1, 2, 3]]


def test_a_clip_as_long_as_the_window_is_shifted_by_what_is_untracked_in_it():
  person = counting(4)
  person[0] = 0
  assert drawn([person], 4, "random_shift", "loop") == {(2, 3, 4, 0), (0, 2, 3, 4)}
  assert sampled([person], 4, 1, "random_shift", "loop").tolist() == [[2, 3, 4, 0]]


# --- what a whole clip says


def going(steps, bone=1.0):
  """A person [frame, 2, 2] whose joint 0 stands at (step, 0) and whose joint 1 is a bone above."""
  return np.float32([[[x, 0], [x, bone]] for x in steps])


def placed(persons, **how):
  """What a network sees of two frames, centred on joint 0, [person, frame, joint, channel]."""
  sampling = Sampling(2, len(persons), center=0, **how)
  return sampling.windows(persons)


def test_the_first_frame_as_origin_keeps_the_way_that_people_go():
  first, second = going([2, 5]), going([3, 3])
  clip = placed([first, second], origin="first_frame")
  assert clip[0, :, :, 0].tolist() == [[0, 0], [3, 3]]
  assert clip[1, :, :, 0].tolist() == [[1, 1], [1, 1]]
  assert placed([first, second])[0, :, :, 0].tolist() == [[0, 0], [0, 0]]


def test_the_origin_is_the_first_tracked_frame_of_the_clip_and_not_of_the_window():
  person = going([0, 2, 3, 4, 5, 6])
  person[0] = 0  # nobody is there yet
  # A window of two shows the frames in the middle, 3 and 4.
  assert placed([person], origin="first_frame")[0, :, 1, 0].tolist() == [1, 2]


def test_bodies_are_scaled_to_one_size_by_the_mean_length_of_the_main_persons_bones():
  first, second = going([2, 4], bone=1.0), going([2, 4], bone=5.0)
  first[1, 1, 1] = 3  # the bone is 1 long, then 3: 2
  clip = placed([first, second], origin="first_frame", bone_parents=(0, 0))
  factor = np.float32(3.6 / 2)
  np.testing.assert_array_equal(clip[0, :, 1], np.float32([[0, 1], [2, 3]]) * factor)
  np.testing.assert_array_equal(clip[1, :, 1], np.float32([[0, 5], [2, 5]]) * factor)


def test_what_is_untracked_stays_zero_and_has_no_say_in_the_size():
  person = going([2, 4], bone=2.0)
  person[1, 1] = 0
  for parents in ((0, 0), (1, 1)):  # the untracked joint at either end of the bone
    clip = placed([person], origin="first_frame", bone_parents=parents)
    assert clip[0, 1, 1].tolist() == [0, 0]
    np.testing.assert_allclose(clip[0, 0, 1], [0, 3.6], rtol=1e-6)  # float32


def test_a_clip_without_a_bone_keeps_its_size():
  person = going([2, 4])
  person[:, 1] = 0
  clip = placed([person], origin="first_frame", bone_parents=(0, 0))
  assert clip[0, :, 0].tolist() == [[0, 0], [2, 0]]


def test_clips_that_are_not_centred_are_taken_as_they_are():
  sampling = Sampling(2, 1, origin="first_frame", bone_parents=(0, 0))
  person = going([2, 4])
  np.testing.assert_array_equal(sampling.windows([person])[0], person)


def test_an_unknown_origin_is_refused_by_name():
  with pytest.raises(ConfigError, match="origin 'last' is unknown; expected frame or first_frame"):
    Sampling(2, 1, origin="last")
