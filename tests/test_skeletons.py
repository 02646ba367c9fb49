"""Joint layouts: plain data that checks itself."""

import dataclasses
import itertools
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
NUM_JOINTS = {
  **{"ntu_rgbd": 25, "kinetics": 18, "utd_mhad": 20, "nw_ucla": 20},
  **{"coco": 17, "mediapipe": 33, "shrec": 22},
}


def test_every_layout_has_its_number_of_joints():
  assert {name: skeletons.get(name).num_joints for name in skeletons.names()} == NUM_JOINTS


@pytest.mark.parametrize("name", NUM_JOINTS)
def test_every_layout_is_one_tree_of_bones_and_survives_json(name):
  skeleton = skeletons.get(name)
  roots = [joint for joint, parent in enumerate(skeleton.bone_parents) if joint == parent]
  assert len(roots) == 1
  assert len(skeleton.inward) == skeleton.num_joints - 1
  assert Skeleton.from_dict(json.loads(json.dumps(skeleton.to_dict()))) == skeleton
  assert hash(skeleton) == hash(Skeleton.from_dict(skeleton.to_dict()))


@pytest.mark.parametrize("name", [name for name in NUM_JOINTS if name != "shrec"])
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


@pytest.mark.parametrize(
  ("name", "chains"),
  [
    ("utd_mhad", "head shoulder_center spine hip_center"),
    ("nw_ucla", "head shoulder_center spine"),
    ("utd_mhad", "left_hand left_wrist left_elbow left_shoulder shoulder_center"),
    ("nw_ucla", "right_hand right_wrist right_elbow right_shoulder shoulder_center"),
    ("utd_mhad", "right_foot right_ankle right_knee right_hip hip_center"),
    ("nw_ucla", "left_foot left_ankle left_knee left_hip hip_center"),
  ],
)
def test_limbs_of_kinects_layouts_hang_together(name, chains):
  skeleton = skeletons.get(name)
  joints = [skeleton.joints.index(joint) for joint in chains.split()]
  links = {frozenset(edge) for edge in skeleton.inward}
  for a, b in itertools.pairwise(joints):
    assert skeleton.bone_parents[a] == b or skeleton.bone_parents[b] == a
    assert {a, b} in links


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


def test_edges_follow_from_bone_parents_in_a_call():
  skeleton = Skeleton("arm", ["shoulder", "elbow", "wrist"], bone_parents=[0, 0, 1])
  assert skeleton.inward == ((1, 0), (2, 1))


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
    ({"inward": [[1, 3], [2, 1]]}, "inward: 3 is not a joint index in 0..2"),
    ({"inward": [[1, 1]]}, "joins a joint to itself"),
    ({"inward": [[1, 0, 2]]}, "not a pair"),
    ({"inward": [["elbow", "sholder"]]}, "inward: no joint is named 'sholder'"),
    ({"inward": [[1, 0], [2, 1], [2, 0]]}, "two parents"),
    ({"inward": []}, "inward and bone_parents are both missing"),
    ({"inward": [[1, 0], [0, 1]]}, "run in a circle"),
    ({"inward": [[1, 0]]}, "inward does not connect wrist with the other joints: is an edge"),
    ({"inward": [[1, 0]], "bone_parents": [0, 0, 1]}, "inward does not connect wrist"),
    ({"bone_parents": [0, 0]}, "bone_parents: 2 given for 3 joints"),
    ({"center": 7}, "center: 7 is not a joint index"),
    ({"center": True}, "center: True is not a joint index"),
    ({"vertical": [0]}, "vertical"),
    ({"parts": [[0, 1]]}, r"joint 2 \(wrist\) is in 0 parts"),
    ({"parts": [[0, 1], [1, 2]]}, r"joint 1 \(elbow\) is in 2 parts"),
    ({"mirror": [[0, 1], [1, 2]]}, "a joint is in two pairs"),
    ({"colour": "red"}, "unknown field 'colour'"),
    ({"name": ""}, "name must be"),
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
  path.write_text("[]")
  with pytest.raises(ConfigError, match="holds a list"):
    skeletons.load(path)
  path.write_text(json.dumps(ARM | {"center": 9}))
  with pytest.raises(ConfigError, match=r"bad\.json.*center: 9"):
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
