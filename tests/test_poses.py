"""Pose estimators' output to a data set: what comes out of each format, and what is refused."""

import argparse
import contextlib
import functools
import json
import shutil

import estimator_files as files
import numpy as np
import pytest
import stick_poses
from formats import prepare as prepare_source

from data_prep.decode import formats, mediapipe, ultralytics
from data_prep.look import info
from data_prep.readers import poses
from mstgcn_jax.data import protocols
from mstgcn_jax.data.data_set import REPORT
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.use import recordings

CLASSES = {"pick up": 2, "walk": 10}  # folder -> what stick people do there: one, and two people
FRAMES = 24
_PARSER = argparse.ArgumentParser()
poses.add_arguments(_PARSER)
OPTIONS = _PARSER.parse_args([])
prepare = functools.partial(prepare_source, "poses")


def write(raw, writer, layout: str, clips: int = 2, **options) -> None:
  """`clips` recordings a class, as files of one format."""
  for name, action in CLASSES.items():
    for i in range(clips):
      writer(raw / name / f"clip{i}", files.seen(layout, action, seed=i, frames=FRAMES), **options)


def expected(layout: str, action: int, seed: int) -> np.ndarray:
  """What the clip should be: x/width - 0.5, 0.5 - y/height of [person, frame, joint]."""
  points = files.seen(layout, action, seed, FRAMES)
  return np.stack(
    [points[..., 0] / stick_poses.SIZE[0] - 0.5, 0.5 - points[..., 1] / stick_poses.SIZE[1]], -1
  )


