"""What clips without a description are taken for, and when that is refused."""

import argparse

import numpy as np
import pytest

from data_prep import layouts
from data_prep.readers import exchange
from mstgcn_jax import skeletons
from mstgcn_jax.errors import ConfigError, DataError

OPTIONS = argparse.Namespace(skeleton=None)

# Every joint and the one it hangs on, as the publishers' figures have them.
RIVALS = {
  "ntu_rgbd": """
    nose neck, neck neck, r_shoulder neck, r_elbow r_shoulder, r_wrist r_elbow, l_shoulder neck,
    l_elbow l_shoulder, l_wrist l_elbow, mid_hip neck, r_hip mid_hip, r_knee r_hip, r_ankle r_knee,
    l_hip mid_hip, l_knee l_hip, l_ankle l_knee, r_eye nose, l_eye nose, r_ear r_eye, l_ear l_eye,
    l_big_toe l_ankle, l_small_toe l_big_toe, l_heel l_ankle, r_big_toe r_ankle,
    r_small_toe r_big_toe, r_heel r_ankle""",
  "coco": """
    hip hip, r_hip hip, r_knee r_hip, r_foot r_knee, l_hip hip, l_knee l_hip, l_foot l_knee,
    spine hip, thorax spine, neck thorax, head neck, l_shoulder thorax, l_elbow l_shoulder,
    l_wrist l_elbow, r_shoulder thorax, r_elbow r_shoulder, r_wrist r_elbow""",
  "shrec": """
    pelvis pelvis, l_hip pelvis, r_hip pelvis, spine1 pelvis, l_knee l_hip, r_knee r_hip,
    spine2 spine1, l_ankle l_knee, r_ankle r_knee, spine3 spine2, l_foot l_ankle, r_foot r_ankle,
    neck spine3, l_collar spine3, r_collar spine3, head neck, l_shoulder l_collar,
    r_shoulder r_collar, l_elbow l_shoulder, r_elbow r_shoulder, l_wrist l_elbow,
    r_wrist r_elbow""",
}


@pytest.mark.parametrize("name", RIVALS)
def test_rivals_have_the_publishers_bones(name):
  pairs = [row.split() for row in RIVALS[name].split(",")]
  joints = [joint for joint, _ in pairs]
  expected = tuple(joints.index(parent) for _, parent in pairs)
  assert layouts._RIVALS[name].parents == expected
  assert len(expected) == skeletons.get(name).num_joints


def hanging(parents) -> np.ndarray:
  """A clip [person, frame, joint, 3]: a joint is 0.3 from its parent, rather straight on."""
  places, ways = {}, {}
  rng = np.random.default_rng(1)
  while len(places) < len(parents):
    for joint, parent in enumerate(parents):
      if joint == parent:
        places[joint], ways[joint] = np.float32([0, 0, -3]), np.zeros(3)
      elif parent in places and joint not in places:
        way = 2 * ways[parent] + rng.normal(size=3) / 3
        ways[joint] = way / np.linalg.norm(way)
        places[joint] = places[parent] + 0.3 * ways[joint]
  return np.array([places[joint] for joint in range(len(parents))], np.float32)[None, None]


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_layout_is_refused_where_another_fits_the_bones(name, dimensions):
  theirs = hanging(layouts._RIVALS[name].parents)[..., :dimensions]
  with pytest.raises(
    ConfigError, match=rf"seem to be .*--skeleton {name}, or --skeleton FILE\.json"
  ):
    layouts.skeleton_for(OPTIONS, [theirs])
  skeleton, notes = layouts.skeleton_for(argparse.Namespace(skeleton=name), [theirs])
  assert skeleton.name == name and not notes


@pytest.mark.parametrize("name", ["ntu_rgbd", "coco", "shrec", "kinetics", "mediapipe"])
def test_a_layout_that_fits_is_taken_and_said_with_its_rivals(name):
  clip = hanging(skeletons.get(name).bone_parents)
  skeleton, (note,) = layouts.skeleton_for(OPTIONS, [clip])
  assert skeleton.name == name
  assert note.startswith(f"{skeleton.num_joints} joints: taken for {name}, ")
  rival = {"ntu_rgbd": "BODY_25", "coco": "Human3.6M has as many and is in 3-D", "shrec": "SMPL"}
  rival = rival.get(name, "")
  assert rival in note and ("--skeleton FILE.json" in note) == bool(rival)


