"""Following people across frames: stick people who cross, leave, come back, and are damaged."""

import numpy as np
import pytest
import stick_poses

from data_prep import linking
from data_prep.decode.people import Person, by_number, person
from mstgcn_jax.errors import DataError

FRAMES = 60


def walkers(seed: int, frames: int = FRAMES) -> np.ndarray:
  """Two who walk past each other, one behind the other, as a camera sees: [2, frame, 17, 2]."""
  rng = np.random.default_rng(seed)
  x = np.linspace(-1.1, 1.1, frames)
  bodies = []
  for i, (way, depth) in enumerate(((1, 0.0), (-1, -rng.uniform(0.4, 0.8)))):
    body = stick_poses.people(int(rng.integers(10)), seed=10 * seed + i, frames=frames)[0]
    body = body + (way * x[:, None] * [1, 0, 0] + [0, 0, depth])[:, None]
    bodies.append(stick_poses.pixels(stick_poses.as_layout(body, "coco")))
  return np.stack(bodies)


def seen(bodies: np.ndarray, seed: int, *, hidden=(), shuffle: bool = True, lost: float = 0.0):
  """What an estimator makes of bodies [person, frame, joint, 2], and who each found person is.

  `hidden` are (person, frames) in which somebody is not found; `lost` the share of joints, and half
  of it the share of whole people, that is missed at random. Everybody is shaken by two pixels.
  """
  rng = np.random.default_rng(seed)
  frames, truth = [], []
  for t in range(bodies.shape[1]):
    people, names = [], []
    for name, body in enumerate(bodies[:, t]):
      gone = any(name == who and t in when for who, when in hidden)
      if gone or rng.random() < lost / 2:
        continue
      points = body + rng.normal(0, 2, body.shape)
      scores = rng.uniform(0.5, 1, len(body)) * (rng.random(len(body)) >= lost)
      people.append(person(points, scores))
      names.append(name)
    order = rng.permutation(len(people)) if shuffle else range(len(people))
    frames.append([people[i] for i in order])
    truth.append([names[i] for i in order])
  return frames, truth


def switches(truth, numbers) -> int:
  """How often somebody is found under another number than the time before (MOTA's switches)."""
  last, count = {}, 0
  for names, given in zip(truth, numbers, strict=True):
    for name, number in zip(names, given, strict=True):
      count += name in last and last[name] != number
      last[name] = number
  return count


def numbers_of(tracks, frames):
  """Frame by frame, the track of each found person."""
  of = {id(found): i for i, track in enumerate(tracks) for found in track.people}
  return [[of[id(found)] for found in people] for people in frames]


SCENES = {
  "crossing": {},
  "crossing, hidden behind the other": {"hidden": [(1, range(25, 36))]},
  "leaving and coming back within the gap": {"hidden": [(0, range(10, 22)), (1, range(40, 50))]},
  "a tenth of joints and a twentieth of people lost": {"lost": 0.1},
}


@pytest.mark.parametrize("scene", SCENES)
def test_people_who_are_listed_in_any_order_are_told_apart(scene):
  before = after = 0
  for seed in range(8):
    frames, truth = seen(walkers(seed), seed, **SCENES[scene])
    before += switches(truth, [range(len(people)) for people in frames])
    after += switches(truth, numbers_of(linking.link(frames), frames))
  print(f"{scene}: {before / 8:.1f} switches a clip before, {after / 8:.2f} after")
  # 30 a clip where the order is drawn: two people, half of 59 steps each
  assert before > 8 * 15
  assert after <= 1  # in all eight clips together


def test_people_whom_an_estimator_swaps_once_are_put_right():
  frames, truth = seen(walkers(1), 1, shuffle=False)
  frames = frames[:30] + [people[::-1] for people in frames[30:]]
  truth = truth[:30] + [names[::-1] for names in truth[30:]]
  assert switches(truth, [range(len(people)) for people in frames]) == 2
  assert switches(truth, numbers_of(linking.link(frames), frames)) == 0


def test_who_comes_back_after_longer_than_the_gap_takes_the_place_left_free():
  frames, truth = seen(walkers(2), 2, hidden=[(1, range(20, 45))])
  tracks = linking.link(frames)
  assert len(tracks) == 3 and switches(truth, numbers_of(tracks, frames)) == 1
  kept = linking.keep(tracks, FRAMES, 2)
  assert sorted(int(p.any(axis=(1, 2)).sum()) for p in kept) == [35, 60]