def check(data, layout: str, score: float, tolerance: float) -> None:
  """That the data set holds the stick people, whoever comes first of two."""
  assert data.skeleton.name == layout and data.channels == 3
  assert data.class_names == ("pick up", "walk") and len(data) == 4
  assert data.coordinates["channels"] == ["x", "y", "score"] and data.coordinates["up"] == "y"
  for row, persons in enumerate(data.read(range(4))):
    action, seed = (2, 10)[row // 2], row % 2
    bodies = expected(layout, action, seed)
    assert len(persons) == len(bodies)
    for person in persons:
      away = [np.abs(person[..., :2] - body).max() for body in bodies]
      assert min(away) < tolerance
      np.testing.assert_allclose(person[..., 2], score, rtol=1e-6)
  assert data.sample(3, 16).shape == (2, 16, data.skeleton.num_joints, 3)


# Pixels are written with three decimals, shares of 640 pixels with three: half of the last one.
@pytest.mark.parametrize(
  ("writer", "layout", "options", "called", "score", "tolerance"),
  [
    (files.openpose, "body_25", {}, "OpenPose", 0.9, 1e-5),
    (files.openpose, "kinetics", {}, "OpenPose", 0.9, 1e-5),
    (files.alphapose, "coco", {}, "AlphaPose", 0.9, 1e-5),
    (files.alphapose, "halpe26", {"idx": True}, "AlphaPose", 0.9, 1e-5),
    (files.coco_results, "coco", {}, "COCO key points", 0.9, 1e-5),
    (files.coco_annotations, "coco", {}, "COCO key points", 1.0, 1e-5),
    (files.mmpose, "coco", {}, "MMPose or RTMPose", 0.8, 1e-5),
    (files.mmpose, "halpe26", {"meta": "body26"}, "MMPose or RTMPose", 0.8, 1e-5),
    (files.mmpose, "h36m", {"meta": "h36m"}, "MMPose or RTMPose", 0.8, 1e-5),
    (files.mmpose, "h36m", {}, "MMPose or RTMPose", 0.8, 1e-5),
    (files.coco_results, "h36m", {}, "COCO key points", 0.9, 1e-5),
    (files.mmpose_frames, "coco", {}, "MMPose or RTMPose, one file per frame", 0.8, 1e-5),
    (files.ultralytics, "coco", {}, "Ultralytics' text", 0.9, 6e-4),
    (files.ultralytics, "coco", {"conf": True}, "Ultralytics' text", 0.9, 6e-4),
    (files.ultralytics, "coco", {"conf": True, "number": 1}, "Ultralytics' text", 0.9, 6e-4),
  ],
)
def test_stick_people_come_back_from_every_format(
  raw, capsys, writer, layout, options, called, score, tolerance
):
  write(raw, writer, layout, **options)
  data = prepare(raw)
  check(data, layout, score, tolerance)
  assert data.table["name"].tolist() == [f"{c}/clip{i}" for c in CLASSES for i in range(2)]
  said = capsys.readouterr().err
  assert f"read as the output of {called}; --format decides otherwise" in said
  assert f"joints: {layout}" in said or f"joints: taken for {layout}" in said
  assert "2 persons who move most are kept" in said


def test_lifted_poses_are_metres_turned_upright(raw, capsys):
  for name, seed in (("a", 0), ("b", 1)):
    # MMPose's lifter: x to the camera's left, y away from it, z up
    body = stick_poses.as_layout(stick_poses.people(2, seed, FRAMES), "h36m")[..., [0, 2, 1]]
    files.mmpose(raw / name / "clip", body * [-1, -1, 1], meta="h36m")
  data = prepare(raw)
  assert data.skeleton.name == "h36m" and data.coordinates["up"] == "z"
  assert data.coordinates["units"] == "metres" and data.center == 0
  assert "world coordinates in metres, z up: no scores are kept" in capsys.readouterr().err
  person = data.read([0])[0][0]
  head, foot = (data.skeleton.joints.index(name) for name in ("head", "left_foot"))
  assert (person[0, head, 2] - person[0, foot, 2]) > 1.3


def test_people_listed_in_any_order_are_the_same_persons_all_along(raw):
  people = files.seen("body_25", 10, frames=FRAMES)
  files.openpose(raw / "a" / "calm", people)
  rng = np.random.default_rng(0)
  shuffled = np.stack([people[rng.permutation(2), t] for t in range(FRAMES)], axis=1)
  files.openpose(raw / "a" / "mixed", shuffled)
  calm, mixed = prepare(raw).read([0, 1])
  for one, other in zip(calm, mixed, strict=True):
    np.testing.assert_array_equal(one, other)
  alone = prepare(raw, "--persons", 1, "--overwrite")
  assert alone.table["persons"].tolist() == [1, 1]


@pytest.mark.parametrize(("joints", "layout"), [(133, "coco"), (136, "halpe26")])
def test_of_whole_bodies_the_body_is_taken(raw, joints, layout):
  for name, action in CLASSES.items():
    for i in range(2):
      body = files.seen(layout, action, seed=i, frames=FRAMES)
      rest = np.full((*body.shape[:2], joints - body.shape[2], 2), 5.0)  # a face, hands
      writer = files.mmpose if joints == 133 else files.alphapose
      writer(raw / name / f"clip{i}", np.concatenate([body, rest], axis=2))
  check(prepare(raw), layout, {133: 0.8, 136: 0.9}[joints], 1e-5)


def test_mediapipes_landmarks_in_the_picture_and_in_the_world(raw, capsys):
  for i in range(2):
    files.mediapipe_json(raw / "pick up" / f"clip{i}", stick_poses.people(2, i, FRAMES))
    files.mediapipe_json(raw / "walk" / f"clip{i}", stick_poses.people(10, i, FRAMES))
  check(prepare(raw), "mediapipe", 0.9, 1e-4)
  assert "coordinates are shares of the picture" in capsys.readouterr().err
  world = prepare(raw, "--coordinates", "world", "--as-is", "--overwrite")
  assert world.coordinates == {"channels": ["x", "y", "z"], "units": "metres", "up": "y"}
  body = stick_poses.as_layout(stick_poses.people(2, 0, FRAMES), "mediapipe")[0]
  body = (body - body[:, 23:25].mean(axis=1, keepdims=True)) * [-1, 1, -1]  # as Kinect has it
  np.testing.assert_allclose(world.read([0])[0][0], body, atol=1e-4)
  turned = prepare(raw, "--coordinates", "world", "--overwrite")
  across = turned.read([0])[0][0][0, [12, 11]]  # right and left shoulder: along x, as turned
  np.testing.assert_allclose((across[1] - across[0])[1:], 0, atol=1e-4)
  assert turned.coordinates["up"] == "y"
  assert all(persons[0][0, 0, 1] > 0.3 for persons in turned.read(range(4)))  # the nose is up
  assert "x, y, z; in metres" in "\n".join(info.describe(turned))


def test_whoever_is_seen_from_behind_in_world_coordinates_stays_on_their_feet(raw):
  for i, degrees in enumerate((198, 182, 182, 174)):  # shoulders just along -x
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    body = stick_poses.people(2, i, FRAMES) @ [[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]
    files.mediapipe_json(raw / "pick up" / f"clip{i}", body)
  data = prepare(raw, "--coordinates", "world")
  assert data.upward == data.coordinates["up"] == "y"
  assert all(persons[0][0, 0, 1] > 0.7 for persons in data.read(range(4)))  # the nose is up


@pytest.mark.parametrize("form", ["wide", "long", "npz", "npy"])
@pytest.mark.parametrize("world", [False, True])
def test_mediapipe_in_tables_and_arrays(tmp_path, form, world):
  clip = tmp_path / "clip"
  body = stick_poses.as_layout(stick_poses.people(2, 0, FRAMES), "mediapipe")[0]
  if world:
    points = (body - body[:, 23:25].mean(axis=1, keepdims=True)) * [1, -1, -1]
  else:
    points = np.concatenate([stick_poses.pixels(body) / files.SIZE, -body[..., 2:]], axis=-1)
  if form in ("npz", "npy"):
    path = clip.with_suffix(f".{form}")
    np.savez(path, landmarks=points) if form == "npz" else np.save(path, points)
  else:
    files.mediapipe_csv(clip, points, long=form == "long")
    path = clip.with_suffix(".csv")
  assert formats._format_of(path) == "mediapipe"
  poses = mediapipe.decode(path)
  assert (poses.units, len(poses.frames)) == ("metres" if world else "image fractions", FRAMES)
  found = np.stack([frame[0].points for frame in poses.frames])
  meant = points * [-1, -1, 1] if world else points[..., :2]
  np.testing.assert_allclose(found, meant, atol=1e-5)


@pytest.mark.parametrize("form", ["json", "wide", "long"])
def test_mediapipes_frames_may_be_numbered_by_threes(tmp_path, form):
  points = np.full((4, 33, 3), 0.5)
  if form == "json":
    path = tmp_path / "clip.json"
    frames = [{"frame": 30 + 3 * t, "landmarks": p.tolist()} for t, p in enumerate(points)]
    files._write(path, frames)
  else:
    path = tmp_path / "clip.csv"
    files.mediapipe_csv(tmp_path / "clip", points, long=form == "long")
    first, *rows = path.read_text().splitlines()
    cells = [row.partition(",") for row in rows]
    rows = [f"{30 + 3 * int(number)},{more}" for number, _, more in cells]
    path.write_text("\n".join([first, *rows]))
  assert [len(frame) for frame in mediapipe.decode(path).frames] == [1, 1, 1, 1]


def hand(seed: int) -> np.ndarray:
  """A hand [1, frame, 21, 2] in pixels."""
  return stick_poses.pixels(4 * stick_poses.hand(FRAMES, seed))[None]


def test_hands_of_openpose_and_of_mediapipe(tmp_path, raw):
  for name, seed in (("a/one", 0), ("b/two", 1)):
    fields = {"hand_left_keypoints_2d": files._flat(np.zeros((21, 2)))}
    for t in range(FRAMES):
      right = {"hand_right_keypoints_2d": files._flat(hand(seed)[0, t])}
      path = raw / name / f"{t:012d}_keypoints.json"
      files._write(path, {"people": [{"pose_keypoints_2d": [], **fields, **right}]})
  data = prepare(raw, "--part", "hands")
  assert data.skeleton.name == "hand21" and data.table["name"].tolist() == ["a/one", "b/two"]
  assert data.table["persons"].tolist() == [1, 1]
  meant = hand(1)[0] / files.SIZE - 0.5
  np.testing.assert_allclose(data.read([1])[0][0][..., 0], meant[..., 0], atol=1e-5)

  raw = tmp_path / "second" / "raw"
  for name, seed in (("a/one", 0), ("b/two", 1)):
    frames = [
      {
        "handLandmarks": [files._landmarks(np.pad(points / files.SIZE, ((0, 0), (0, 1))))],
        "handedness": [[{"categoryName": "Right", "score": 0.9}]],
      }
      for points in hand(seed)[0]
    ]
    for frame in frames:
      for point in frame["handLandmarks"][0]:
        point["visibility"] = 0  # as Python's hands have it: not given
    files._write(raw / f"{name}.json", frames)
  data = prepare(raw)
  assert data.skeleton.name == "hand21"
  np.testing.assert_allclose(data.read([1])[0][0][..., 0], meant[..., 0], atol=1e-4)


def test_arrays_of_bodies_and_hands_in_one_file_are_told_apart(raw):
  body = stick_poses.as_layout(stick_poses.people(2, 0, FRAMES), "mediapipe")[0]
  flat = stick_poses.pixels(body) / files.SIZE
  for name in ("a", "b"):
    (raw / name).mkdir(parents=True)
    hands = {f"{side}_hand": hand(i)[0] / files.SIZE for i, side in enumerate(("left", "right"))}
    np.savez(raw / name / "clip.npz", pose=flat, **hands)
  bodies = prepare(raw)
  assert bodies.skeleton.name == "mediapipe" and bodies.table["persons"].tolist() == [1, 1]
  hands = prepare(raw, "--part", "hands", "--overwrite")
  assert hands.skeleton.name == "hand21" and hands.table["persons"].tolist() == [2, 2]


def test_boxes_without_key_points_are_nobody(raw):
  for name in CLASSES:
    clip = raw / name / "clip"
    files.coco_annotations(clip, files.seen("coco", 2, 0, FRAMES))
    content = json.loads(clip.with_suffix(".json").read_text())
    content["annotations"] += [{"id": 9999, "image_id": 7, "bbox": [0, 0, 9, 9]}]
    clip.with_suffix(".json").write_text(json.dumps(content))
  assert prepare(raw).table["persons"].tolist() == [1, 1]


def test_two_files_of_one_frame_are_named(raw):
  write(raw, files.openpose, "body_25")
  folder = raw / "walk" / "clip0"
  shutil.copy(folder / "clip0_000000000003_keypoints.json", folder / "clip0_3_keypoints.json")
  data = prepare(raw, "--max-bad", "25")
  said = "clip0_000000000003_keypoints.json and clip0_3_keypoints.json are of one frame"
  assert len(data) == 3 and said in (data.path / REPORT).read_text()


@pytest.mark.parametrize(
  ("last", "numbers"),
  [
    ([[1], [2]], [1, 2]),
    ([[0.9, 1], [1, 4]], [1, 4]),
    ([[1], [1]], [None, None]),
    ([[1], [0.9]], [None, None]),
  ],
)
def test_a_confidence_of_1_is_not_taken_for_a_track_of_ultralytics(tmp_path, last, numbers):
  lines = [[0, 0.5, 0.5, 0.2, 0.6, *[0.5, 0.5, 0.9] * 17, *rest] for rest in last]
  (tmp_path / "clip_1.txt").write_text("\n".join(" ".join(map(str, line)) for line in lines))
  found = ultralytics.decode(tmp_path / "clip_1.txt")
  assert [person.number for person in found] == numbers


@pytest.mark.parametrize(
  ("field", "nobody"),
  [
    ("", []),
    ("", None),
    ("landmarks", []),
    ("landmarks", {}),
    ("poseWorldLandmarks", {"landmark": []}),
  ],
)
def test_a_frame_of_mediapipe_that_lost_a_landmark_is_not_one_without_anybody(
  tmp_path, field, nobody
):
  landmarks = np.random.default_rng(0).uniform(size=(5, 33, 3)).tolist()
  landmarks[4] = nobody

  def write() -> None:
    face = ([[0.1, 0.2, 0]] * 468, [])  # not read, and not always there
    frames = [{field: one, "faceLandmarks": face[i % 2]} for i, one in enumerate(landmarks)]
    (tmp_path / "clip.json").write_text(json.dumps(frames if field else landmarks))

  write()
  poses_ = formats.decode([tmp_path / "clip.json"], "mediapipe")
  assert [len(frame) for frame in poses_.frames] == [1, 1, 1, 1, 0]
  landmarks[2].pop()
  write()
  with pytest.raises(DataError, match=r"clip\.json .*frame 2 has no 33 or 21 landmarks"):
    formats.decode([tmp_path / "clip.json"], "mediapipe")


def test_a_text_that_begins_with_a_number_without_end_is_not_ultralytics(tmp_path):
  (tmp_path / "clip_1.txt").write_text("inf " + "0.5 " * 55)
  assert not ultralytics.recognise(tmp_path / "clip_1.txt")


@pytest.mark.parametrize("score", [float("inf"), 1e308])
def test_a_score_beyond_reason_is_damage(tmp_path, score):
  files.mmpose(tmp_path / "clip", files.seen("coco", 2, frames=3))
  path = tmp_path / "clip.json"
  content = json.loads(path.read_text())
  content[1]["instances"][0]["keypoint_scores"][4] = score
  path.write_text(json.dumps(content))
  with pytest.raises(DataError, match=r"joint 4 has the coordinate"):
    formats.decode([path], "mmpose")


def test_missing_key_points_are_untracked(raw):
  people = files.seen("body_25", 2, frames=FRAMES)
  people[0, 3:9, 4] = 0
  files.openpose(raw / "a" / "clip", people)
  files.openpose(raw / "b" / "clip", people)
  (person,) = prepare(raw).read([0])[0]
  assert not person[3:9, 4].any() and person[:, 3].any(axis=-1).all()
  assert (person[[2, 9], 4] != 0).any(axis=-1).all()


def test_files_of_one_folder_are_clips_by_the_beginning_of_their_names(raw):
  for i in range(2):
    files.openpose(raw / "x" / f"v{i}", files.seen("body_25", 2, seed=i, frames=6))
  for name in ("wave", "clap"):
    (raw / name).mkdir()
  for i in range(2):
    for path in (raw / "x" / f"v{i}").iterdir():
      path.rename(raw / ("wave", "clap")[i] / path.name)
    (raw / "x" / f"v{i}").rmdir()
  data = prepare(raw)
  assert data.table["name"].tolist() == ["clap/v1", "wave/v0"]
  assert data.table["frames"].tolist() == [6, 6]


def test_train_and_val_folders_become_the_split(raw):
  for part in ("train", "val"):
    write(raw / part, files.coco_results, "coco")
  data = prepare(raw)
  assert data.class_names == ("pick up", "walk") and len(data) == 8
  train, evaluate = protocols.split(data, "given")
  assert all("train/" in name for name in data.table["name"][train].tolist())
  assert len(train) == len(evaluate) == 4


@pytest.mark.parametrize(
  ("clips", "said"),
  [
    (["wave/v0/f_1", "wave/v1/f_1"], "all clips are of the one class 'wave'"),
    (["v0/f_1", "v1/f_1"], "each clip is a class, such as 'v0'"),  # --raw is a class
  ],
)
def test_folders_that_seem_to_be_no_classes_are_doubted(raw, capsys, clips, said):
  for name in clips:
    files.coco_results(raw / name, files.seen("coco", 2, frames=6))
  prepare(raw)
  assert f"{said}: is --raw the folder of classes?" in capsys.readouterr().err


def test_a_table_gives_labels_and_facts_and_sizes_of_pictures(raw, capsys):
  for i in range(3):
    files.openpose(raw / "json" / f"v{i}", files.seen("body_25", 2, seed=i, frames=6))
  lines = ["name,label,subject,width,height", "v0,wave,3,640,480", "json/v1,clap,4,1280,960"]
  (raw / "clips.csv").write_text("\n".join(lines))
  data = prepare(raw)
  assert data.class_names == ("clap", "wave") and data.table["subject"].tolist() == [3, 4]
  assert data.table["name"].tolist() == ["v0", "json/v1"] and "width" not in data.table
  assert "1 clip not in clips.csv, such as json/v2" in capsys.readouterr().err
  first, second = data.read([0, 1])
  assert np.ptp(first[0][..., 1]) > 1.5 * np.ptp(second[0][..., 1])  # a picture twice as large
  asked = prepare(raw, "--overwrite", "--image-size", "1280x960")  # before what files say
  assert asked.coordinates["picture"] == [1280, 960]
  np.testing.assert_array_equal(asked.read([1])[0][0], second[0])
  assert np.abs(asked.read([0])[0][0] - first[0]).max() > 0.1
  lines[1] = "v0,wave,3,640.0,"
  (raw / "clips.csv").write_text("\n".join(lines))
  prepare(raw, "--overwrite", status=1)
  assert "width and height of v0: 640x is no size" in capsys.readouterr().err
  lines[1] = "v0,,3,640.0,480"
  lines += ["v7,wave,3,640,480", ",wave,3,640,480"]
  for folder in ("one", "another"):  # which of two is meant nobody knows
    files.openpose(raw / folder / "v7", files.seen("body_25", 2, frames=6))
  (raw / "clips.csv").write_text("\n".join(lines))
  data = prepare(raw, "--overwrite", "--max-bad", 80)
  report = (data.path / REPORT).read_text()
  assert "it has no label" in report and "v7,there are no key points for it" in report
  assert ".,there are no key points for it" in report  # of no name


def test_a_table_of_labels_that_cannot_be_read_is_not_passed_over(raw, capsys):
  write(raw, files.coco_results, "coco", clips=1)
  (raw / "Labels.CSV").write_bytes("name,label\nclip0,gehört\n".encode("latin-1"))
  prepare(raw, status=1)
  said = capsys.readouterr().err
  assert "is not UTF-8 text" in said and "with --labels, or move it away" in said
  (raw / "Labels.CSV").write_text("name,label\nwalk/clip0,gehen\n")
  assert prepare(raw).class_names == ("gehen",)


def test_two_files_of_one_clip_are_named(tmp_path):
  for ending in ("csv", "json"):
    (tmp_path / f"a.{ending}").touch()
  paths = sorted(tmp_path.iterdir())
  with pytest.raises(DataError, match=r"a\.csv and a\.json are of one clip"):
    formats.decode(paths, "mediapipe")


@pytest.mark.parametrize("width", ["640", -640, float("inf"), float("nan"), True, [640]])
def test_a_picture_of_no_size_is_refused_by_its_file(tmp_path, width):
  files.coco_annotations(tmp_path / "clip", files.seen("coco", 2, frames=3))
  path = tmp_path / "clip.json"
  content = json.loads(path.read_text())
  for image in content["images"]:
    image["width"] = width
  path.write_text(json.dumps(content))
  with pytest.raises(DataError, match=r"clip\.json: an image has the width .* --image-size"):
    formats.decode([path], "coco")


@pytest.mark.parametrize("name", ["mediapipe", "mmpose"])
def test_people_of_one_frame_in_objects_of_their_own_are_all_there(tmp_path, name):
  landmarks = lambda i: {"landmarks": [{"x": 0.1 + i / 9, "y": 0.2}] * 33}
  instances = lambda i: {"instances": [{"keypoints": [[1 + i, 2]] * 17}]}
  one = landmarks if name == "mediapipe" else instances
  number = "frame" if name == "mediapipe" else "frame_id"
  path = tmp_path / "clip.json"
  path.write_text(json.dumps([{number: t, **one(i)} for t in range(3) for i in range(2)]))
  assert [len(frame) for frame in formats.decode([path], name).frames] == [2, 2, 2]


def test_a_table_names_clips_in_folders_that_have_a_dot(raw):
  for i in range(2):
    clip = raw / f"part{i}" / "clip"
    files.coco_results(clip, files.seen("coco", 2, i, frames=6))
    clip.with_suffix(".json").rename(clip.with_name(f"P00.take{i}.json"))
  (raw / "clips.csv").write_text("name,label\nP00.take0,wave\nP00.take1.json,clap")
  assert prepare(raw).table["label"].tolist() == [1, 0]


def test_a_recording_to_be_labelled_is_of_the_runs_picture(raw):
  write(raw, files.openpose, "body_25")
  clip = raw / "walk" / "clip0"
  persons = lambda **said: _first(recordings.find(clip, "poses", **said)).persons
  large = persons(picture=(1280.0, 960.0))
  for person, as_asked in zip(large, persons(options=["--image-size", "1280x960"]), strict=True):
    np.testing.assert_array_equal(person, as_asked)
  assert np.abs(large[0] - persons()[0]).max() > 0.1  # 640x480 holds the key points, too
  np.testing.assert_array_equal(persons(picture=(320.0, 240.0))[0], persons()[0])  # does not


def test_a_recording_to_be_labelled_needs_no_label_in_the_table_of_others(raw):
  write(raw, files.openpose, "body_25")
  (raw / "clips.csv").write_text("name,label\nwalk/clip0,\nwalk/clip1,walk")
  with recordings.find(raw, "poses") as found:
    assert [read().name for read in found.read] == ["walk/clip0", "walk/clip1"]


def test_a_recording_to_be_labelled_is_read_as_the_runs_data_were(raw):
  write(raw, files.openpose, "body_25")
  reading = prepare(raw, "--persons", "1", "--keep", "score").reading
  clip = raw / "walk" / "clip0"
  persons = lambda **said: _first(recordings.find(clip, "poses", **said)).persons
  assert len(persons()) == 2 and len(persons(reading=reading)) == 1
  assert len(persons(reading=reading, options=["--persons", "2"])) == 2


def test_a_recording_has_the_coordinates_that_the_runs_data_have(raw):
  files.mediapipe_json(raw / "walk" / "clip0", stick_poses.people(10, 0, FRAMES))
  reading = prepare(raw, "--coordinates", "world").reading
  path = raw / "walk" / "clip0.json"
  assert _first(recordings.find(path, "poses")).rotated is False  # of the picture
  assert _first(recordings.find(path, "poses", reading=reading)).rotated


def _first(finding) -> recordings.Recording:
  with finding as found:
    return found.read[0]()


def test_pixels_without_a_size_are_of_the_usual_picture_that_holds_them(raw, capsys):
  write(raw, files.openpose, "body_25")
  data = prepare(raw)
  assert "taken to be 640x480, the smallest usual one" in capsys.readouterr().err
  assert data.coordinates["picture"] == [640, 480]
  said = "x, y, score; in image fractions of 640 x 480 pixels; y points up"
  assert said in "\n".join(info.describe(data))
  x = data.read([0])[0][0][..., 0]
  wide = prepare(raw, "--overwrite", "--image-size", "1280x480")
  assert "taken to be" not in capsys.readouterr().err
  np.testing.assert_allclose(2 * (wide.read([0])[0][0][..., 0] + 0.5), x + 0.5, atol=1e-6)


@pytest.mark.parametrize(
  ("spoil", "arguments", "status", "message"),
  [
    (lambda raw: (raw / "x.json").write_text("{}"), (), 1, "'x' is in no folder that says"),
    (lambda raw: files.mmpose(raw / "a" / "c", files.seen("coco", 2)), (), 2, "say which to read"),
    (None, ("--labels", "nowhere.csv"), 1, "--labels nowhere.csv is no file"),
    (None, ("--persons", "0"), 2, "keeps nobody"),
    (None, ("--skeleton", "coco"), 1, "the clips have 25 joints, skeleton coco has 17"),
    (None, ("--part", "hands"), 1, "no clip shows anybody"),
  ],
)
def test_what_cannot_be_read_is_said_in_one_line(raw, capsys, spoil, arguments, status, message):
  write(raw, files.openpose, "body_25", clips=1)
  for path in list(raw.rglob("*.json"))[::2]:
    path.unlink()
  if spoil is not None:
    spoil(raw)
    for path in list(raw.rglob("*_keypoints.json"))[6:]:
      path.unlink()
  if message.startswith("'x'"):
    arguments = ("--format", "coco")
  prepare(raw, *arguments, status=status)
  said = capsys.readouterr().err
  assert message in said and said.startswith("poses: ") and "Traceback" not in said


def test_other_files_and_no_files_say_what_is_known(raw, capsys):
  raw.mkdir()
  prepare(raw, status=1)
  assert "holds no file that a pose estimator writes (.json" in capsys.readouterr().err
  (raw / "a").mkdir()
  (raw / "a" / "b.mp4").touch()
  prepare(raw, status=1)
  assert "but b.mp4: a video; run a pose estimator" in capsys.readouterr().err
  (raw / "a" / "b.json").write_text('{"version": 1}')
  prepare(raw, status=2)
  assert "known are OpenPose; AlphaPose" in capsys.readouterr().err
  prepare_source("own", raw, status=1)
  assert "the source poses reads them" in capsys.readouterr().err
  prepare(raw, "--format", "ultralytics", status=1)
  said = "the output of Ultralytics' text, holds no .txt file that ends in the number of its frame"
  assert said in capsys.readouterr().err
  (raw / "a" / "b.json").rename(raw / "a" / "b.txt")
  (raw / "a" / "b.txt").write_text("0 .5 .5 .1 .1" + 17 * " .5 .5 1")
  prepare(raw, status=1)
  assert said in capsys.readouterr().err
  (raw / "a" / "b.txt").unlink()
  (raw / "clips.csv").write_text("name,label\nb,wave\n")
  prepare(raw, status=1)
  assert "but b.mp4: a video; run a pose estimator" in capsys.readouterr().err


def test_joints_in_another_order_are_no_bodies_of_the_formats_layout(raw, capsys):
  order = np.random.default_rng(0).permutation(25)
  for name in ("a", "b"):
    files.openpose(raw / name / "clip", files.seen("body_25", 2)[:, :, order])
  prepare(raw, status=2)
  assert "the format's layout is body_25, but its bones would be" in capsys.readouterr().err
  data = prepare(raw, "--skeleton", "body_25")
  assert data.skeleton.name == "body_25"
  clip = raw / "a" / "clip"
  with pytest.raises(DataError, match="the format's layout is body_25, but"):
    _first(recordings.find(clip, "poses"))
  # A run that was trained on these has been told.
  assert _first(recordings.find(clip, "poses", reading=data.reading)).skeleton.name == "body_25"


def test_people_upside_down_are_refused(raw, capsys):
  for name in ("a", "b"):
    people = files.seen("coco", 2)
    files.coco_results(raw / name / "clip", people * [1, -1] + [0, 480])
  prepare(raw, status=2)
  assert "heads would lie below feet, while -y points up" in capsys.readouterr().err


def test_a_damaged_file_makes_its_clip_bad_alone(raw):
  write(raw, files.openpose, "body_25")
  path = sorted((raw / "walk" / "clip1").iterdir())[5]
  path.write_text(path.read_text()[:50])
  data = prepare(raw, "--max-bad", 30)
  assert len(data) == 3
  assert f"{path.name} is not JSON" in (data.path / REPORT).read_text()


@pytest.mark.parametrize(
  "content",
  [
    [{"image_id": 1, "keypoints": [1, 2]}],
    [{"image_id": 1, "keypoints": None}],
    [{"image_id": "a", "keypoints": [1, 2, 3]}, 4],
    {"images": [], "annotations": [{"image_id": 3, "keypoints": [1, 2, 3]}]},
    [{"frame_id": 0, "instances": [{"keypoints": [[1]]}]}],
    [{"frame_id": "x", "instances": []}],
    {"instance_info": [{"instances": [{}]}]},
    {"people": [{"pose_keypoints_2d": [1, 2, 3, 4]}]},
    {"people": [4]},
    [{"landmarks": [[{"x": 1}] * 33]}],
    [{"frame": "x", "landmarks": []}],
    [[1e300, 2]],
  ],
)
@pytest.mark.parametrize("name", formats.FORMATS)
def test_json_of_another_form_is_a_data_error(tmp_path, content, name):
  path = tmp_path / "clip_1_keypoints.json"
  path.write_text(json.dumps(content))
  formats._format_of(path)  # raises nothing
  try:
    formats.decode([path], name)
  except DataError as error:
    assert path.name in str(error) or "person" in str(error) or "frames" in str(error)


WRITERS = (files.openpose, files.alphapose, files.mmpose, files.ultralytics)


@pytest.mark.parametrize("writer", WRITERS)
def test_damaged_bytes_are_a_message_and_no_traceback(raw, writer):
  write(raw, writer, "body_25" if writer is files.openpose else "coco", clips=1)
  paths = sorted(path for path in raw.rglob("*") if path.is_file())
  rng = np.random.default_rng(0)
  for _ in range(40):
    path = paths[rng.integers(len(paths))]
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[rng.integers(len(damaged))] = rng.integers(256)
    path.write_bytes(damaged[: rng.integers(1, 2 * len(damaged))])
    try:
      recordings = poses.open_raw(raw, OPTIONS)
      for key in recordings.keys:
        with contextlib.suppress(DataError):
          recordings.read(key)
    except (ConfigError, DataError):
      pass
    path.write_bytes(whole)
