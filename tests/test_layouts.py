"""What clips without a description are taken for, and when that is refused."""

import numpy as np
import pytest
import stick_poses

from data_prep import layouts, raw_values
from mstgcn_jax import skeletons
from mstgcn_jax.errors import ConfigError, DataError

SMPL = """
  pelvis pelvis, l_hip pelvis, r_hip pelvis, spine1 pelvis, l_knee l_hip, r_knee r_hip,
  spine2 spine1, l_ankle l_knee, r_ankle r_knee, spine3 spine2, l_foot l_ankle, r_foot r_ankle,
  neck spine3, l_collar spine3, r_collar spine3, head neck, l_shoulder l_collar,
  r_shoulder r_collar, l_elbow l_shoulder, r_elbow r_shoulder, l_wrist l_elbow,
  r_wrist r_elbow"""
RIVALS = {"ntu_rgbd": "body_25", "coco": "h36m"}  # the usual layout, and who has as many joints


def test_smpls_body_has_its_publishers_bones():
  pairs = [row.split() for row in SMPL.split(",")]
  joints = [joint for joint, _ in pairs]
  assert layouts._RIVALS["shrec"].bone_parents == tuple(joints.index(parent) for _, parent in pairs)


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
def test_of_two_layouts_the_one_whose_bones_fit_is_taken(name, dimensions):
  rival = RIVALS[name]
  theirs = hanging(skeletons.get(rival).bone_parents)[..., :dimensions]
  skeleton, (note,) = layouts.skeleton_for(None, [theirs])
  assert skeleton.name == rival
  why = "is only measured in 3-D" if (name, dimensions) == ("ntu_rgbd", 2) else "times as long"
  assert f"; {name} (" in note and why in note and f"say --skeleton {name}" in note
  skeleton, notes = layouts.skeleton_for(name, [theirs])
  assert skeleton.name == name and not notes


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_hand_is_refused_where_a_body_fits_the_bones(dimensions):
  theirs = hanging(layouts._RIVALS["shrec"].bone_parents)[..., :dimensions]
  with pytest.raises(ConfigError, match=r"seem to be SMPL.*--skeleton shrec, or --skeleton FILE"):
    layouts.skeleton_for(None, [theirs])
  assert layouts.skeleton_for("shrec", [theirs])[0].name == "shrec"


@pytest.mark.parametrize("name", ["ntu_rgbd", "coco", "shrec", "kinetics", "mediapipe", "h36m"])
def test_a_layout_that_fits_is_taken_and_said_with_its_rivals(name):
  clip = hanging(skeletons.get(name).bone_parents)
  skeleton, (note,) = layouts.skeleton_for(None, [clip])
  assert skeleton.name == name
  assert note.startswith(f"{skeleton.num_joints} joints: taken for {name}, ")
  rivals = {"ntu_rgbd": "body_25", "coco": "h36m", "h36m": "coco", "shrec": "SMPL"}
  assert rivals.get(name, "") in note and (name in rivals) == ("has as many" in note)


def test_twenty_five_joints_in_a_picture_are_not_taken_for_kinects():
  clip = stick_poses.people(4)
  scored = np.concatenate([clip[..., :2], np.full_like(clip[..., 2:], 0.9)], axis=-1)
  clip[..., 2] -= 1  # no score
  for flat in (clip[..., :2], scored):
    message = r"25 joints as body_25 has, but its bones would be.*--skeleton body_25, ntu_rgbd, or"
    with pytest.raises(ConfigError, match=message):
      layouts.skeleton_for(None, [flat, flat])
  assert layouts.skeleton_for(None, [clip, scored, clip])[0].name == "ntu_rgbd"
  with pytest.raises(ConfigError, match="as body_25 has"):
    layouts.skeleton_for(None, [clip, scored, scored])


def test_kinects_of_the_first_kind_are_told_apart_only_where_the_bones_do():
  msr, sdk = (hanging(skeletons.get(name).bone_parents) for name in ("msr_action3d", "nw_ucla"))
  assert layouts.skeleton_for(None, [msr])[0].name == "msr_action3d"
  with pytest.raises(ConfigError, match="fits utd_mhad and nw_ucla and msr_action3d; say which"):
    layouts.skeleton_for(None, [sdk])
  with pytest.raises(ConfigError, match=r"20 joints, which .* measured in 3-D, while"):
    layouts.skeleton_for(None, [sdk[..., :2]])


BODIES = ("ntu_rgbd", "kinetics", "coco", "mediapipe", "body_25", "halpe26", "h36m")


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("flat", [False, True])
def test_stick_people_are_plausible_and_with_their_joints_shuffled_they_are_not(name, flat):
  bodies = stick_poses.people(4, seed=3)
  clip = bodies if name == "ntu_rgbd" else stick_poses.as_layout(bodies, name)
  if flat:
    clip = stick_poses.pixels(clip) * [1, -1]
  skeleton, dimensions = skeletons.get(name), clip.shape[-1]
  assert layouts.implausible(skeleton, [clip], dimensions, up="y") == ""
  assert "heads would lie below feet" in layouts.implausible(skeleton, [clip], dimensions, up="-y")
  shuffled = clip[..., np.random.default_rng(0).permutation(skeleton.num_joints), :]
  assert "bones would be" in layouts.implausible(skeleton, [shuffled], dimensions)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_clip_of_numbers_without_end_does_not_make_other_clips_plausible(value):
  bodies = stick_poses.as_layout(stick_poses.people(4, seed=3), "coco")
  shuffled = bodies[..., np.random.default_rng(0).permutation(17), :]
  broken = shuffled.copy()
  broken[..., 0, 3, 0] = value
  with pytest.raises(ConfigError, match="bones would be"):
    layouts.skeleton_for(None, [broken, shuffled])
  assert layouts.skeleton_for(None, [broken, bodies])[0].name == "coco"


