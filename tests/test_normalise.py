"""Turning and cutting clips; what the reference does on NTU is in test_temporal_sampling.py."""

import dataclasses

import numpy as np
import pytest

from mstgcn_jax.data import normalise
from mstgcn_jax.data.temporal_sampling import Sampling
from mstgcn_jax.skeletons import Skeleton

HIP, SPINE, RIGHT, LEFT = range(4)
TORSO = Skeleton(
  "torso",
  ["hip", "spine", "right", "left"],
  bone_parents=[0, 0, 1, 1],
  center=SPINE,
  vertical=(HIP, SPINE),
  horizontal=(RIGHT, LEFT),
)
# Before a camera whose y points up, two metres away; upright, y is z, and z points to -y.
SEEN = np.array([(0, 3, 2), (0, 4, 2), (1, 4, 2), (-1, 4, 2)], np.float32)
UPRIGHT = np.array([(0, -2, 3), (0, -2, 4), (1, -2, 4), (-1, -2, 4)], np.float32)


def standing(frames: int) -> np.ndarray:
  """A person that stands still: [frame, joint, 3]."""
  return np.repeat(SEEN[None], frames, axis=0)


def turned(*persons: np.ndarray) -> list[np.ndarray]:
  return normalise.normalise(persons, TORSO, by_sum=False)


def centred(*persons: np.ndarray) -> np.ndarray:
  """As the model sees them: [person, frame, joint, 3]."""
  sequences = turned(*persons)
  how = Sampling(max(map(len, sequences)), len(sequences), center=TORSO.center)
  return how.windows(sequences)


def test_a_clip_is_turned_upright_and_to_the_front():
  for by_sum in (False, True):
    (person,) = normalise.normalise([standing(2)], TORSO, by_sum=by_sum)
    np.testing.assert_allclose(person, [UPRIGHT, UPRIGHT], atol=1e-6)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_small_and_large_figures_are_turned_alike(scale):
  (person,) = turned(np.float32(scale) * standing(1))
  np.testing.assert_allclose(person[0] / scale, UPRIGHT, atol=1e-5)


@pytest.mark.parametrize("by_sum", [False, True])
def test_a_layout_that_lacks_joints_to_turn_by_is_turned_as_far_as_it_has_them(by_sum):
  tilted = standing(1)
  tilted[0, RIGHT] = (1, 4, 3)  # the line of the shoulders points away by 27 degrees
  for changes in ({"center": None}, {}):
    vertical = dataclasses.replace(TORSO, horizontal=None, **changes)
    (person,) = normalise.normalise([tilted], vertical, by_sum=by_sum)
    np.testing.assert_allclose(person[0, HIP], UPRIGHT[HIP], atol=1e-6)
    np.testing.assert_allclose(person[0, RIGHT], (1, -3, 4), atol=1e-6)
    horizontal = dataclasses.replace(TORSO, vertical=None, **changes)
    (person,) = normalise.normalise([tilted], horizontal, by_sum=by_sum)
    across = person[0, RIGHT] - person[0, LEFT]
    np.testing.assert_allclose(across, (np.sqrt(5), 0, 0), atol=1e-6)
    neither = dataclasses.replace(TORSO, vertical=None, horizontal=None, **changes)
    (person,) = normalise.normalise([tilted], neither, by_sum=by_sum)
    np.testing.assert_array_equal(person, tilted)
    assert [normalise.turns(s) for s in (vertical, horizontal, neither)] == [True, True, False]


def test_what_points_just_the_other_way_is_not_turned_as_in_the_reference():
  upside_down = UPRIGHT[[1, 0, 3, 2]][None]  # hip above spine, left to the right of right
  (person,) = normalise.normalise([upside_down], TORSO, by_sum=True)
  np.testing.assert_allclose(person, upside_down, atol=1e-6)


def test_energy_is_the_spread_of_each_coordinate_over_all_joints_of_tracked_frames():
  body = np.ones((4, 2, 3))
  body[1] = (1, 1, -2)  # sums to 0: untracked
  body[2, 0] = (1, 1, 4)  # z: five times 1 and a 4, so the variance is 5/6 * 1/6 * 3^2
  assert normalise.energy(body) == pytest.approx(np.sqrt(1.25))
  assert normalise.energy(np.zeros((4, 2, 3))) == 0


@pytest.mark.parametrize("missing", [[HIP], [SPINE], [RIGHT], [LEFT], [HIP, LEFT], [SPINE, RIGHT]])
def test_joints_missing_in_the_first_frame_do_not_turn_an_estimators_clip(missing):
  raw = standing(3)
  raw[0, missing] = 0
  (person,) = turned(raw)
  np.testing.assert_allclose(person[1:], [UPRIGHT, UPRIGHT], atol=1e-6)
  there = [joint for joint in range(4) if joint not in missing]
  np.testing.assert_allclose(person[0, there], UPRIGHT[there], atol=1e-6)


def test_each_rotation_goes_by_the_first_frame_that_has_both_of_its_joints():
  raw = standing(3)
  raw[0, HIP] = 0
  raw[2] = raw[2][:, [1, 0, 2]]  # on its side, which does not count any more
  np.testing.assert_allclose(turned(raw)[0][1], UPRIGHT, atol=1e-6)
  lying = standing(2)
  lying[1] = lying[1][:, [1, 0, 2]]
  np.testing.assert_allclose(turned(lying)[0][0], UPRIGHT, atol=1e-6)


