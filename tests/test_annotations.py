"""PYSKL and MMAction2 annotations: what comes out, and what is refused."""

import collections

import numpy as np
import pytest
from formats import (
  OPTIONS,
  annotation,
  annotation_file,
  normal,
  options,
  prepare,
  read_all,
  write_pickle,
)

from data_prep import raw_files
from data_prep.decode import pickles
from data_prep.readers import annotations, arrays, exchange
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.use import recordings

DEEP: list = []
for _ in range(60):
  DEEP = [DEEP, DEEP]  # 2^60 brackets, if spelled out


ENDLESS: list = []
ENDLESS.append(ENDLESS)
WIDE = [[[[1.0] * 400] * 400] * 400]


def recordings_of(tmp_path, annotations_, **changes):
  path = write_pickle(tmp_path / "a.pkl", annotation_file(annotations=annotations_))
  return annotations.open_raw(path, options(**changes))


def test_pixels_become_image_fractions_about_the_centre_and_undetected_joints_zero(tmp_path):
  keypoint = np.full((1, 2, 17, 2), 50.0)
  keypoint[0, :, 3] = (200, 0)
  score = np.full((1, 2, 17), 0.5)
  score[0, 1, 5] = 0
  one = annotation(frames=2, keypoint=keypoint, keypoint_score=score)
  data = prepare("pyskl", write_pickle(tmp_path / "a.pkl", [one]))
  (person,) = data.read([0])[0]
  np.testing.assert_allclose(person[0, 0], [-0.25, 0, 0.5])  # height 100, width 200
  np.testing.assert_allclose(person[0, 3], [0.5, 0.5, 0.5])
  assert not person[1, 5].any()
  assert (data.skeleton.name, data.channels, data.fill, data.center) == ("coco", 3, "loop", None)


@pytest.mark.parametrize("scored", [True, False])
def test_a_flat_key_point_that_is_nan_is_untracked_whatever_its_score(tmp_path, scored):
  content = annotation(keypoint=np.full((1, 4, 17, 2), 50.0))
  content["keypoint"][0, 1, 3] = np.nan
  if not scored:
    del content["keypoint_score"]
  recordings = recordings_of(tmp_path, [content])
  (person,) = recordings.read(recordings.keys[0]).persons
  assert not person[1, 3].any() and person[1, 2].any()


def test_the_padding_of_flat_key_points_is_cut_off(tmp_path):
  score = np.ones((2, 50, 17))
  score[0, 20:] = 0
  score[1, 10:] = 0
  padded = annotation(persons=2, frames=50, keypoint_score=score)
  unscored = annotation("b", 0, 50, persons=2)
  unscored["keypoint"][:, 30:] = 0
  del unscored["keypoint_score"]
  for content, length in ((padded, 20), (unscored, 30)):
    recordings = recordings_of(tmp_path, [content])
    first, second = recordings.read(recordings.keys[0]).persons
    assert len(first) == len(second) == length


@pytest.mark.parametrize("label", [np.array(2), np.array([2]), [2], np.int64(2)])
def test_a_label_may_be_in_an_array_of_its_own(tmp_path, label):
  recordings = recordings_of(tmp_path, [annotation(label=label)])
  assert recordings.read(recordings.keys[0]).label == 2 and len(recordings.class_names) == 3


def test_given_splits_become_columns(tmp_path):
  data = prepare("pyskl", write_pickle(tmp_path / "a.pkl", annotation_file()))
  assert data.table["split"].tolist() == ["train", "val"]
  assert data.table["label"].tolist() == [0, 2]
  assert data.class_names == ("0", "1", "2")


def test_protocols_in_split_names_become_columns_of_their_own():
  splits = {"xsub_train": ["a"], "xsub_val": ["b"], "train1": ["a"], "test1": ["b"], "what": []}
  columns, warnings = exchange.split_columns(splits, "ab")
  assert columns == {
    "split_xsub": {"a": "train", "b": "val"},
    "split_1": {"a": "train", "b": "val"},
  }
  assert warnings == ["the split 'what' is left out: not a train, val or test part"]