def test_every_person_found_is_in_exactly_one_track():
  frames, _ = seen(walkers(0), 0, lost=0.3)
  tracks = linking.link(frames)
  found = [id(p) for track in tracks for p in track.people]
  assert sorted(found) == sorted(id(p) for people in frames for p in people)
  for track in tracks:
    assert track.times == sorted(set(track.times))
    assert [t for t, p in zip(track.times, track.people, strict=True) if p not in frames[t]] == []


@pytest.mark.parametrize(("gap", "max_gap", "tracks"), [(5, 5, 1), (5, 4, 2), (1, 0, 2), (0, 0, 1)])
def test_a_gap_is_bridged_up_to_the_set_length(gap, max_gap, tracks):
  frames, _ = seen(walkers(0)[:1], 0, hidden=[(0, range(20, 20 + gap))])
  found = linking.link(frames, max_gap)
  assert len(found) == tracks
  (kept,) = linking.keep(found, FRAMES, 1)  # they share a person's place
  empty = ~kept.any(axis=(1, 2))
  assert np.flatnonzero(empty).tolist() == list(range(20, 20 + gap))


def test_somebody_who_appears_far_away_is_somebody_else():
  body = walkers(0)[:1]
  body[:, 30:] += 400  # pixels, more than a person's height
  frames, _ = seen(body, 0)
  tracks = linking.link(frames)
  assert [(track.times[0], track.times[-1]) for track in tracks] == [(0, 29), (30, 59)]


def still(frames: int, x: float, score: float) -> list[Person]:
  points = np.array([[x + 1, 1], [x + 1, 11], [x + 1, 21], [x + 6, 11.0]])
  return [person(points, np.full(4, score)) for _ in range(frames)]


def square(x: float, size: float = 1, scores=None) -> Person:
  """Four joints, each `size` from their middle."""
  side = size * 2**0.5
  return person(np.array([[x, 0], [x + side, 0], [x, side], [x + side, side]]) + 1, scores)


def followed(*xs: float, since: int = 0, size: float = 1) -> linking.Track:
  track = linking.Track.begin(since, square(xs[0], size))
  for time, x in enumerate(xs[1:], since + 1):
    track.add(time, square(x, size))
  return track


def test_steps_are_of_one_frame_and_they_and_sizes_follow_slowly():
  track = followed(0)
  track.add(4, square(8))  # unseen for three frames
  np.testing.assert_allclose(track.step, [2, 0])
  track.add(5, square(12))
  assert 2 < track.step[0] < 3  # nearer to the 2 than to the 4
  track.add(6, square(12, size=2))
  assert 1 < track.size < 1.5


def test_a_pair_costs_its_distance_from_the_place_some_steps_on():
  cost = lambda track, x, time: linking._cost(track, square(x), time)
  assert cost(followed(0, 0), 0.8, 2) == pytest.approx(0.8)  # sizes
  walking = followed(0, 0.5)
  assert cost(walking, 1, 2) == pytest.approx(0)
  assert min((0, 5, 10), key=lambda steps: cost(walking, 0.5 + 0.5 * steps, 11)) == 5


def test_who_was_just_here_is_preferred_and_who_is_too_far_is_not():
  gone, here = followed(-0.1, -0.1), followed(0.1, 0.1, since=2)
  assert linking._assign([gone, here], [square(0)], 4) == [(1, 0)]
  # 0 to -2 and 3 to 0.5 would be less in total than 0 to 0.5 and 3 to -2.
  tracks = [followed(0, 0), followed(3, 3)]
  assert linking._assign(tracks, [square(0.5), square(-2)], 2) == [(0, 0)]


def test_joints_that_are_not_found_say_nothing_of_size_way_and_motion():
  side = 2**0.5
  half = square(4, scores=[1, 1, 0, 0])
  assert linking._size(half) == pytest.approx(side / 2)
  # One joint is found both times: the way is that of the middle of those found.
  np.testing.assert_allclose(
    linking._ways(half, square(6, scores=[0, 1, 1, 0])), [[2, side / 2]], atol=1e-12
  )
  track = followed(4, 4)
  track.add(2, half)
  assert linking._motion(track) == pytest.approx(0)


