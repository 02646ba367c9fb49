"""What the numbers of a joint are: known to the source, kept with the data, said and drawn by."""

import csv

import formats
import numpy as np
import pytest
import stick_poses
from prepared import prepare

from data_prep.look import info
from data_prep.look.scene import Scene, padded
from data_prep.readers.interface import METRES_UPRIGHT, Clip, Coordinates
from mstgcn_jax import skeletons


def own(folder, clips, skeleton, *arguments) -> "DataSet":  # noqa: F821
  """A data set of clips [person, frame, joint, channel] by name, of one class."""
  folder.mkdir()
  with (folder / "clips.csv").open("w", newline="") as file:
    csv.writer(file).writerows([("name", "label"), *((name, "walk") for name in clips)])
  for name, clip in clips.items():
    np.save(folder / f"{name}.npy", clip)
  return formats.prepare("own", folder, "--skeleton", skeleton, *arguments, out=folder)


def heights(data) -> tuple[float, float]:
  """Where the head and the feet are drawn, the larger the higher."""
  clip = padded(data.read([0])[0])
  scene = Scene(clip, skeletons.tracked(clip), data.skeleton, data.coordinates)
  joints = data.skeleton.joints
  return tuple(scene.points[0, 0, joints.index(name), 1] for name in ("nose", "left_ankle"))


def test_flat_clips_of_ones_own_are_drawn_upright_whichever_way_y_points(tmp_path, capsys):
  clip = stick_poses.pixels(stick_poses.as_layout(stick_poses.people(4), "coco"))
  down, up = (
    own(tmp_path / name, {"a": c}, "coco") for name, c in (("d", clip), ("u", clip * [1, -1]))
  )
  assert "heads lie towards -y: it is taken to point up" in capsys.readouterr().err
  assert down.coordinates == {"channels": ["x", "y"], "up": "-y"}
  assert up.coordinates == {"channels": ["x", "y"], "up": "y"}
  assert "x, y; units not known; -y points up" in "\n".join(info.describe(down))
  for data in (down, up):
    head, foot = heights(data)
    assert head > foot


def test_a_third_channel_between_0_and_1_is_said_to_be_a_score(raw, capsys):
  clip = stick_poses.pixels(stick_poses.as_layout(stick_poses.people(4), "coco"))
  scored = np.concatenate([clip, np.full_like(clip[..., :1], 0.7)], axis=-1)
  data = own(raw, {"a": scored}, "coco", "--as-is")
  assert data.coordinates["channels"] == ["x", "y", "score"]
  assert "taken for a score; heads lie towards -y" in capsys.readouterr().err


def test_turned_clips_say_that_z_points_up(raw):
  clip = stick_poses.people(4)
  data = own(raw, {"a": clip}, "ntu_rgbd")
  assert data.coordinates == {"channels": ["x", "y", "z"], "up": "z"}
  assert data.sample(0, 16, num_persons=1).shape == (1, 16, 25, 3)


def test_clips_in_metres_are_no_scores_however_small(tmp_path):
  # 0.2 m deep: seen without a word of the source, the third channel looks like a score
  clip = stick_poses.as_layout(stick_poses.people(4), "coco").astype(np.float32)
  clip[..., 2] = clip[..., 2] / 5 + 0.5
  facts = {"skeleton": skeletons.get("coco"), "center": None, "rotated": False}
  guessed = prepare(tmp_path / "a", [Clip("a", 0, list(clip))], **facts)
  known = Coordinates(("x", "y", "z"), "metres", "y")
  said = prepare(tmp_path / "b", [Clip("a", 0, list(clip))], coordinates=known, **facts)
  scenes = [
    Scene(clip, skeletons.tracked(clip), data.skeleton, data.coordinates)
    for data in (guessed, said)
  ]
  assert [scene.flat for scene in scenes] == [True, False]
  assert "not known to the source" in "\n".join(info.describe(guessed))
  assert "x, y, z; in metres; y points up" in "\n".join(info.describe(said))
  assert heights(said)[0] > heights(said)[1]


@pytest.mark.parametrize("up", ["x", "-x", "y", "-y", "z", "-z"])
def test_the_camera_stands_upright_on_whichever_axis_is_said(up):
  clip = stick_poses.people(4).astype(np.float32)
  axis = "xyz".index(up[-1])
  turned = np.empty_like(clip)
  turned[..., axis] = clip[..., 1] * (-1 if up.startswith("-") else 1)
  turned[..., axis - 1], turned[..., axis - 2] = clip[..., 0], clip[..., 2]
  skeleton = skeletons.get("ntu_rgbd")
  seen = skeletons.tracked(turned)
  facts = {"channels": ["x", "y", "z"], "up": up}
  points = Scene(turned, seen, skeleton, facts).points
  heights = points[0, 0, [3, 14], 1]  # head, ankle
  assert heights[0] > heights[1]


def test_fractions_are_drawn_as_wide_as_their_picture():
  clip = stick_poses.pixels(stick_poses.as_layout(stick_poses.people(4), "coco"))
  clip = (clip / [1920, 1080] - 0.5).astype(np.float32) * [1, -1]
  coco = skeletons.get("coco")
  for facts, expected in (
    ({"units": "image fractions", "picture": [1920, 1080]}, 16 / 9),
    ({"units": "image fractions"}, 4 / 3),
    ({"units": "pixels"}, 1),
    ({}, 4 / 3),
  ):
    facts = {"channels": ["x", "y"], **facts}
    points = Scene(clip, skeletons.tracked(clip), coco, facts).points
    np.testing.assert_allclose(points[..., 0], clip[..., 0] * expected)


def test_what_the_sources_say_of_themselves_is_kept(tmp_path):
  data = prepare(tmp_path, [Clip("a", 0, [np.ones((4, 25, 3))])], coordinates=METRES_UPRIGHT)
  assert data.coordinates == {"channels": ["x", "y", "z"], "units": "metres", "up": "z"}


def test_joints_that_are_nan_or_have_a_score_of_0_are_untracked(tmp_path):
  clip = stick_poses.pixels(stick_poses.as_layout(stick_poses.people(4), "coco"))
  clip[0, 5, 3, 0] = np.nan
  scored = np.concatenate([clip, np.full_like(clip[..., :1], 0.7)], axis=-1)
  scored[0, 6, 4, 2] = 0
  flat = own(tmp_path / "flat", {"a": clip}, "coco").read([0])[0][0]
  assert not flat[5, 3].any() and flat[6, 4].all()
  with_scores = own(tmp_path / "scored", {"a": scored}, "coco", "--as-is").read([0])[0][0]
  assert not with_scores[5, 3].any() and not with_scores[6, 4].any() and with_scores[6, 5].all()