def test_a_test_part_beside_a_validation_part_is_a_column_of_its_own():
  columns, _ = exchange.split_columns({"train": ["a"], "val": ["b"], "test": ["c"]}, "abc")
  assert columns == {
    "split": {"a": "train", "b": "val"},
    "split_test": {"a": "train", "c": "val"},
  }


def test_split_names_may_have_capitals_and_be_spelled_out():
  splits = {"XSub_Train": ["a"], "XSUB-VAL": ["b"], "Training": ["a"], "Validation": ["b"],
            "train_split2": ["a"], "Test_Split2": ["b"]}  # fmt: skip
  columns, warnings = exchange.split_columns(splits, "ab")
  expected = {"a": "train", "b": "val"}
  assert columns == {"split_xsub": expected, "split": expected, "split_2": expected}
  assert not warnings
  columns, _ = exchange.split_columns({"TRAIN": ["a"], "Testing": ["b"]}, "ab")
  assert columns == {"split": expected}
  columns, _ = exchange.split_columns({"NTU 60/xsub.train": ["a"], "NTU 60/xsub.eval": ["b"]}, "ab")
  assert columns == {"split_ntu_60_xsub": expected}
  assert exchange.split_columns({"train": ["a"], "dev": ["b"]}, "ab")[0] == {"split": expected}


def test_names_give_facts_only_where_all_are_ntus():
  name = "S001C002P003R004A005"
  facts = {"setup": 1, "camera": 2, "subject": 3, "replication": 4}
  assert exchange.ntu_facts([name, f"{name}_extra"]) == [facts, facts]
  assert exchange.ntu_facts([name, "wave"]) == [{}, {}]


def test_trainval_trains_where_test_tests():
  columns, warnings = exchange.split_columns({"trainval": ["a", "b"], "test": ["c"]}, "abc")
  assert columns == {"split": {"a": "train", "b": "train", "c": "val"}} and not warnings
  parts = {"train": ["a"], "val": ["b"], "train_val": ["a", "b"], "test": ["c"]}
  columns, _ = exchange.split_columns(parts, "abc")
  assert columns == {
    "split": {"a": "train", "b": "val"},
    "split_test": {"a": "train", "b": "train", "c": "val"},
  }
  columns, _ = exchange.split_columns({"trainval": ["a", "b"], "val": ["b"]}, "ab")
  assert columns == {"split": {"a": "train", "b": "val"}}


def test_names_in_a_split_that_no_clip_has_are_counted():
  splits = {"train": ["a", "b.mp4", "c.mp4"], "val": ["d"], "other_train": ["x"], "other_val": []}
  columns, warnings = exchange.split_columns(splits, ["a", "b", "d"])
  assert columns == {"split": {"a": "train", "d": "val"}}
  assert warnings == [
    "the split 'train' names 2 clips (of 3) that are not there, such as 'b.mp4'; one that is there "
    "is called 'a'",
    "the split 'other_train' names 1 clips (of 1) that are not there, such as 'x'; one that is "
    "there is called 'a'",
    "the column 'split_other' is left out: none of the clips of its parts is there",
  ]


@pytest.mark.parametrize(
  ("splits", "lacks"),
  [({"test": ["a"]}, "trains"), ({"train": ["a"]}, "evaluates"),
   ({"train": ["a"], "val": ["x"]}, "evaluates")],
)  # fmt: skip
def test_a_split_with_one_part_only_is_mentioned(splits, lacks):
  columns, warnings = exchange.split_columns(splits, "a")
  assert columns == {"split": {"a": "val" if lacks == "trains" else "train"}}
  assert warnings[-1] == f"the column 'split' has no clip that {lacks}"


def test_a_clip_in_both_parts_of_a_split_is_refused():
  with pytest.raises(DataError, match="b is in both parts of the split 'xsub'"):
    exchange.split_columns({"xsub_train": ["a", "b"], "xsub_val": ["b"]}, "ab")


