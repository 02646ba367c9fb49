"""The stick people: bodies that could exist, classes that need motion, files like the real ones."""

import errno
import functools
import hashlib
import os
import pathlib

import numpy as np
import pytest
from scipy import optimize

from data_prep.readers import ntu
from data_prep.synthetic import skeleton_files, stick_people
from mstgcn_jax import skeletons
from mstgcn_jax.data import normalise
from mstgcn_jax.errors import ConfigError

SKELETON = skeletons.get("ntu_rgbd")
LEFT, RIGHT = (4, 5, 6, 12, 13, 14), (8, 9, 10, 16, 17, 18)  # shoulder to wrist, hip to ankle
LABELS = {name: label for label, name in enumerate(skeleton_files.CLASS_NAMES)}


def _performance(action, performer=1, seed=0, frames=60):
  people = [stick_people.performer(number) for number in (performer, 1000 + performer)]
  return stick_people.simulate(action, people, np.random.default_rng(seed), frames)


def _bone_lengths(joints):
  children, parents = np.array(SKELETON.inward).T
  return np.linalg.norm(joints[..., children, :] - joints[..., parents, :], axis=-1)


@pytest.mark.parametrize(
  "action", range(len(skeleton_files.CLASS_NAMES)), ids=skeleton_files.CLASS_NAMES
)
def test_bones_keep_their_length_and_no_foot_goes_through_the_floor(action):
  for performer in (1, 2, 3):
    joints = _performance(action, performer, seed=performer)
    lengths = _bone_lengths(joints)
    np.testing.assert_allclose(lengths, lengths[:, :1].repeat(60, 1), atol=1e-9)
    assert lengths.min() > 0.02 and lengths.max() < 0.6
    feet = joints[:, :, [14, 15, 18, 19], 1]
    assert feet.min() > -0.02, "metres; the floor is at 0"
    assert joints[..., 1].max() < 2.9, "metres; the hands above the head of the tallest"


@pytest.mark.parametrize(
  "action", range(len(skeleton_files.CLASS_NAMES)), ids=skeleton_files.CLASS_NAMES
)
def test_elbows_and_knees_bend_within_their_range_and_nothing_jumps(action):
  joints = _performance(action, performer=4, seed=4)
  for side in (LEFT, RIGHT):
    for a, b, c in (side[:3], side[3:]):
      upper, lower = joints[:, :, a] - joints[:, :, b], joints[:, :, c] - joints[:, :, b]
      cosine = (upper * lower).sum(-1)
      cosine /= np.linalg.norm(upper, axis=-1) * np.linalg.norm(lower, axis=-1)
      angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
      assert angle.min() > 34 and angle.max() < 179
  # 60 frames are 2 s; a hand that goes round twice at 0.7 m, speeding up, moves 0.3 m a frame
  assert np.linalg.norm(np.diff(joints, axis=1), axis=-1).max() < 0.35


def test_standing_feet_stay_where_they_are():
  for name in ("sit down", "pick up an object", "put on a hat", "open a drawer"):
    ankles = _performance(LABELS[name], seed=1)[:, :, [14, 18]]
    assert np.ptp(ankles, axis=1).max() < 0.05, name


def test_every_second_class_is_the_one_before_it_backwards_in_time():
  for forwards in range(0, len(skeleton_files.CLASS_NAMES), 2):
    for seed in range(5):
      np.testing.assert_array_equal(
        _performance(forwards + 1, seed=seed), _performance(forwards, seed=seed)[:, ::-1]
      )


def test_sitting_down_ends_lower_than_it_starts():
  down = _performance(LABELS["sit down"])[0, :, 0, 1]
  assert down[-1] < down[0] - 0.25
  up = _performance(LABELS["stand up"])[0, :, 0, 1]
  assert up[-1] > up[0] + 0.25


def test_two_people_come_close_but_not_through_each_other():
  pelvises = _performance(LABELS["walk towards each other"])[:, :, 0]
  distance = np.linalg.norm(pelvises[0] - pelvises[1], axis=-1)
  assert distance[0] - distance[-1] > 1 and distance[-1] > 0.6