def test_the_reference_goes_by_its_first_frame_even_where_it_lacks_a_joint():
  raw = standing(2)
  raw[0, HIP] = 0
  (person,) = normalise.normalise([raw], TORSO, by_sum=True)
  # The hip counts as lying in the centre, so nothing says what is up, and right is right already.
  np.testing.assert_allclose(person[1], SEEN, atol=1e-6)


def test_where_no_frame_has_both_joints_of_a_rotation_it_is_left_out():
  raw = standing(4)
  raw[::2, HIP] = 0
  raw[1::2, SPINE] = 0
  np.testing.assert_allclose(turned(raw)[0][0, RIGHT], SEEN[RIGHT], atol=1e-6)


def test_joints_at_one_place_do_not_decide_a_rotation():
  raw = standing(2)
  raw[0, HIP] = raw[0, SPINE]
  np.testing.assert_allclose(turned(raw)[0][1], UPRIGHT, atol=1e-6)


def test_a_clip_that_comes_centred_is_turned_by_its_centre_at_zero():
  raw = standing(2) - SEEN[SPINE]
  (person,) = turned(raw)
  np.testing.assert_allclose(person, [UPRIGHT - UPRIGHT[SPINE]] * 2, atol=1e-6)
  np.testing.assert_allclose(centred(raw)[0, 1], UPRIGHT - UPRIGHT[SPINE], atol=1e-6)


@pytest.mark.parametrize("frame", [0, 2, 4])
def test_a_frame_without_its_centre_does_not_jump(frame):
  raw, longer = standing(5), standing(7)
  raw[frame, SPINE] = 0
  longer[frame] = 0
  for persons in ([raw], [raw, longer]):
    first = centred(*persons)[0, :5]
    np.testing.assert_allclose(first, [UPRIGHT - UPRIGHT[SPINE]] * 5, atol=1e-6)


def test_a_missing_centre_lies_between_where_it_was_and_where_it_comes_back():
  raw = standing(5) + np.arange(5, dtype=np.float32)[:, None, None] * (1, 0, 0)  # to the right
  raw[[1, 2], SPINE] = 0
  raw[4, SPINE] = 0
  (person,) = turned(raw)
  np.testing.assert_allclose(person[:, SPINE, 0], [0, 1, 2, 3, 3], atol=1e-6)
  assert not raw[[1, 2, 4], SPINE].any()  # what was given stays as it is


def test_the_second_person_does_not_jump_where_the_first_is_lost():
  first, second = standing(3), standing(3) + np.float32([2, 0, 0])
  first[1] = 0
  clip = centred(first, second)
  beside = UPRIGHT - UPRIGHT[SPINE] + np.float32([2, 0, 0])
  np.testing.assert_allclose(clip[1], [beside] * 3, atol=1e-6)
  assert not clip[0, 1].any()


def test_frames_that_show_nobody_stay_empty():
  raw = standing(3)
  raw[1] = 0
  (person,) = turned(raw)
  assert not person[1].any()


def test_a_clip_starts_where_anybody_is_tracked_and_everybody_stays_in_step():
  first, second = standing(9), standing(9)
  first[:3] = first[5] = first[7:] = 0
  second[:2] = second[6:] = 0
  sequences = turned(first, second)
  shown = [sequence[:, LEFT].any(axis=-1).tolist() for sequence in sequences]
  assert shown == [[False, True, True, False, True], [True] * 4]


def test_the_reference_moves_the_frames_of_a_person_with_an_empty_first_one_together():
  raw = standing(6)
  raw[[0, 2, 5]] = 0
  assert [len(p) for p in normalise.normalise([raw], TORSO, by_sum=True)] == [3]
  raw[0] = SEEN
  assert [len(p) for p in normalise.normalise([raw], TORSO, by_sum=True)] == [5]


@pytest.mark.parametrize("by_sum", [False, True])
def test_a_first_person_that_is_empty_gives_way_to_the_second(by_sum):
  persons = normalise.normalise([np.zeros_like(standing(2)), standing(2)], TORSO, by_sum=by_sum)
  assert len(persons) == 1
  np.testing.assert_allclose(persons[0], [UPRIGHT, UPRIGHT], atol=1e-6)
  assert normalise.normalise([np.zeros_like(standing(2))], TORSO, by_sum=by_sum) == []


def test_what_sums_to_zero_is_untracked_to_the_reference_alone():
  raw = standing(2)
  raw[1, LEFT] = (1, 1, -2)
  (person,) = normalise.normalise([raw], TORSO, by_sum=True)
  assert not person[1, LEFT].any()
  (person,) = normalise.normalise([raw], TORSO, by_sum=False)
  np.testing.assert_allclose(person[1, LEFT], (1, 2, 1), atol=1e-6)
  frames = [[(1, 1, -2)] * 4] * 2  # all of them sum to zero
  assert normalise.normalise([np.float32(frames)], TORSO, by_sum=True) == []
  assert len(normalise.normalise([np.float32(frames)], TORSO, by_sum=False)) == 1


def test_cut_together_ends_where_the_last_person_does_and_leaves_out_who_is_never_there():
  first, second = standing(6), standing(6)
  first[4:] = 0
  second[:2] = second[5:] = 0
  persons = normalise.cut_together([np.zeros_like(first), first, second])
  assert [len(person) for person in persons] == [5, 5]
  np.testing.assert_array_equal(persons[0], first[:5])
  assert normalise.cut_together([np.zeros_like(first)]) == []