def test_motion_is_in_sizes_and_a_score_the_mean_of_all_joints():
  assert linking._motion(followed(0, 1, 0, 1)) == pytest.approx(0.5)
  assert linking._motion(followed(0, 1, 0, 1, size=2)) == pytest.approx(0.25)
  track = linking.Track.begin(0, square(0, scores=[0.2, 0.4, 0.6, 0.8]))
  assert linking._score(track) == pytest.approx(0.5)


@pytest.mark.parametrize(("first", "second"), [(6, 5), (5, 6)])
def test_tracks_share_a_place_where_no_frame_has_both(first, second):
  for since, places in ((first - 1, 2), (first, 1)):
    tracks = [followed(*[0] * first), followed(*[9] * second, since=since)]
    assert len(linking.keep(tracks, 12, 2, by="score")) == places


def test_who_moves_most_or_scores_highest_is_kept_first():
  calm = still(20, 0, score=0.9)
  lively = [
    person(np.add(p.points, (200, t % 5)), p.scores / 3) for t, p in enumerate(still(20, 0, 0.9))
  ]
  frames = [list(pair) for pair in zip(calm, lively, strict=True)]
  tracks = linking.link(frames)
  (first,) = linking.keep(tracks, 20, 1, by="motion")
  assert first[0, 0].tolist() == [201, 1, np.float32(0.3)]
  (first,) = linking.keep(tracks, 20, 1, by="score")
  assert first[0, 1].tolist() == [1, 11, np.float32(0.9)]
  assert len(linking.keep(tracks, 20, 2)) == 2 and len(linking.keep(tracks, 20, 5)) == 2


def test_a_phantom_of_a_few_frames_does_not_outdo_the_one_who_stays():
  frames = [[p] for p in still(40, 0, 0.5)]
  for t in range(10, 13):
    jumpy = person(np.random.default_rng(t).uniform(300, 340, (4, 2)), np.full(4, 0.99))
    frames[t].append(jumpy)
  (kept,) = linking.keep(linking.link(frames), 40, 1, by="score")
  assert kept[:, 0, 0].tolist() == [1] * 40 and kept[:, 1, 1].tolist() == [11] * 40


def test_the_estimators_own_number_helps_but_does_not_decide():
  left, right = still(2, 0, 1), still(2, 8, 1)  # 8 apart, 7.4 the size
  swapped = [
    [Person(left[0].points, left[0].scores, 1), Person(right[0].points, right[0].scores, 2)],
    [Person(left[1].points, left[1].scores, 2), Person(right[1].points, right[1].scores, 1)],
  ]
  tracks = linking.link(swapped)
  assert [p.number for p in tracks[0].people] == [1, 2]  # nobody moved: the number is wrong
  one = (
    [Person(left[0].points, left[0].scores, 7)],
    [
      Person(np.add(left[1].points, (4.5, 0)), left[1].scores, 7),
      Person(left[1].points - (4, 0), left[1].scores, 3),
    ],
  )
  tracks = linking.link(list(one))
  assert [p.number for p in tracks[0].people] == [7, 7]  # both are near, and this one is it


def test_nobody_and_empty_frames_are_no_trouble():
  assert linking.link([]) == [] and linking.link([[], []]) == []
  assert linking.keep([], 4, 2) == []


def test_a_joint_without_place_or_score_is_missing():
  found = person([[np.nan, 1], [0, 0], [3, 4], [5, 6]], [1, 1, 0, 0.5])
  assert found.points.tolist() == [[0, 0], [0, 0], [0, 0], [5, 6]]
  assert found.scores.tolist() == [0, 0, 0, 0.5]
  assert person([[1, 2.0]], None).scores.tolist() == [1]
  with pytest.raises(DataError, match="coordinate inf"):
    person([[np.inf, 1]], [1])


def test_frames_may_be_numbered_from_anywhere_in_steps():
  one = person([[1, 2]], None)
  frames = by_number({11: [one], 5: [one], 7: []})
  assert [len(people) for people in frames] == [1, 0, 0, 1]
  frames = by_number({0: [one], 6: [one], 10: [one], 24: [one]})  # even numbers by chance
  assert [t for t, people in enumerate(frames) if people] == [0, 6, 10, 24]
  assert by_number({}) == [] and len(by_number({7: [one]})) == 1
  with pytest.raises(DataError, match="numbered from 0 to 10000000000001"):
    by_number({0: [one], 10**13 + 1: [one], 3: [one]})