def test_three_dimensional_key_points_are_turned_upright_unless_taken_as_they_are(tmp_path):
  keypoint = normal(2, 5, 25, 3).astype(np.float32)
  keypoint[1] = 0
  one = {"frame_dir": "S001C002P003R004A005", "label": 4, "total_frames": 5, "keypoint": keypoint}
  path = write_pickle(tmp_path / "a.pkl", [one])
  data = prepare("pyskl", path)
  (person,) = data.read([0])[0]  # the untracked person is left out
  shoulders = person[0, 4] - person[0, 8]  # the last rotation: parallel to x
  np.testing.assert_allclose(shoulders[1:], 0, atol=1e-5)
  assert data.rotated and data.center == 1
  facts = {name: data.table[name].tolist() for name in ("setup", "camera", "subject")}
  assert facts == {"setup": [1], "camera": [2], "subject": [3]}
  data = prepare("pyskl", path, "--as-is", out=tmp_path / "as_is")
  np.testing.assert_array_equal(data.read([0])[0][0], keypoint[0])
  assert not data.rotated and data.center is None


def test_key_points_of_more_channels_than_three_are_taken_as_they_are(tmp_path):
  keypoint = normal(1, 4, 25, 4).astype(np.float32)
  one = annotation("a", keypoint=keypoint, keypoint_score=None)
  data = prepare("pyskl", write_pickle(tmp_path / "a.pkl", [one]))
  np.testing.assert_array_equal(data.read([0])[0][0], keypoint[0])
  assert not data.rotated and data.center is None and not data.coordinates


def test_scores_of_three_dimensional_key_points_are_not_asked_for(tmp_path):
  one = annotation(keypoint=normal(1, 4, 17, 3))
  recordings = recordings_of(tmp_path, [one])
  assert recordings.channels == 3 and recordings.read(recordings.keys[0]).persons[0].shape[-1] == 3


def test_key_points_that_sum_to_zero_are_tracked_all_the_same(tmp_path):
  keypoint = normal(1, 3, 25, 3).astype(np.float32)
  keypoint[0, 1] -= keypoint[0, 1].mean()  # a whole frame
  keypoint[0, 2, 7] = (1, -1, 0)
  one = {"frame_dir": "a", "label": 0, "total_frames": 3, "keypoint": keypoint}
  recordings = recordings_of(tmp_path, [one])
  (person,) = recordings.read(recordings.keys[0]).persons
  lengths = np.linalg.norm(keypoint[0], axis=-1)
  np.testing.assert_allclose(np.linalg.norm(person, axis=-1), lengths, rtol=1e-5)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"label": "wave"}, "label 'wave' is not one class number"),
    ({"label": [1, 2]}, "not one class number"),
    ({"label": np.array([1, 2])}, "label an array is not one class number"),
    ({"label": True}, "not one class number"),
    ({"label": np.array([1.0])}, "not one class number"),
    ({"label": DEEP}, "not one class number"),
    ({"keypoint": DEEP}, "lists in lists, more than 8 deep"),
    ({"keypoint": ENDLESS}, "lists in lists, more than 8 deep"),
    ({"keypoint": WIDE}, "found lists of 64,000,000 numbers"),
    ({"keypoint": np.ones((1, 4, 17, 2), bool)}, "keypoint holds bool of the shape"),
    ({"keypoint": np.full((1, 4, 17, 2), "1")}, "keypoint holds <U1 of the shape"),
    ({"img_shape": []}, r"img_shape is \[\]"),
    ({"img_shape": (10, np.inf)}, "img_shape is"),
    ({"img_shape": (-10, 10)}, "img_shape is"),
    ({"img_shape": (10, 1e300)}, "img_shape is"),
    ({"img_shape": (1e-300, 10)}, "img_shape is"),
    ({"keypoint": np.full((1, 4, 17, 2), 1e30)}, r"coordinate is 1e\+30; expected at most 1e\+09"),
    ({"img_shape": DEEP}, r"img_shape is \[\["),
    ({"label": 10**5000}, "not one class number"),
    ({"total_frames": 10**5000}, "total_frames is int, keypoint has 4 frames"),
    ({"keypoint": np.zeros((3, 17, 2))}, "keypoint holds float64 of the shape"),
    ({"keypoint": np.zeros((3, 17))}, r"expected \[person, frame, joint, 2 or 3\]$"),
    (
      {"keypoint_score": np.ones((4, 17))},
      r"expected \[person, frame, joint\]; for one person save",
    ),
    (
      {"keypoint": np.full((1, 4, 17, 2), np.inf)},
      "coordinate is inf; expected a finite number, and 0 where",
    ),
    ({"total_frames": 9}, "total_frames is 9, keypoint has 4 frames"),
    ({"img_shape": (0, 10)}, "img_shape is"),
    ({"img_shape": None}, "img_shape is None"),
    ({"keypoint_score": np.ones((1, 4, 16))}, "keypoint_score has the shape"),
    ({"frame_dir": 7}, "frame_dir 7 is not a name"),
    ({"frame_dir": ""}, "frame_dir '' is not a name"),
  ],
)
def test_a_bad_annotation_is_bad_alone(tmp_path, changes, message):
  recordings = recordings_of(tmp_path, [annotation("good"), annotation("bad") | changes])
  assert recordings.read(recordings.keys[0]).name == "good"
  with pytest.raises(DataError, match=message):
    recordings.read(recordings.keys[1])