def test_a_hand_is_plausible_and_with_its_joints_shuffled_it_is_not():
  hand, skeleton = stick_poses.hand(30), skeletons.get("hand21")
  for clip in (hand, hand[..., :2]):
    assert layouts.implausible(skeleton, [clip], clip.shape[-1]) == ""
    shuffled = clip[:, np.random.default_rng(0).permutation(21)]
    assert "a hand's are at most 1.2" in layouts.implausible(skeleton, [shuffled], clip.shape[-1])


def test_untracked_joints_say_nothing_of_which_way_is_up():
  clip = stick_poses.as_layout(stick_poses.people(4), "coco")
  coco = skeletons.get("coco")
  clip[:, :20, [0, 1, 2, 3, 4, 5, 6]] = 0  # no upper body in half of the frames
  assert not layouts.upside_down(clip, coco, "y") and layouts.upside_down(clip, coco, "-y")
  assert not layouts.upside_down(np.zeros((1, 4, 17, 3)), coco, "-y")
  alone = stick_poses.as_layout(stick_poses.people(4), "coco") + 10  # all places above 0
  alone[..., [1, 2, 3, 4, 5, 6], :] = 0  # of the upper body only the nose
  assert not layouts.upside_down(alone, coco, "y")
  assert not layouts.upside_down(clip[..., :2], coco, "-z")


@pytest.mark.parametrize("name", ["coco", "kinetics", "mediapipe"])
def test_layouts_of_pictures_are_taken_in_two_dimensions(name):
  clip = hanging(skeletons.get(name).bone_parents)
  scored = np.concatenate([clip[..., :2], np.full_like(clip[..., 2:], 0.9)], axis=-1)
  for flat in (clip[..., :2], scored):
    assert layouts.skeleton_for(None, [flat])[0].name == name


def test_a_score_is_no_part_of_a_bone():
  clip = hanging(skeletons.get("h36m").bone_parents)[..., :2] / 100
  score = np.random.default_rng(0).uniform(size=(*clip.shape[:-1], 1))
  scored = np.concatenate([clip, score], axis=-1)
  assert layouts.skeleton_for(None, [scored])[0].name == "h36m"


@pytest.mark.parametrize(
  ("lowest", "highest", "expected"),
  [(0, 0, False), (0, 1, True), (0.2, 1.5, True), (0, 1.6, False), (-0.1, 1, False)],
)
def test_a_score_lies_between_zero_and_a_little_above_one(lowest, highest, expected):
  assert layouts.is_score(np.array([[lowest, highest, (lowest + highest) / 2]])) == expected


def test_channels_beyond_three_have_no_names():
  clip = np.linspace(0, 1, 24).reshape(2, 3, 4)
  names = [layouts.channel_names([clip[..., :count]]) for count in (2, 3, 4)]
  assert names == [("x", "y"), ("x", "y", "score"), ()]
  assert layouts.channel_names([-clip[..., :3]]) == ("x", "y", "z")


def test_places_count_from_a_corner_where_most_clips_have_joints_and_none_below_zero():
  pixels, nobody = np.full((1, 2, 17, 2), 9.0), np.zeros((1, 2, 17, 2))
  pixels[:, 0, 3] = 0  # a joint that is not tracked
  assert layouts.corner_warnings([pixels, pixels, nobody])
  assert not layouts.corner_warnings([pixels, nobody, nobody])
  assert not layouts.corner_warnings([pixels - 5, pixels - 5, pixels])


def test_a_score_is_mentioned_only_where_it_would_be_turned_or_centred():
  scored = [np.full((1, 2, 15, 3), 0.5)]
  jhmdb = skeletons.get("jhmdb")  # centred on a joint, but not turned
  assert jhmdb.vertical is jhmdb.horizontal is None and jhmdb.center is not None
  assert layouts.moves(jhmdb) and layouts.score_warnings(scored, jhmdb)
  coco = skeletons.get("coco")
  assert not layouts.moves(coco) and not layouts.score_warnings(scored, coco)


def test_untracked_joints_say_nothing_of_bones_nor_of_the_figures_size():
  clip = np.zeros((1, 1, 17, 3))
  clip[..., 3, 0], clip[..., 9, 0] = 9, 11  # 1 from their middle each
  assert layouts._size([clip], 3) == 1
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
    ([(8, 17, 3), (8, 17, 3), (30, 2, 17, 3)], ""),
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
  assert raw_values.some(range(10), 4) == [0, 2, 5, 7]
  assert raw_values.some("abc", 3) == ["a", "b", "c"]
  assert raw_values.majority("abbc") == "b" and raw_values.majority("ba") == "b"