def test_twenty_five_joints_in_a_picture_are_not_taken_for_kinects():
  clip = hanging(skeletons.get("ntu_rgbd").bone_parents)
  scored = np.concatenate([clip[..., :2], np.full_like(clip[..., 2:], 0.9)], axis=-1)
  for flat in (clip[..., :2], scored):
    with pytest.raises(
      ConfigError, match=r"ntu_rgbd is measured in 3-D; they seem to be .*BODY_25"
    ):
      layouts.skeleton_for(OPTIONS, [flat, flat])
  assert layouts.skeleton_for(OPTIONS, [clip, scored, clip])[0].name == "ntu_rgbd"
  with pytest.raises(ConfigError, match="ntu_rgbd is measured in 3-D"):
    layouts.skeleton_for(OPTIONS, [clip, scored, scored])


@pytest.mark.parametrize("name", ["coco", "kinetics", "mediapipe"])
def test_layouts_of_pictures_are_taken_in_two_dimensions(name):
  clip = hanging(skeletons.get(name).bone_parents)
  scored = np.concatenate([clip[..., :2], np.full_like(clip[..., 2:], 0.9)], axis=-1)
  for flat in (clip[..., :2], scored):
    skeleton, (note,) = layouts.skeleton_for(OPTIONS, [flat])
    assert skeleton.name == name and "is in 3-D" not in note


def test_a_score_is_no_part_of_a_bone():
  clip = hanging(layouts._RIVALS["coco"].parents)[..., :2] / 100
  score = np.random.default_rng(0).uniform(size=(*clip.shape[:-1], 1))
  with pytest.raises(ConfigError, match=r"seem to be Human3\.6M"):
    layouts.skeleton_for(OPTIONS, [np.concatenate([clip, score], axis=-1)])


@pytest.mark.parametrize(
  ("lowest", "highest", "expected"),
  [(0, 0, False), (0, 1, True), (0.2, 1.5, True), (0, 1.6, False), (-0.1, 1, False)],
)
def test_a_score_lies_between_zero_and_a_little_above_one(lowest, highest, expected):
  assert layouts.is_score(np.array([[lowest, highest, (lowest + highest) / 2]])) == expected


def test_untracked_joints_say_nothing_of_bones():
  ours = hanging(skeletons.get("coco").bone_parents)
  lost = ours.copy()
  lost[..., [5, 6, 11, 12], :] = 0
  assert layouts._bone_length([lost], [(7, 5), (9, 7)], 3) == pytest.approx(0.3)
  assert layouts._bone_length([ours, lost], [(7, 5), (9, 7), (3, 1)], 3) == pytest.approx(0.3)
  assert layouts._bone_length([np.zeros((1, 2, 17, 3))], [(7, 5)], 3) == 0


@pytest.mark.parametrize(
  ("shapes", "hint"),
  [
    ([(3, 8, 17)], "[channel, frame, joint], save clip.transpose(1, 2, 0)"),
    ([(3, 8, 17, 1)], "[channel, frame, joint, person], save clip.transpose(3, 1, 2, 0)"),
    ([(2, 8, 17)], "[channel, frame, joint], save clip.transpose(1, 2, 0)"),
    ([(8, 17, 1)], "should be 2 or 3 coordinates, maybe with a score"),
    ([(1, 8, 17, 13)], "should be 2 or 3 coordinates, maybe with a score"),
  ],
)
def test_clips_whose_last_axis_is_not_channels_are_refused(shapes, hint):
  with pytest.raises(DataError) as error:
    layouts.check_axes(shapes)
  assert str(error.value).endswith(hint)


@pytest.mark.parametrize(
  ("shapes", "hint"),
  [
    ([(3, 8, 17, 2), (3, 9, 17, 2)], "read as 3 persons in 2-D"),
    ([(3, 8, 17, 2), (2, 9, 17, 2)], ""),
    ([(3, 8, 17, 3)], ""),
    ([(8, 17, 2), (2, 8, 17, 2)], ""),
    ([(30, 2, 17, 3)], "save clip.swapaxes(0, 1)"),
    ([(10, 4, 17, 3)], "save clip.swapaxes(0, 1)"),
    ([(30, 40, 17, 3)], ""),
    ([(30, 2, 17, 3), (2, 30, 17, 3)], ""),
    ([(2, 2, 17, 12)], ""),
  ],
)
def test_clips_whose_axes_may_be_in_another_order_are_mentioned(shapes, hint):
  warnings = layouts.check_axes(shapes)
  assert [hint in line for line in warnings] == ([True] if hint else [])


def test_many_items_are_looked_at_evenly_and_the_most_frequent_value_wins():
  assert exchange.some(range(10), 4) == [0, 2, 5, 7] and exchange.some("abc", 3) == ["a", "b", "c"]
  assert exchange.majority("abbc") == "b" and exchange.majority("ba") == "b"