def test_who_is_pushed_is_touched_and_steps_back():
  for seed in range(10):
    one, two = _performance(LABELS["push a person away"], seed=seed)
    distance = np.linalg.norm(one[:, 0] - two[:, 0], axis=-1)
    assert distance[-1] - distance[0] > 0.15
    chest = two[:, [1, 20, 4, 8]].mean(1)
    reach = np.linalg.norm(one[:, [7, 11]] - chest[:, None], axis=-1).min(1)
    assert reach[20:40].max() < 0.3 < reach[[0, -1]].min()  # metres; in between, and not else


def test_performers_differ_and_are_the_same_every_time():
  people = [stick_people.performer(number) for number in range(1, 25)]
  assert people[0] == stick_people.performer(1)
  assert np.std([person.size for person in people]) > 0.03
  assert {person.left_handed for person in people} == {False, True}


def test_left_handed_performers_use_the_other_arm():
  numbers = range(1, 25)
  lefty = next(n for n in numbers if stick_people.performer(n).left_handed)
  righty = next(n for n in numbers if not stick_people.performer(n).left_handed)
  lift = {}
  for number in (lefty, righty):
    for seed in range(30):
      joints = _performance(LABELS["put on a hat"], number, seed)[0, 30]
      lift[number, seed] = joints[7, 1] - joints[11, 1]  # left hand above the right
  assert min(lift[lefty, seed] for seed in range(30)) > -0.1  # one or both hands, never the right
  assert max(lift[righty, seed] for seed in range(30)) < 0.1


def test_cameras_see_the_same_performance_from_their_side_two_to_four_metres_away():
  clips = [skeleton_files.make_clip(0, 1, camera=camera)[0] for camera in (1, 2, 3)]
  assert len({clip.shape for clip in clips}) == 1
  for clip in clips:
    depth = clip[clip.any((1, 2))][:, 0, 2]
    assert depth.min() > 2 and depth.max() < 4
  # the shoulders of one who faces camera 1 lie across it, his left towards smaller x
  tracked = clips[0][clips[0].any((1, 2))]
  assert (tracked[:, 8, 0] - tracked[:, 4, 0]).min() > 0.15
  # noise and the blind side apart, bones are as long from everywhere
  lengths = [np.median(_bone_lengths(clip[clip.any((1, 2))]), axis=0)[2:4] for clip in clips]
  np.testing.assert_allclose(lengths, lengths[:1] * 3, atol=0.02)


def test_recordings_lose_frames_and_people_are_noticed_late():
  gaps = late = 0
  for performer in range(1, 13):
    for action in (0, 10, 12, 13):
      for person in skeleton_files.make_clip(action, performer):
        seen = person.any((1, 2))
        first, last = np.flatnonzero(seen)[[0, -1]]
        gaps += not seen[first:last].all()
        late += first > 0 or last < len(seen) - 1
  assert gaps > 5 and late > 5  # of 84 people


def test_a_fixed_number_of_frames_is_kept():
  assert [len(person) for person in skeleton_files.make_clip(12, 5, frames=100)] == [100, 100]


# ------------------------------------------------------------ what it takes to learn


def _window(persons, times):
  """Centred as at load time: [2, len(times), joint, 3]; `times` wraps around each person's end."""
  clip = np.zeros((2, len(times), 25, 3), np.float32)
  for i, person in enumerate(persons):
    clip[i] = person[times % len(person)]
  return (clip - clip[:1, :, 1:2]) * (clip.sum(-1, keepdims=True) != 0)


@functools.cache
def _normalised():
  clips, labels, performers = [], [], []
  for performer in range(1, skeleton_files.PERFORMERS + 1):
    for action in range(len(skeleton_files.CLASS_NAMES)):
      for camera in (1, 2, 3):
        bodies = skeleton_files.make_clip(action, performer, camera=camera)
        clips.append(normalise.normalise(normalise.liveliest(bodies, 2), SKELETON, by_sum=True))
        labels.append(action)
        performers.append(performer)
  return clips, np.array(labels), np.array(performers)


