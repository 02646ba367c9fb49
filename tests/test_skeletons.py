"""Joint layouts: plain data that checks itself."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from golden import golden

from mstgcn_jax import skeletons
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.skeletons import Skeleton

ARM = {
  "name": "arm",
  "joints": ["shoulder", "elbow", "wrist"],
  "inward": [["elbow", "shoulder"], ["wrist", "elbow"]],
  "center": "shoulder",
}
HANDS = ("shrec", "hand21")


@pytest.mark.parametrize("name", skeletons.names())
def test_every_layout_is_one_tree_of_bones_and_survives_json(name):
  skeleton = skeletons.get(name)
  roots = [joint for joint, parent in enumerate(skeleton.bone_parents) if joint == parent]
  assert len(roots) == 1
  assert len(skeleton.inward) == skeleton.num_joints - 1
  assert Skeleton.from_dict(json.loads(json.dumps(skeleton.to_dict()))) == skeleton
  assert hash(skeleton) == hash(Skeleton.from_dict(skeleton.to_dict()))


@pytest.mark.parametrize("name", [name for name in skeletons.names() if name not in HANDS])
def test_mirrored_bones_of_every_body_layout_are_bones(name):
  skeleton = skeletons.get(name)
  assert skeleton.mirror
  swap = list(range(skeleton.num_joints))
  for left, right in skeleton.mirror:
    swap[left], swap[right] = right, left
  assert {(swap[a], swap[b]) for a, b in skeleton.inward} == set(skeleton.inward)


@pytest.mark.parametrize(("name", "prefix"), [("ntu_rgbd", "ntu"), ("kinetics", "kinetics")])
def test_bone_parents_are_the_references(name, prefix):
  pairs = np.load(golden("data/streams.npz"))[f"{prefix}/pairs"]
  parents = dict(pairs.tolist())
  assert skeletons.get(name).bone_parents == tuple(parents[j] for j in range(len(parents)))


# Every joint with its number and the joint its bone hangs on, as the publishers' figures have them.
BY_HAND = {
  "coco": """
    0 nose nose, 1 left_eye nose, 2 right_eye nose, 3 left_ear left_eye, 4 right_ear right_eye,
    5 left_shoulder nose, 6 right_shoulder nose, 7 left_elbow left_shoulder,
    8 right_elbow right_shoulder, 9 left_wrist left_elbow, 10 right_wrist right_elbow,
    11 left_hip left_shoulder, 12 right_hip right_shoulder, 13 left_knee left_hip,
    14 right_knee right_hip, 15 left_ankle left_knee, 16 right_ankle right_knee""",
  "mediapipe": """
    0 nose nose, 1 left_eye_inner nose, 2 left_eye left_eye_inner, 3 left_eye_outer left_eye,
    4 right_eye_inner nose, 5 right_eye right_eye_inner, 6 right_eye_outer right_eye,
    7 left_ear left_eye_outer, 8 right_ear right_eye_outer, 9 mouth_left nose, 10 mouth_right nose,
    11 left_shoulder nose, 12 right_shoulder nose, 13 left_elbow left_shoulder,
    14 right_elbow right_shoulder, 15 left_wrist left_elbow, 16 right_wrist right_elbow,
    17 left_pinky left_wrist, 18 right_pinky right_wrist, 19 left_index left_wrist,
    20 right_index right_wrist, 21 left_thumb left_wrist, 22 right_thumb right_wrist,
    23 left_hip left_shoulder, 24 right_hip right_shoulder, 25 left_knee left_hip,
    26 right_knee right_hip, 27 left_ankle left_knee, 28 right_ankle right_knee,
    29 left_heel left_ankle, 30 right_heel right_ankle, 31 left_foot_index left_heel,
    32 right_foot_index right_heel""",
  "body_25": """
    0 nose neck, 1 neck neck, 2 right_shoulder neck, 3 right_elbow right_shoulder,
    4 right_wrist right_elbow, 5 left_shoulder neck, 6 left_elbow left_shoulder,
    7 left_wrist left_elbow, 8 mid_hip neck, 9 right_hip mid_hip, 10 right_knee right_hip,
    11 right_ankle right_knee, 12 left_hip mid_hip, 13 left_knee left_hip, 14 left_ankle left_knee,
    15 right_eye nose, 16 left_eye nose, 17 right_ear right_eye, 18 left_ear left_eye,
    19 left_big_toe left_ankle, 20 left_small_toe left_big_toe, 21 left_heel left_ankle,
    22 right_big_toe right_ankle, 23 right_small_toe right_big_toe, 24 right_heel right_ankle""",
  "halpe26": """
    0 nose neck, 1 left_eye nose, 2 right_eye nose, 3 left_ear left_eye, 4 right_ear right_eye,
    5 left_shoulder neck, 6 right_shoulder neck, 7 left_elbow left_shoulder,
    8 right_elbow right_shoulder, 9 left_wrist left_elbow, 10 right_wrist right_elbow,
    11 left_hip hip, 12 right_hip hip, 13 left_knee left_hip, 14 right_knee right_hip,
    15 left_ankle left_knee, 16 right_ankle right_knee, 17 head neck, 18 neck hip, 19 hip hip,
    20 left_big_toe left_heel, 21 right_big_toe right_heel, 22 left_small_toe left_heel,
    23 right_small_toe right_heel, 24 left_heel left_ankle, 25 right_heel right_ankle""",
  "h36m": """
    0 hip hip, 1 right_hip hip, 2 right_knee right_hip, 3 right_foot right_knee, 4 left_hip hip,
    5 left_knee left_hip, 6 left_foot left_knee, 7 spine hip, 8 thorax spine, 9 neck thorax,
    10 head neck, 11 left_shoulder thorax, 12 left_elbow left_shoulder, 13 left_wrist left_elbow,
    14 right_shoulder thorax, 15 right_elbow right_shoulder, 16 right_wrist right_elbow""",
  "msr_action3d": """
    0 right_shoulder shoulder_center, 1 left_shoulder shoulder_center,
    2 shoulder_center shoulder_center, 3 spine shoulder_center, 4 right_hip hip_center,
    5 left_hip hip_center, 6 hip_center spine, 7 right_elbow right_shoulder,
    8 left_elbow left_shoulder, 9 right_wrist right_elbow, 10 left_wrist left_elbow,
    11 right_hand right_wrist, 12 left_hand left_wrist, 13 right_knee right_hip,
    14 left_knee left_hip, 15 right_ankle right_knee, 16 left_ankle left_knee,
    17 right_foot right_ankle, 18 left_foot left_ankle, 19 head shoulder_center""",
  "jhmdb": """
    0 neck belly, 1 belly belly, 2 head neck, 3 right_shoulder neck, 4 left_shoulder neck,
    5 right_hip belly, 6 left_hip belly, 7 right_elbow right_shoulder, 8 left_elbow left_shoulder,
    9 right_knee right_hip, 10 left_knee left_hip, 11 right_wrist right_elbow,
    12 left_wrist left_elbow, 13 right_ankle right_knee, 14 left_ankle left_knee""",
  "hand21": """
    0 wrist wrist, 1 thumb_cmc wrist, 2 thumb_mcp thumb_cmc, 3 thumb_ip thumb_mcp,
    4 thumb_tip thumb_ip, 5 index_mcp wrist, 6 index_pip index_mcp, 7 index_dip index_pip,
    8 index_tip index_dip, 9 middle_mcp wrist, 10 middle_pip middle_mcp,
    11 middle_dip middle_pip, 12 middle_tip middle_dip, 13 ring_mcp wrist, 14 ring_pip ring_mcp,
    15 ring_dip ring_pip, 16 ring_tip ring_dip, 17 pinky_mcp wrist, 18 pinky_pip pinky_mcp,
    19 pinky_dip pinky_pip, 20 pinky_tip pinky_dip""",
  "shrec": """
    0 wrist palm, 1 palm palm, 2 thumb_base wrist, 3 thumb_first thumb_base,
    4 thumb_second thumb_first, 5 thumb_tip thumb_second, 6 index_base palm,
    7 index_first index_base, 8 index_second index_first, 9 index_tip index_second,
    10 middle_base palm, 11 middle_first middle_base, 12 middle_second middle_first,
    13 middle_tip middle_second, 14 ring_base palm, 15 ring_first ring_base,
    16 ring_second ring_first, 17 ring_tip ring_second, 18 pinky_base palm,
    19 pinky_first pinky_base, 20 pinky_second pinky_first, 21 pinky_tip pinky_second""",
  "nw_ucla": """
    0 hip_center spine, 1 spine shoulder_center, 2 shoulder_center shoulder_center,
    3 head shoulder_center, 4 left_shoulder shoulder_center, 5 left_elbow left_shoulder,
    6 left_wrist left_elbow, 7 left_hand left_wrist, 8 right_shoulder shoulder_center,
    9 right_elbow right_shoulder, 10 right_wrist right_elbow, 11 right_hand right_wrist,
    12 left_hip hip_center, 13 left_knee left_hip, 14 left_ankle left_knee,
    15 left_foot left_ankle, 16 right_hip hip_center, 17 right_knee right_hip,
    18 right_ankle right_knee, 19 right_foot right_ankle""",
  "utd_mhad": """
    0 head shoulder_center, 1 shoulder_center shoulder_center, 2 spine shoulder_center,
    3 hip_center spine, 4 left_shoulder shoulder_center, 5 left_elbow left_shoulder,
    6 left_wrist left_elbow, 7 left_hand left_wrist, 8 right_shoulder shoulder_center,
    9 right_elbow right_shoulder, 10 right_wrist right_elbow, 11 right_hand right_wrist,
    12 left_hip hip_center, 13 left_knee left_hip, 14 left_ankle left_knee,
    15 left_foot left_ankle, 16 right_hip hip_center, 17 right_knee right_hip,
    18 right_ankle right_knee, 19 right_foot right_ankle""",
}


# Of all layouts but the reference's.
@pytest.mark.parametrize("name", sorted({*skeletons.names(), *BY_HAND} - {"ntu_rgbd", "kinetics"}))
def test_joints_and_bones_have_the_publishers_order(name):
  skeleton = skeletons.get(name)
  found = [
    f"{i} {joint} {skeleton.joints[skeleton.bone_parents[i]]}"
    for i, joint in enumerate(skeleton.joints)
  ]
  assert found == [" ".join(row.split()) for row in BY_HAND[name].split(",")]


@pytest.mark.parametrize(
  ("name", "fields"),
  [
    ("ntu_rgbd", "spine_mid, spine_base spine_mid, right_shoulder left_shoulder"),
    ("utd_mhad", "spine, hip_center spine, right_shoulder left_shoulder"),
    ("nw_ucla", "spine, hip_center spine, right_shoulder left_shoulder"),
    ("mediapipe", "none, none, right_shoulder left_shoulder"),
    ("shrec", "palm, wrist palm, none"),
    ("coco", "none, none, none"),
    ("kinetics", "none, none, none"),
    ("body_25", "mid_hip, mid_hip neck, right_shoulder left_shoulder"),
    ("halpe26", "hip, hip neck, right_shoulder left_shoulder"),
    ("h36m", "hip, hip thorax, right_shoulder left_shoulder"),
    ("msr_action3d", "spine, hip_center spine, right_shoulder left_shoulder"),
    ("jhmdb", "belly, none, none"),
    ("hand21", "wrist, wrist middle_mcp, none"),
  ],
)
def test_clips_are_centred_and_turned_by_these_joints(name, fields):
  skeleton = skeletons.get(name)
  center = () if skeleton.center is None else (skeleton.center,)
  found = [
    " ".join(skeleton.joints[joint] for joint in joints or ()) or "none"
    for joints in (center, skeleton.vertical, skeleton.horizontal)
  ]
  assert ", ".join(found) == fields


@pytest.mark.parametrize("name", skeletons.names())
def test_every_part_is_one_limb_and_mirrored_joints_are_a_left_and_its_right(name):
  skeleton = skeletons.get(name)
  for part in skeleton.parts:
    sides = {side for joint in part for side in ("left", "right") if side in skeleton.joints[joint]}
    assert len(sides) < 2 or "nose" in [skeleton.joints[joint] for joint in part]
    links = [edge for edge in skeleton.inward if set(edge) <= set(part)]
    assert len(links) == len(part) - 1  # it hangs together
  for left, right in skeleton.mirror:
    assert "left" in skeleton.joints[left]
    assert skeleton.joints[right] == skeleton.joints[left].replace("left", "right")
  sided = [joint for joint, name in enumerate(skeleton.joints) if "left" in name or "right" in name]
  assert sorted(joint for pair in skeleton.mirror for joint in pair) == sided


def test_ntu_body_parts_are_the_references():
  config = json.loads(str(np.load(golden("model/ms_pa.npz"))["config"]))
  assert skeletons.get("ntu_rgbd").parts == tuple(tuple(part) for part in config["parts"])


def test_a_users_layout_is_read_from_json_with_joints_by_name(tmp_path):
  path = tmp_path / "arm.json"
  path.write_text(json.dumps(ARM))
  skeleton = skeletons.load(path)
  assert skeleton.inward == ((1, 0), (2, 1))
  assert skeleton.bone_parents == (0, 0, 1)  # follow from the edges
  assert skeleton.center == 0
  assert skeletons.resolve(str(path)) == skeleton
  path.write_text(json.dumps(ARM), encoding="utf-8-sig")  # as Windows' editors write it
  assert skeletons.load(path) == skeletons.resolve(path) == skeleton


def test_edges_follow_from_bone_parents_in_a_call():
  skeleton = Skeleton("arm", ["shoulder", "elbow", "wrist"], bone_parents=[0, 0, 1])
  assert skeleton.inward == ((1, 0), (2, 1))


def test_numbers_and_arrays_of_numpy_make_the_same_skeleton():
  names, parents = np.array(["shoulder", "elbow", "wrist"]), np.array([0, 0, 1])
  skeleton = Skeleton("arm", names, bone_parents=parents, center=parents.max())
  assert skeleton == Skeleton("arm", tuple(names.tolist()), bone_parents=(0, 0, 1), center=1)
  assert Skeleton.from_dict(json.loads(json.dumps(skeleton.to_dict()))) == skeleton


def test_resolve_takes_a_name_fields_and_a_skeleton():
  ntu = skeletons.get("ntu_rgbd")
  assert skeletons.resolve("ntu_rgbd") is ntu
  assert skeletons.resolve(ntu) is ntu
  assert skeletons.resolve(ntu.to_dict()) == ntu
  with pytest.raises(ConfigError, match="neither a name"):
    skeletons.resolve(25)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"joints": ["a", "b", "a"], "inward": [], "center": 0}, "'a' appears twice"),
    ({"joints": "abc"}, "joints must be a list of names"),
    ({"joints": [["a"], "b", "c"], "inward": [], "center": 0}, "joints must be a list of names"),
    ({"inward": [[1, 3], [2, 1]]}, "inward: 3 is not a joint index in 0..2"),
    ({"inward": [[1, 1]]}, "joins a joint to itself"),
    ({"inward": [[1, 0, 2]]}, "not a pair"),
    ({"inward": [["elbow", "sholder"]]}, "inward: no joint is named 'sholder'"),
    ({"inward": [[1, 0], [2, 1], [2, 0]]}, "two parents"),
    ({"inward": []}, "inward and bone_parents are both missing"),
    ({"inward": [[1, 0], [0, 1]]}, "run in a circle"),
    ({"inward": [[1, 0]]}, "inward does not connect wrist with the other joints: is an edge"),
    ({"inward": [[1, 0]], "bone_parents": [0, 0, 1]}, "inward does not connect wrist"),
    (
      {"inward": [[1, 0], [2, 1], [2, 1]], "bone_parents": [0, 0, 1]},
      "inward: an edge appears twice",
    ),
    ({"bone_parents": [0, 0]}, "bone_parents: 2 given for 3 joints"),
    ({"bone_parents": 5}, "bone_parents: 5 given for 3 joints"),
    ({"bone_parents": 5, "inward": []}, "bone_parents: 5 given for 3 joints"),
    ({"center": 7}, "center: 7 is not a joint index"),
    ({"center": True}, "center: True is not a joint index"),
    ({"vertical": [0]}, "vertical"),
    ({"horizontal": [0]}, "horizontal"),
    ({"parts": [[0, 1, 2], []]}, r"parts: \(\) is not a list of joints"),
    ({"part_edges": [[[0, 5]]]}, "part_edges: 5 is not a joint index"),
    ({"mirror": [[0, 3]]}, "mirror: 3 is not a joint index"),
    ({"parts": [[0, 1]]}, r"joint 2 \(wrist\) is in 0 parts"),
    ({"parts": [[0, 1], [1, 2]]}, r"joint 1 \(elbow\) is in 2 parts"),
    ({"mirror": [[0, 1], [1, 2]]}, "a joint is in two pairs"),
    ({"colour": "red"}, "unknown field 'colour'"),
    ({"name": ""}, "name must be"),
    ({"name": 5}, "name must be"),
  ],
)
def test_a_wrong_field_is_named_with_its_value(changes, message):
  with pytest.raises(ConfigError, match=message):
    Skeleton.from_dict(ARM | changes)


def test_a_figure_of_several_pieces_says_so_by_its_bones():
  hands = {"name": "hands", "joints": ["left", "left_tip", "right", "right_tip"]}
  edges = [["left_tip", "left"], ["right_tip", "right"]]
  with pytest.raises(ConfigError, match="inward does not connect right, right_tip with the other"):
    Skeleton.from_dict(hands | {"inward": edges})
  given = Skeleton.from_dict(hands | {"bone_parents": ["left", "left", "right", "right"]})
  assert given.inward == ((1, 0), (3, 2))
  assert Skeleton.from_dict(given.to_dict()) == given


def test_a_wrong_file_is_named(tmp_path):
  with pytest.raises(ConfigError, match=r"none\.json could not be read"):
    skeletons.load(tmp_path / "none.json")
  path = tmp_path / "bad.json"
  path.write_text("{")
  with pytest.raises(ConfigError, match=r"bad\.json is not JSON"):
    skeletons.load(path)
  path.write_text("[" * 100_000)
  with pytest.raises(ConfigError, match=r"bad\.json is nested too deeply"):
    skeletons.load(path)
  path.write_text(json.dumps(ARM | {"inward": 0}).replace("0", "[" * 500 + "]" * 500))
  with pytest.raises(ConfigError, match=r"bad\.json"):
    skeletons.load(path)
  path.write_text("[]")
  with pytest.raises(ConfigError, match="holds a list"):
    skeletons.load(path)
  path.write_text(json.dumps(ARM | {"center": 9}))
  with pytest.raises(ConfigError, match=r"bad\.json: skeleton .*center: 9"):
    skeletons.load(path)


def test_an_operation_whose_field_is_missing_refuses_by_name():
  with pytest.raises(ConfigError, match=r"centring needs `center`.*'kinetics'"):
    skeletons.get("kinetics").require("center", "centring")
  assert dataclasses.replace(skeletons.get("kinetics"), center=1).require("center", "x") == 1


def test_an_unknown_name_lists_the_known_ones():
  with pytest.raises(ConfigError, match="'ntu' is unknown; known: ntu_rgbd, kinetics"):
    skeletons.get("ntu")


def test_the_first_persons_centre_at_zero_counts_as_tracked():
  clips = np.zeros((2, 2, 3, 2))  # [person, frame, joint, channel]
  clips[:, 0, 2] = 1  # frame 0: joint 2 of both; frame 1: nobody
  expected = [[[0, 1, 1], [0, 0, 0]], [[0, 0, 1], [0, 0, 0]]]
  for array in (clips, jnp.asarray(clips)):
    np.testing.assert_array_equal(skeletons.tracked(array, center=1), expected)
  np.testing.assert_array_equal(skeletons.tracked(clips).sum(), 2)