def test_a_bad_annotation_to_be_labelled_is_said_by_its_name(tmp_path):
  both = annotation_file(annotations=[annotation("a"), annotation("b", total_frames=3)])
  with recordings.find(write_pickle(tmp_path / "a.pkl", both)) as found:
    assert found.read[0]().name == "a"
    with pytest.raises(DataError, match=r"^b: total_frames is 3, keypoint has 4 frames"):
      found.read[1]()


@pytest.mark.parametrize("missing", ["frame_dir", "label", "keypoint", "keypoint_score"])
def test_a_missing_field_is_named(tmp_path, missing):
  bad = annotation("bad")
  del bad[missing]
  recordings = recordings_of(tmp_path, [annotation("good"), bad])
  with pytest.raises(DataError, match=f"no '{missing}'"):
    recordings.read(recordings.keys[1])


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ({"split": {}}, "no list of annotations"),
    ([], "no list of annotations"),
    (annotation_file(split={"train": 7}), '"split" is not a dict of lists of names'),
    ([{"frame_dir": "a", "label": 0}], "no annotation has a keypoint array"),
    ([annotation(label=None)], r"no annotation has a class number as its label \(first: None\)"),
    ([annotation(label="wave")], r"label \(first: 'wave'\); expected numbers from 0"),
    ([annotation(label=10**9)], "beyond the 10,000 classes"),
  ],
)
def test_a_pickle_of_something_else_is_refused(tmp_path, content, message):
  with pytest.raises(DataError, match=message):
    annotations.open_raw(write_pickle(tmp_path / "a.pkl", content), OPTIONS)


def test_joints_that_fit_no_layout_or_two_ask_for_one(tmp_path):
  path = write_pickle(tmp_path / "a.pkl", [annotation(joints=20)])
  with pytest.raises(ConfigError, match="20 joints, which fits utd_mhad and nw_ucla and msr"):
    annotations.open_raw(path, OPTIONS)
  assert annotations.open_raw(path, options(skeleton="nw_ucla")).skeleton.name == "nw_ucla"
  with pytest.raises(DataError, match="20 joints, skeleton coco has 17"):
    annotations.open_raw(path, options(skeleton="coco"))
  path = write_pickle(tmp_path / "a.pkl", [annotation(joints=9)])
  with pytest.raises(ConfigError, match="fits no known layout"):
    annotations.open_raw(path, OPTIONS)


def test_class_names_come_from_a_file(tmp_path):
  path = write_pickle(tmp_path / "a.pkl", annotation_file())
  (tmp_path / "names.txt").write_text("wave\nclap\njump\n", encoding="utf-8-sig")
  recordings = annotations.open_raw(path, options(classes=tmp_path / "names.txt"))
  assert recordings.class_names == ("wave", "clap", "jump")
  (tmp_path / "names.txt").write_text("wave\nclap\n")
  with pytest.raises(ConfigError, match=r"has 2 names.*so 3 different ones are needed"):
    annotations.open_raw(path, options(classes=tmp_path / "names.txt"))


def test_key_points_without_anybody_do_not_decide_the_layout(tmp_path):
  nobody = annotation("nobody", keypoint=np.zeros((1, 4, 33, 3)))
  assert recordings_of(tmp_path, [nobody, annotation("a")]).skeleton.name == "coco"