def _accuracy_of_linear_classifier(features, labels, performers, penalty):
  """Multinomial logistic regression from odd to even performers."""
  train = performers % 2 == 1
  x = features.reshape(len(features), -1).astype(np.float64)
  x = (x - x[train].mean(0)) / (x[train].std(0) + 1e-6)
  target = np.eye(labels.max() + 1)[labels]

  def loss(flat):
    weights = flat.reshape(x.shape[1], -1)
    scores = x[train] @ weights
    scores -= scores.max(1, keepdims=True)
    log_sum = np.log(np.exp(scores).sum(1, keepdims=True))
    slope = np.exp(scores - log_sum) - target[train]
    value = -((scores - log_sum) * target[train]).sum(1).mean() + penalty * (weights**2).sum()
    return value, (x[train].T @ slope / train.sum() + 2 * penalty * weights).ravel()

  start = np.zeros(x.shape[1] * target.shape[1])
  fit = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100})
  guess = (x[~train] @ fit.x.reshape(x.shape[1], -1)).argmax(1)
  return float((guess == labels[~train]).mean())


def test_the_mean_pose_is_not_enough_for_a_linear_classifier():
  clips, labels, performers = _normalised()
  mean = np.stack([_window(persons, np.arange(300)).mean(1) for persons in clips])
  accuracy = max(
    _accuracy_of_linear_classifier(mean, labels, performers, penalty) for penalty in (1e-2, 1e-3)
  )
  print(f"mean pose, linear, unseen performers: {100 * accuracy:.1f} %")
  assert accuracy < 0.60


def test_the_course_of_poses_is_enough_for_a_linear_classifier():
  clips, labels, performers = _normalised()
  moments = [np.linspace(0, len(persons[0]) - 1, 12).round().astype(int) for persons in clips]
  course = np.stack([_window(*pair) for pair in zip(clips, moments, strict=True)])
  accuracy = _accuracy_of_linear_classifier(course, labels, performers, 1e-2)
  print(f"12 poses in order, linear, unseen performers: {100 * accuracy:.1f} %")
  assert accuracy > 0.95


# ------------------------------------------------------------ files


def _digest(paths):
  return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_the_same_arguments_give_the_same_bytes(tmp_path):
  first = _digest(skeleton_files.generate(tmp_path / "a", performers=2))
  assert first == _digest(skeleton_files.generate(tmp_path / "b", performers=2))
  assert len(first) == 2 * 14 * 3
  other = _digest(skeleton_files.generate(tmp_path / "c", performers=2, seed=1))
  assert other.keys() == first.keys() and not set(other.values()) & set(first.values())


def test_files_hold_the_clip_and_every_field_of_the_format(tmp_path):
  skeleton_files.generate(tmp_path, performers=1, cameras=2)
  for action, name in ((3, "S001C002P001R001A004"), (13, "S001C002P001R001A014")):
    data = (tmp_path / f"{name}.skeleton").read_bytes()
    expected = skeleton_files.make_clip(action, 1, camera=2)
    if all(person.any((1, 2)).all() for person in expected[:-1]):  # else bodies change their place
      np.testing.assert_allclose(ntu.parse(data), np.stack(expected), atol=6e-6)  # 5 decimals
    lines = data.decode("ascii").split("\r\n")
    assert lines[-1] == "" and "\n" not in "".join(lines) and "\0" not in "".join(lines)
    sizes = {len(line.split(" ")) for line in lines[:-1]}
    assert sizes == {1, 10, 12}
    assert all(float(field) is not None for line in lines[:-1] for field in line.split(" "))


def test_joint_lines_are_consistent_with_a_pinhole_camera_and_unit_rotations(tmp_path):
  path = skeleton_files.generate(tmp_path, performers=1, cameras=1)[0]
  rows = [line.split() for line in path.read_text().splitlines()]
  fields = np.array([row for row in rows if len(row) == 12], float).reshape(-1, 25, 12)
  np.testing.assert_allclose(
    fields[..., 3], 262.5 + 365.4 * fields[..., 0] / fields[..., 2], atol=0.06
  )
  size = np.linalg.norm(fields[..., 7:11], axis=-1)
  assert ((abs(size - 1) < 1e-3) | (size == 0)).all()
  assert set(np.unique(fields[..., 11])) <= {1, 2}


@pytest.mark.parametrize(
  ("value", "decimals", "text"),
  [(0, 4, "0.0000"), (-0.5, 1, "-0.5"), (3.14159, 4, "3.1416"), (-0.00001, 3, "0.000"),
   (1920.04, 1, "1920.0"), (7, 0, "7"), (9.99996, 4, "10.0000"), (-12.5, 2, "-12.50")],
)  # fmt: skip
def test_numbers_are_written_as_python_writes_them(value, decimals, text):
  digits = skeleton_files._digits(np.array([value]), 4, decimals)
  assert digits[digits != 0].tobytes().decode() == text


def test_real_reader_reads_them_as_ntu_recordings(tmp_path):
  paths = skeleton_files.generate(tmp_path, performers=2, cameras=1)
  recordings = ntu.open_recordings(
    tmp_path, source="synthetic", class_names=skeleton_files.CLASS_NAMES
  )
  assert recordings.keys == paths
  clips = [recordings.read(path) for path in recordings.keys]
  assert sorted({clip.label for clip in clips}) == list(range(14))
  assert {clip.facts["subject"] for clip in clips} == {1, 2}
  for clip in clips:
    assert len(clip.persons) == (2 if clip.label >= 10 else 1)
    assert 30 < len(clip.persons[0]) <= 120


def test_complete_recordings_are_used_again_and_others_replaced(tmp_path):
  paths = skeleton_files.generate(tmp_path, performers=1, cameras=1)
  times = [path.stat().st_mtime_ns for path in paths]
  assert skeleton_files.generate(tmp_path, performers=1, cameras=1) == paths
  assert [path.stat().st_mtime_ns for path in paths] == times
  before = _digest(paths)
  paths[3].write_bytes(paths[3].read_bytes()[:-100])  # damaged
  assert _digest(skeleton_files.generate(tmp_path, performers=1, cameras=1)) == before
  skeleton_files.generate(tmp_path, performers=1, cameras=2)
  more = skeleton_files.generate(tmp_path, performers=1, cameras=1)
  assert sorted(tmp_path.glob("*.skeleton")) == more == paths


def test_a_full_disk_is_said_with_a_path_and_leaves_no_half_of_the_recordings(
  tmp_path, monkeypatch
):
  write_bytes, written = pathlib.Path.write_bytes, []

  def full(path, content):
    if len(written) == 3:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    written.append(path)
    return write_bytes(path, content)

  monkeypatch.setattr(pathlib.Path, "write_bytes", full)
  with pytest.raises(OSError, match=r"No space left on device: '.*raw'"):
    skeleton_files.generate(tmp_path / "raw", performers=1, cameras=1)
  assert len(written) == 3 and not (tmp_path / "raw").exists()


def test_a_folder_with_other_recordings_is_left_alone(tmp_path):
  theirs = tmp_path / "S001C001P001R001A001.skeleton"
  theirs.write_text("0\n")
  with pytest.raises(ConfigError, match="1 recordings that were not generated here"):
    skeleton_files.generate(tmp_path, performers=1)
  assert theirs.read_text() == "0\n"


def test_recordings_put_beside_the_generated_ones_are_not_deleted(tmp_path):
  skeleton_files.generate(tmp_path, performers=1, cameras=1)
  theirs = tmp_path / "S020C001P040R001A005.skeleton"
  theirs.write_text("0\n")
  with pytest.raises(ConfigError, match="1 recordings that were not generated here"):
    skeleton_files.generate(tmp_path, performers=2, cameras=1)
  assert theirs.exists() and len(list(tmp_path.glob("*P001*"))) == 14


@pytest.mark.parametrize("wrong", [{"performers": 0}, {"cameras": 4}, {"seed": -1}, {"frames": 3}])
def test_arguments_out_of_range_are_named(tmp_path, wrong):
  ((name, value),) = wrong.items()
  with pytest.raises(ConfigError, match=f"{name} is {value}; expected"):
    skeleton_files.generate(tmp_path, **wrong)
  assert not list(tmp_path.iterdir())