def test_most_annotations_decide_joints_coordinates_and_scores(tmp_path):
  good = [annotation(f"good{i}") for i in range(3)]
  unscored = annotation("unscored")
  del unscored["keypoint_score"]
  solid = annotation("solid", keypoint=normal(1, 4, 17, 3))
  for bad, reason in (
    (
      annotation("joints", joints=33),
      r"\(1, 4, 33, 2\); expected \[person, frame, 17 joints of coco",
    ),
    (solid, r"\(1, 4, 17, 3\); expected .* 2 coordinates\] as in most"),
    (unscored, "no 'keypoint_score'"),
  ):
    recordings = recordings_of(tmp_path, [bad, *good])
    assert (recordings.skeleton.name, recordings.channels) == ("coco", 3)
    assert [recordings.read(key).name for key in recordings.keys[1:]] == ["good0", "good1", "good2"]
    with pytest.raises(DataError, match=reason):
      recordings.read(recordings.keys[0])
  recordings = recordings_of(tmp_path, [annotation("scored"), unscored, unscored])
  assert recordings.channels == 2 and read_all(recordings) == 0


def test_what_is_no_annotation_is_bad_alone_and_a_clip_without_anybody_is_not(tmp_path):
  nobody = annotation(
    "nobody", keypoint=np.zeros((1, 4, 17, 2)), keypoint_score=np.zeros((1, 4, 17))
  )
  recordings = recordings_of(tmp_path, ["text", nobody, annotation("good")])
  with pytest.raises(DataError, match="the annotation is a str, not a dict"):
    recordings.read(recordings.keys[0])
  assert recordings.read(recordings.keys[1]).persons == []
  assert [key.name for key in recordings.keys] == ["annotation 0", "nobody", "good"]


def test_key_points_whose_scores_are_all_zero_say_so(tmp_path):
  bad = annotation("a", keypoint_score=np.zeros((1, 4, 17)))
  recordings = recordings_of(tmp_path, [annotation("b"), bad])
  with pytest.raises(DataError, match="keypoint_score is 0 for every key point"):
    recordings.read(recordings.keys[1])


@pytest.mark.parametrize(
  ("changes", "reason"),
  [
    ({"keypoint": normal(4, 17, 2)}, r"\(4, 17, 2\).*; for one person save keypoint\[None\]"),
    ({"keypoint": normal(9, 17, 2), "frame_inds": np.arange(9)}, r"compressed form \(frame_inds\)"),
    ({"keypoint": None, "raw_file": "k400/x.pkl"}, "raw_file names 'k400/x.pkl' for it"),
  ],
)
def test_key_points_in_another_form_say_in_which(tmp_path, changes, reason):
  bad = annotation("bad") | changes
  with pytest.raises(DataError, match=f"no annotation has a keypoint array .*{reason}"):
    recordings_of(tmp_path, [bad])
  recordings = recordings_of(tmp_path, [bad, annotation("good")])
  with pytest.raises(DataError, match=reason):
    recordings.read(recordings.keys[0])


def pixels(*x_and_y: float, **changes) -> dict:
  """An annotation of a picture 200 wide and 100 high with all key points at one place."""
  return annotation(keypoint=np.full((1, 4, 17, 2), x_and_y), img_shape=(100, 200)) | changes


@pytest.mark.parametrize(
  ("one", "warning"),
  [
    (pixels(150, 50), ""),
    (pixels(150, 50, img_shape=(200, 100)), "inside with img_shape read as (width, height)"),
    (pixels(150, 50, img_shape=(100, 100)), "lie outside the picture; expected pixels"),
    (pixels(-150, 50), "lie outside the picture; expected pixels"),
    (pixels(0.7, 0.5), "as if they were divided by img_shape already"),
    (pixels(0.7, 0.5, img_shape=(1, 1)), ""),
    (pixels(0, 0), ""),
  ],
)
def test_units_of_key_points_that_do_not_fit_the_picture_are_mentioned(tmp_path, one, warning):
  tracked = pixels(20, 20) if not one["keypoint"].any() else one
  warnings = recordings_of(tmp_path, [one, tracked | {"frame_dir": "b"}]).warnings
  assert [warning in line for line in warnings] == ([True] if warning else [])


def test_undetected_key_points_do_not_lie_outside_the_picture(tmp_path):
  one = pixels(150, 50)
  one["keypoint"][:, :, :10] = 0
  assert not recordings_of(tmp_path, [one, one | {"frame_dir": "b"}]).warnings


def test_a_folder_may_hold_a_pickle_a_part_of_the_split(tmp_path):
  for part, names in (("train", ["a", "c"]), ("val", ["b"])):
    write_pickle(tmp_path / f"mine_{part}.pkl", [annotation(name) for name in names])
  (tmp_path / "._mine_val.pkl").write_bytes(b"macOS")
  data = prepare("pyskl", tmp_path, out=tmp_path / "out")
  splits = dict(zip(data.table["name"].tolist(), data.table["split"].tolist(), strict=True))
  assert splits == {"a": "train", "c": "train", "b": "val"}


def test_a_folder_may_hold_a_pickle_a_clip_below_folders_too(tmp_path):
  (tmp_path / "class").mkdir()
  for name in ("train_a", "b"):
    write_pickle(tmp_path / "class" / f"{name}.pkl", annotation(name))
  recordings = annotations.open_raw(tmp_path, OPTIONS)
  assert sorted(key.name for key in recordings.keys) == ["b", "train_a"]
  assert read_all(recordings) == 0 and "split" not in recordings.keys[0].facts
  one = annotations.open_raw(tmp_path / "class" / "b.pkl", OPTIONS)
  assert [key.name for key in one.keys] == ["b"]


def test_pickles_that_are_no_parts_of_one_split_are_refused_together(tmp_path):
  for name in ("xsub_train", "xview_val"):
    write_pickle(tmp_path / f"{name}.pkl", [annotation(name)])
  with pytest.raises(DataError, match=r"one split.*folder: xsub_train\.pkl, xview_val\.pkl"):
    annotations.open_raw(tmp_path, OPTIONS)
  (tmp_path / "xview_val.pkl").unlink()
  write_pickle(tmp_path / "more.pkl", [annotation("more")])
  with pytest.raises(DataError, match=r"one split.*folder: more\.pkl, xsub_train\.pkl"):
    annotations.open_raw(tmp_path, OPTIONS)
  (tmp_path / "more.pkl").unlink()
  (tmp_path / "below").mkdir()
  write_pickle(tmp_path / "below" / "xview_val.pkl", annotation_file())  # is not looked at
  assert len(annotations.open_raw(tmp_path, OPTIONS).keys) == 1
  write_pickle(tmp_path / "xsub_val.pkl", annotation_file())
  with pytest.raises(DataError, match=r"xsub_val\.pkl has splits of its own"):
    annotations.open_raw(tmp_path, OPTIONS)
  with pytest.raises(DataError, match="holds no annotation pickle"):
    (tmp_path / "empty").mkdir()
    annotations.open_raw(tmp_path / "empty", OPTIONS)


@pytest.mark.parametrize(
  "kind", [set, tuple, np.array, lambda names: np.array(names, dtype=object)]
)
def test_names_of_a_split_may_be_in_any_container(tmp_path, kind):
  split = collections.OrderedDict(train=kind(["a"]), val=kind(["b"]))
  path = write_pickle(tmp_path / "a.pkl", annotation_file(split=split))
  recordings = annotations.open_raw(path, OPTIONS)
  assert [key.facts["split"] for key in recordings.keys] == ["train", "val"]


def test_a_pointer_of_git_lfs_is_named_in_place_of_a_damaged_file(tmp_path):
  pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
  for name in ("a.pkl", "a.npz", "train_data.npy"):
    (tmp_path / name).write_bytes(pointer)
  for read, name in (
    *((pickles.load, "a.pkl"), (raw_files.map_npy, "train_data.npy")),
    (lambda path: arrays.open_ctrgcn(path, OPTIONS), "a.npz"),
  ):
    with pytest.raises(DataError, match="one: it is a Git LFS pointer, and `git lfs pull` fetches"):
      read(tmp_path / name)
