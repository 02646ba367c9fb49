"""The formats that people exchange: what comes out, and what is refused."""

import argparse
import collections
import contextlib
import csv
import io
import json
import os
import pathlib
import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import __main__ as command
from data_prep.decode import pickles
from data_prep.look import info
from data_prep.readers import annotations, arrays, exchange, own
from mstgcn_jax import skeletons
from mstgcn_jax.data.data_set import REPORT, open_data_set
from mstgcn_jax.errors import ConfigError, DataError

OPTIONS = argparse.Namespace(skeleton=None, classes=None, as_is=False)
FUZZ = settings(
  max_examples=150,
  deadline=None,
  derandomize=True,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def normal(*shape: int) -> np.ndarray:
  return np.random.default_rng(0).normal(size=shape)


def options(**changes) -> argparse.Namespace:
  return argparse.Namespace(**(vars(OPTIONS) | changes))


def prepare(source, raw, out, *more) -> "DataSet":  # noqa: F821
  arguments = [source, "--raw", str(raw), "--out", str(out), "--workers", "1", *more]
  assert command.main(arguments) == 0
  return open_data_set(out / source)


def read_all(recordings) -> int:
  """Reads every recording; how many are bad."""
  bad = 0
  for key in recordings.keys:
    try:
      recordings.read(key)
    except DataError:
      bad += 1
  return bad


# --- pickles


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_numbers_and_text_survive_every_pickle_protocol(tmp_path, protocol):
  expected = [
    np.arange(6, dtype=np.float16).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(3, dtype=">i4"),
    np.zeros((0, 4)),
    np.array(["left", "r"]),
  ]
  path = tmp_path / "a.pkl"
  scalars = {"f": np.float32(2.5), "i": np.int64(7), "s": np.str_("x"), "b": b"", "n": None}
  path.write_bytes(pickle.dumps((expected, scalars), protocol=protocol))
  found, values = pickles.load(path)
  for one, other in zip(found, expected, strict=True):
    np.testing.assert_array_equal(pickles.as_array(one), other)
    assert pickles.as_array(one).shape == other.shape
  assert values == {"f": 2.5, "i": 7, "s": "x", "b": b"", "n": None}


def test_old_and_new_module_paths_of_numpy_are_read_alike(tmp_path):
  new = pickle.dumps(np.arange(3), protocol=0)
  old = new.replace(b"numpy._core", b"numpy.core")
  assert old != new
  for content in (old, new):
    (tmp_path / "a.pkl").write_bytes(content)
    array = pickles.as_array(pickles.load(tmp_path / "a.pkl"))
    np.testing.assert_array_equal(array, [0, 1, 2])


def test_containers_of_python_are_data_at_every_protocol(tmp_path):
  default = collections.defaultdict(list)
  default["train"].append("a")
  content = {
    "ordered": collections.OrderedDict(b=1, a=2),
    "default": default,
    "counter": collections.Counter("aab"),
    "sets": [{"a", "b"}, frozenset("c")],
    "deque": collections.deque([1, 2], maxlen=5),
    "names": np.array(["a", "bc"], dtype=object),
  }
  for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
    path = tmp_path / f"{protocol}.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found = pickles.load(path)
    assert list(found["ordered"].items()) == [("b", 1), ("a", 2)]
    assert found["default"] == {"train": ["a"]}
    assert found["counter"] == {"a": 2, "b": 1}
    assert found["sets"] == content["sets"] and found["deque"] == [1, 2]
    assert pickles.as_list(found["names"]) == ["a", "bc"]
    assert pickles.as_array(found["names"]).tolist() == ["a", "bc"]
    assert pickles.as_list(found["sets"][0]) == ["a", "b"]


def test_arrays_of_lists_keep_their_lists(tmp_path):
  ragged = np.empty(2, dtype=object)
  ragged[:] = [["a"], ["b", "c"]]
  even = np.empty((1, 2), dtype=object)
  even[0, 0], even[0, 1] = [1, 2], [3, 4]
  path = write_pickle(tmp_path / "a.pkl", [ragged, even])
  first, second = pickles.load(path)
  assert pickles.as_list(first) == [["a"], ["b", "c"]]
  assert pickles.as_list(second) == [[1, 2], [3, 4]]
  np.testing.assert_array_equal(pickles.as_array(second), [[[1, 2], [3, 4]]])


def test_lists_are_arrays_up_to_eight_axes():
  value = 1.5
  for depth in range(1, 9):
    value = [value]
    assert pickles.as_array(value).shape == (1,) * depth
  with pytest.raises(DataError, match="more than 8 deep"):
    pickles.as_array([value])


_START = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n"
_FLOATS = b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR"


@pytest.mark.parametrize(
  ("state", "reason"),
  [
    (b"(I2\ntI5\nI00\nS''\ntb.", "no type"),
    (b"(I-1\nI-1\nt" + _FLOATS + b"I00\nS'12345678'\ntb.", r"shape \(-1, -1\)"),
    (b"(S'x'\nt" + _FLOATS + b"I00\nS'12345678'\ntb.", r"shape \('x',\)"),
    (b"(I2\nt" + _FLOATS + b"I00\nS'12345678'\ntb.", r"8 bytes for the shape \(2,\)"),
    (b"(I2\nt" + _FLOATS + b"tb.", "a damaged array"),
  ],
)
def test_an_array_whose_state_is_damaged_is_refused_when_it_is_taken(tmp_path, state, reason):
  (tmp_path / "a.pkl").write_bytes(_START + state)
  with pytest.raises(DataError, match=reason):
    pickles.as_array(pickles.load(tmp_path / "a.pkl"))


def test_arrays_of_python_2_are_read(tmp_path):
  numbers = repr(np.array([1.5, -2]).tobytes())[1:].encode()
  (tmp_path / "a.pkl").write_bytes(_START + b"(I2\nt" + _FLOATS + b"I00\nS" + numbers + b"\ntb.")
  array = pickles.as_array(pickles.load(tmp_path / "a.pkl"))
  np.testing.assert_array_equal(array, [1.5, -2])


def test_an_array_of_things_that_are_no_data_is_refused_when_it_is_taken(tmp_path):
  path = write_pickle(tmp_path / "a.pkl", np.array([{}, None], dtype=object))
  with pytest.raises(DataError, match="expected an array of numbers"):
    pickles.as_array(pickles.load(path))


class _Shell:
  def __init__(self, target):
    self.target = target

  def __reduce__(self):
    return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize(
  ("what", "named"),
  [
    (np.array([], dtype="M8[s]"), "type 'M8'"),
    (np.zeros(2, dtype=[("a", "f4")]), "type 'V4'"),
    (argparse.Namespace(a=1), "argparse.Namespace"),
    (io.BytesIO, "_io.BytesIO"),
    (eval, "builtins.eval"),
  ],
)
def test_anything_but_data_is_refused_by_name(tmp_path, what, named):
  path = tmp_path / "a.pkl"
  path.write_bytes(pickle.dumps({"annotations": [what]}))
  with pytest.raises(DataError, match=f"the pickle asks for .*{named}"):
    pickles.load(path)


def test_an_empty_file_is_called_empty_and_a_damaged_one_damaged(tmp_path):
  (tmp_path / "a.pkl").write_bytes(b"no pickle")
  with pytest.raises(DataError, match=r"a\.pkl is not a pickle, or a damaged one \(.+\)$"):
    pickles.load(tmp_path / "a.pkl")
  (tmp_path / "a.pkl").write_bytes(b"")
  with pytest.raises(DataError, match=r"a\.pkl is empty; expected a pickle"):
    pickles.load(tmp_path / "a.pkl")


def test_a_pickle_that_runs_a_command_does_not(tmp_path):
  path, target = tmp_path / "a.pkl", tmp_path / "touched"
  path.write_bytes(pickle.dumps(_Shell(target)))
  with pytest.raises(DataError, match=r"asks for (posix|nt)\.system"):
    pickles.load(path)
  assert not target.exists()


def test_a_pickle_that_is_called_an_array_does_not_run_either(tmp_path):
  path, target = tmp_path / "a.npy", tmp_path / "touched"
  path.write_bytes(pickle.dumps(_Shell(target)))
  with pytest.raises(DataError, match=r"a\.npy is not a \.npy array"):
    exchange.map_npy(path)
  np.save(path, np.array([_Shell(target)], dtype=object), allow_pickle=True)
  with pytest.raises(DataError, match=r"a\.npy is not a \.npy array"):
    exchange.map_npy(path)
  assert not target.exists()


@pytest.mark.parametrize(
  "program",
  [
    b"cnumpy\nndarray\n(I1000000\ntR.",  # the array type as a function
    b"cnumpy\nndarray\n(dS'x'\nI1\nsb.",  # a change of the reader itself
    b"cnumpy.core.multiarray\n_reconstruct\n(dS'x'\nI1\nsb.",
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I0\ntS'b'\ntR.",
    b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nI1\nNNtb.",  # an array of arrays
    b"c_codecs\nencode\n(Vx\nVrot13\ntR.",
    b"cbuiltins\nint\n(S'5'\ntR.",  # what a defaultdict is made with, as a function
    b"ccollections\nOrderedDict\n(dS'x'\nI1\nsb.",
    b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'__class__'\ntR.",
    b"Psomewhere else\n.",
  ],
)
def test_hand_written_programs_are_refused(tmp_path, program):
  (tmp_path / "a.pkl").write_bytes(program)
  with pytest.raises(DataError):
    pickles.load(tmp_path / "a.pkl")


@FUZZ
@given(st.data())
def test_damaged_pickles_give_a_data_error_or_data(tmp_path, data):
  content = bytearray(pickle.dumps(annotation_file(), protocol=data.draw(st.integers(0, 5))))
  for _ in range(data.draw(st.integers(1, 4))):
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
  path = tmp_path / "a.pkl"
  path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
  with contextlib.suppress(DataError, ConfigError):
    read_all(annotations.open_raw(path, OPTIONS))


@FUZZ
@given(st.lists(st.sampled_from(pickletools.opcodes), max_size=12), st.binary(max_size=8))
def test_random_pickle_programs_give_a_data_error_or_data(tmp_path, opcodes, tail):
  path = tmp_path / "a.pkl"
  path.write_bytes(b"".join(op.code.encode("latin1") for op in opcodes) + tail + b".")
  with contextlib.suppress(DataError):
    pickles.load(path)


# --- PYSKL


def annotation(name="a", label=0, frames=4, joints=17, persons=1, **changes) -> dict:
  keypoint = (50 + 9 * normal(persons, frames, joints, 2)).astype(np.float16)
  score = np.ones((persons, frames, joints), np.float16)
  fields = {"frame_dir": name, "label": label, "img_shape": (100, 200), "total_frames": frames}
  return fields | {"keypoint": keypoint, "keypoint_score": score} | changes


def annotation_file(**changes) -> dict:
  split = {"train": ["a"], "val": ["b"]}
  return {"split": split, "annotations": [annotation(), annotation("b", 2)]} | changes


DEEP: list = []
for _ in range(60):
  DEEP = [DEEP, DEEP]  # 2^60 brackets, if spelled out


ENDLESS: list = []
ENDLESS.append(ENDLESS)


def write_pickle(path, content):
  path.write_bytes(pickle.dumps(content))
  return path


def test_pixels_become_image_fractions_about_the_centre_and_undetected_joints_zero(tmp_path):
  keypoint = np.full((1, 2, 17, 2), 50.0)
  keypoint[0, :, 3] = (200, 0)
  score = np.full((1, 2, 17), 0.5)
  score[0, 1, 5] = 0
  content = annotation_file(annotations=[annotation(keypoint=keypoint, keypoint_score=score,
                                                    total_frames=2)])  # fmt: skip
  data = prepare("pyskl", write_pickle(tmp_path / "a.pkl", content), tmp_path)
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
    recordings = annotations.open_raw(write_pickle(tmp_path / "a.pkl", [content]), OPTIONS)
    first, second = recordings.read(recordings.keys[0]).persons
    assert len(first) == len(second) == length


@pytest.mark.parametrize("label", [np.array(2), np.array([2]), [2], np.int64(2)])
def test_a_label_may_be_in_an_array_of_its_own(tmp_path, label):
  recordings = recordings_of(tmp_path, [annotation(label=label)])
  assert recordings.read(recordings.keys[0]).label == 2 and len(recordings.class_names) == 3


def test_given_splits_become_columns(tmp_path):
  data = prepare("pyskl", write_pickle(tmp_path / "a.pkl", annotation_file()), tmp_path)
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
  data = prepare("pyskl", path, tmp_path)
  (person,) = data.read([0])[0]  # the untracked person is left out
  shoulders = person[0, 4] - person[0, 8]  # the last rotation: parallel to x
  np.testing.assert_allclose(shoulders[1:], 0, atol=1e-5)
  assert data.rotated and data.center == 1
  facts = {name: data.table[name].tolist() for name in ("setup", "camera", "subject")}
  assert facts == {"setup": [1], "camera": [2], "subject": [3]}
  data = prepare("pyskl", path, tmp_path / "as_is", "--as-is")
  np.testing.assert_array_equal(data.read([0])[0][0], keypoint[0])
  assert not data.rotated and data.center is None


def test_scores_of_three_dimensional_key_points_are_not_asked_for(tmp_path):
  one = annotation(keypoint=normal(1, 4, 17, 3))
  recordings = recordings_of(tmp_path, [one])
  assert recordings.channels == 3 and recordings.read(recordings.keys[0]).persons[0].shape[-1] == 3


def test_key_points_that_sum_to_zero_are_tracked_all_the_same(tmp_path):
  keypoint = normal(1, 3, 25, 3).astype(np.float32)
  keypoint[0, 1] -= keypoint[0, 1].mean()  # a whole frame
  keypoint[0, 2, 7] = (1, -1, 0)
  one = {"frame_dir": "a", "label": 0, "total_frames": 3, "keypoint": keypoint}
  recordings = annotations.open_raw(write_pickle(tmp_path / "a.pkl", [one]), OPTIONS)
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
    ({"keypoint": np.ones((1, 4, 17, 2), bool)}, "keypoint holds bool of the shape"),
    ({"keypoint": np.full((1, 4, 17, 2), "1")}, "keypoint holds <U1 of the shape"),
    ({"img_shape": []}, r"img_shape is \[\]"),
    ({"img_shape": (10, np.inf)}, "img_shape is"),
    ({"img_shape": (-10, 10)}, "img_shape is"),
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
  content = annotation_file(annotations=[annotation("good"), annotation("bad") | changes])
  recordings = annotations.open_raw(write_pickle(tmp_path / "a.pkl", content), OPTIONS)
  assert recordings.read(recordings.keys[0]).name == "good"
  with pytest.raises(DataError, match=message):
    recordings.read(recordings.keys[1])


@pytest.mark.parametrize("missing", ["frame_dir", "label", "keypoint", "keypoint_score"])
def test_a_missing_field_is_named(tmp_path, missing):
  bad = annotation("bad")
  del bad[missing]
  content = annotation_file(annotations=[annotation("good"), bad])
  recordings = annotations.open_raw(write_pickle(tmp_path / "a.pkl", content), OPTIONS)
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


def recordings_of(tmp_path, annotations_, **changes):
  path = write_pickle(tmp_path / "a.pkl", annotation_file(annotations=annotations_))
  return annotations.open_raw(path, options(**changes))


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
  warnings = recordings_of(
    tmp_path, [one | {"frame_dir": "b"}, tracked | {"frame_dir": "a"}]
  ).warnings
  assert [warning in line for line in warnings] == ([True] if warning else [])


def test_undetected_key_points_do_not_lie_outside_the_picture(tmp_path):
  one = pixels(150, 50)
  one["keypoint"][:, :, :10] = 0
  one |= {"keypoint": one["keypoint"], "img_shape": (100, 200)}
  assert not recordings_of(tmp_path, [one, one | {"frame_dir": "b"}]).warnings


def test_a_folder_may_hold_a_pickle_a_part_of_the_split(tmp_path):
  for part, names in (("train", ["a", "c"]), ("val", ["b"])):
    write_pickle(tmp_path / f"mine_{part}.pkl", [annotation(name) for name in names])
  (tmp_path / "._mine_val.pkl").write_bytes(b"macOS")
  data = prepare("pyskl", tmp_path, tmp_path / "out")
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
    *((pickles.load, "a.pkl"), (exchange.map_npy, "train_data.npy")),
    (lambda path: arrays.open_ctrgcn(path, OPTIONS), "a.npz"),
  ):
    with pytest.raises(DataError, match="one: it is a Git LFS pointer, and `git lfs pull` fetches"):
      read(tmp_path / name)


# --- 2s-AGCN


def write_agcn(folder, names=("S001C001P001R001A001.skeleton", "S001C001P002R001A002.skeleton")):
  folder.mkdir(parents=True, exist_ok=True)
  clips = normal(2, 3, 6, 25, 2).astype(np.float32)
  clips[1, :, 4:] = 0
  clips[1, ..., 1] = 0
  for part in ("train", "val"):
    np.save(folder / f"{part}_data_joint.npy", clips)
    labels = ([name.replace("S001", f"S00{len(part)}") for name in names], [0, 1])
    write_pickle(folder / f"{part}_label.pkl", labels)
  return clips


def test_agcn_arrays_are_kept_as_they_are(tmp_path):
  clips = write_agcn(tmp_path / "raw")
  data = prepare("agcn", tmp_path / "raw", tmp_path)
  assert len(data) == 4 and data.fill == "zero" and data.center is None
  assert any("turned and centred as the arrays were" in line for line in info.describe(data))
  assert data.num_coordinates == 3  # which is what augmentation turns and scales
  for index in range(4):
    expected = clips[index % 2].transpose(3, 1, 2, 0)
    np.testing.assert_array_equal(data.sample(index, window=6), expected)
  assert [len(clip) for clip in data.read(range(4))] == [2, 1, 2, 1]
  assert data.table["split"].tolist() == ["train", "train", "val", "val"]
  assert data.table["name"][0] == "S005C001P001R001A001"
  assert data.table["subject"].tolist() == [1, 2, 1, 2]


def test_agcn_labels_may_be_arrays_and_have_numpy_numbers(tmp_path):
  write_agcn(tmp_path)
  for part in ("train", "val"):
    write_pickle(tmp_path / f"{part}_label.pkl", ([f"{part}1", f"{part}2"], np.array([0, 1])))
  recordings = arrays.open_agcn(tmp_path, OPTIONS)
  assert [row.label for row in recordings.keys] == [0, 1, 0, 1]


def test_agcn_files_that_do_not_belong_together_are_refused(tmp_path):
  write_agcn(tmp_path / "a")
  write_pickle(tmp_path / "a" / "val_label.pkl", (["one"], [0]))
  with pytest.raises(
    DataError, match=r"has 2 clips, val_label\.pkl beside it 1 names and 1 labels"
  ):
    arrays.open_agcn(tmp_path / "a", OPTIONS)
  for content in ({"names": []}, [0, 1], (["a"], [0], [1])):
    write_pickle(tmp_path / "a" / "val_label.pkl", content)
    with pytest.raises(DataError, match=r"no pair \(names, labels\)"):
      arrays.open_agcn(tmp_path / "a", OPTIONS)
  (tmp_path / "a" / "val_label.pkl").unlink()
  with pytest.raises(DataError, match=r"val_label\.pkl cannot be read: No such file"):
    arrays.open_agcn(tmp_path / "a", OPTIONS)
  write_agcn(tmp_path / "b")
  with pytest.raises(DataError, match="arrays of several protocols"):
    arrays.open_agcn(tmp_path, OPTIONS)


@pytest.mark.parametrize("joint", ["", "_joint"])
def test_arrays_may_be_called_as_st_gcn_calls_them(tmp_path, joint):
  write_agcn(tmp_path / "raw", names=("a.skeleton", "b.json"))
  for part in ("train", "val"):
    path = tmp_path / "raw" / f"{part}_data_joint.npy"
    write_pickle(
      path.with_name(f"{part}_label.pkl"), ([f"{part}a.skeleton", f"{part}b.json"], [0, 1])
    )
    np.save(path.with_name(f"{part}_data_bone.npy"), np.zeros((1, 3, 6, 25, 2)))
    path.rename(path.with_name(f"{part}_data{joint}.npy"))
    (tmp_path / "raw" / f"._{part}_data.npy").write_bytes(b"macOS")
  (tmp_path / "link").symlink_to(tmp_path / "raw")
  recordings = arrays.open_agcn(tmp_path / "link", OPTIONS)
  assert [row.name for row in recordings.keys] == ["traina", "trainb", "vala", "valb"]
  assert [row.facts["split"] for row in recordings.keys] == ["train", "train", "val", "val"]
  one = arrays.open_agcn(tmp_path / "raw" / f"val_data{joint}.npy", OPTIONS)
  assert [row.label for row in one.keys] == [0, 1]


def test_of_two_arrays_of_joints_that_of_2s_agcn_is_read(tmp_path):
  write_agcn(tmp_path)
  np.save(tmp_path / "train_data.npy", np.zeros((9, 3, 6, 25, 2)))
  parts = [pathlib.Path(row.part).name for row in arrays.open_agcn(tmp_path, OPTIONS).keys]
  assert parts == ["train_data_joint.npy"] * 2 + ["val_data_joint.npy"] * 2


def test_arrays_of_other_names_are_listed(tmp_path):
  np.save(tmp_path / "x_train.npy", np.zeros(3))
  with pytest.raises(DataError, match=r"rename what holds joints \(there: x_train\.npy\)"):
    arrays.open_agcn(tmp_path, OPTIONS)


def write_val(folder, shape):
  np.save(folder / "val_data.npy", np.resize(normal(2, 9), shape))
  write_pickle(folder / "val_label.pkl", (["a", "b"], [0, 1]))


@pytest.mark.parametrize(
  ("shape", "warned"),
  [
    ((2, 2, 6, 17, 3), True),
    *(((2, 3, 6, 25, 2), False), ((2, 3, 6, 25, 3), False), ((2, 3, 6, 25, 1), False)),
    ((2, 2, 6, 17, 2), False),
  ],
)
def test_arrays_whose_axes_may_be_in_another_order_are_mentioned(tmp_path, shape, warned):
  write_val(tmp_path, shape)
  first, *others = arrays.open_agcn(tmp_path, OPTIONS).warnings
  assert first == "the column 'split' has no clip that trains"
  assert ["array.transpose(0, 4, 2, 3, 1)" in line for line in others] == [True] * warned


@pytest.mark.parametrize(
  "shape", [(2, 30, 25, 2, 3), (2, 25, 3, 6, 2), (2, 1, 6, 25, 2), (2, 3, 0, 25, 2), (2, 3, 6, 25)]
)
def test_an_array_with_other_axes_is_refused(tmp_path, shape):
  write_val(tmp_path, shape)
  with pytest.raises(DataError, match=r"expected \[clip, channel, frame, joint, person\]"):
    arrays.open_agcn(tmp_path, OPTIONS)


def test_arrays_without_a_clip_are_refused(tmp_path):
  np.save(tmp_path / "val_data.npy", np.zeros((0, 3, 6, 25, 2)))
  write_pickle(tmp_path / "val_label.pkl", ([], []))
  with pytest.raises(DataError, match="hold no clip"):
    arrays.open_agcn(tmp_path, OPTIONS)


def test_a_truncated_agcn_array_is_refused(tmp_path):
  write_agcn(tmp_path)
  path = tmp_path / "train_data_joint.npy"
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(
    DataError, match=r"train_data_joint\.npy is not a \.npy array, or a truncated"
  ):
    arrays.open_agcn(tmp_path, OPTIONS)
  np.save(path, np.zeros((2, 3)))
  with pytest.raises(DataError, match=r"shape \(2, 3\); expected \[clip, channel"):
    arrays.open_agcn(tmp_path, OPTIONS)
  with path.open("wb") as file:
    np.savez(file, clips=np.zeros(3))
  with pytest.raises(DataError, match="holds no array of numbers"):
    arrays.open_agcn(tmp_path, OPTIONS)


# --- CTR-GCN


def ctrgcn_arrays(**changes) -> dict:
  x = normal(3, 8, 150).astype(np.float32)
  x[1, 5:] = 0
  x[2, :, 75:] = 0
  y = np.eye(4, dtype=np.float64)[[0, 2, 3]]
  return {"x_train": x, "y_train": y, "x_test": x[:2] + 1, "y_test": y[:2]} | changes


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_ctrgcn_archives_are_kept_as_they_are(tmp_path, save):
  content = ctrgcn_arrays()
  save(tmp_path / "a.npz", **content)
  data = prepare("ctrgcn", tmp_path / "a.npz", tmp_path)
  assert len(data) == 5 and data.fill == "zero" and len(data.class_names) == 4
  assert data.num_coordinates == 3
  x = np.concatenate([content["x_train"], content["x_test"]])
  for index in range(5):
    expected = x[index].reshape(8, 2, 25, 3).transpose(1, 0, 2, 3)
    np.testing.assert_array_equal(data.sample(index, window=8), expected)
  assert data.table["split"].tolist() == ["train"] * 3 + ["val"] * 2
  assert data.table["label"].tolist() == [0, 2, 3, 0, 2]
  assert data.table["name"].tolist()[3:] == ["test_000000", "test_000001"]


def test_a_folder_with_one_archive_stands_for_it(tmp_path):
  with pytest.raises(DataError, match=r"should name one \.npz archive; in this folder: none"):
    arrays.open_ctrgcn(tmp_path, OPTIONS)
  np.savez(tmp_path / "a.npz", **ctrgcn_arrays())
  (tmp_path / "._a.npz").write_bytes(b"macOS")
  recordings = arrays.open_ctrgcn(tmp_path, OPTIONS)
  assert len(recordings.keys) == 5 and "skeleton ntu_rgbd" in recordings.notes[0]
  assert not arrays.open_ctrgcn(tmp_path, options(skeleton="ntu_rgbd")).notes
  np.savez(tmp_path / "b.npz", **ctrgcn_arrays())
  with pytest.raises(DataError, match=r"in this folder: a\.npz, b\.npz"):
    arrays.open_ctrgcn(tmp_path, OPTIONS)


def test_a_row_without_a_single_one_is_a_bad_recording_alone(tmp_path):
  y = np.eye(4)[[0, 2, 3]]
  y[1] = [0, 1, 1, 0]
  np.savez(tmp_path / "a.npz", **ctrgcn_arrays(y_train=y))
  recordings = arrays.open_ctrgcn(tmp_path / "a.npz", OPTIONS)
  assert read_all(recordings) == 1
  with pytest.raises(DataError, match="y_train has no single 1 in row 1"):
    recordings.read(recordings.keys[1])
  np.testing.assert_array_equal(
    np.stack(recordings.read(recordings.keys[2]).persons, 1).reshape(8, 150),
    np.load(tmp_path / "a.npz")["x_train"][2],
  )


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"x_train": np.zeros((3, 8, 149), np.float32)}, "149 numbers per frame, which are no whole"),
    ({"x_train": np.zeros((3, 8), np.float32)}, r"shape \(3, 8\): expected x_train"),
    ({"y_train": np.zeros(3)}, r"y_train holds float64 of the shape \(3,\)"),
    ({"y_train": np.eye(4)}, "x_train has 3 clips, y_train 4"),
    ({"y_test": np.eye(5)[:2]}, "differ in their number of classes"),
    ({"x_test": np.array([{}], dtype=object)}, "damaged header"),
    ({"x_test": np.asfortranarray(np.zeros((2, 8, 150)))}, "Fortran order"),
  ],
)
def test_an_archive_of_something_else_is_refused(tmp_path, changes, message):
  np.savez(tmp_path / "a.npz", **ctrgcn_arrays(**changes))
  with pytest.raises(DataError, match=message):
    arrays.open_ctrgcn(tmp_path / "a.npz", OPTIONS)


def test_an_archive_without_an_array_is_refused(tmp_path):
  np.savez(tmp_path / "a.npz", x_train=np.zeros((1, 2, 150)), y_train=np.eye(1))
  with pytest.raises(DataError, match="holds no x_test"):
    arrays.open_ctrgcn(tmp_path / "a.npz", OPTIONS)


@FUZZ
@given(st.data())
def test_damaged_archives_give_a_data_error_or_data(tmp_path, data):
  buffer = io.BytesIO()
  small = {"x_train": np.ones((2, 2, 75)), "y_train": np.eye(2), "y_test": np.eye(2)}
  np.savez(buffer, **small, x_test=np.ones((2, 2, 75)))
  content = bytearray(buffer.getvalue())
  for _ in range(data.draw(st.integers(1, 4))):
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
  path = tmp_path / "a.npz"
  path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
  with contextlib.suppress(DataError):
    read_all(arrays.open_ctrgcn(path, OPTIONS))


# --- own recordings

LAYOUT = {
  "name": "arm",
  "joints": ["shoulder", "elbow", "wrist"],
  "inward": [["elbow", "shoulder"], ["wrist", "elbow"]],
}


def write_own(folder, table="name,label,subject,room\na,wave,1,kitchen\nb,clap,2,hall\n", **clips):
  folder.mkdir(exist_ok=True)
  clips = clips or {"a": normal(4, 3, 3), "b": normal(2, 5, 3, 3)}
  for name, clip in clips.items():
    np.save(folder / f"{name}.npy", clip)
  (folder / "clips.csv").write_text(table, encoding="utf-8", newline="")
  (folder / "skeleton.json").write_text(json.dumps(LAYOUT))
  return clips


def test_own_clips_come_with_every_column_of_the_csv(tmp_path):
  clips = write_own(tmp_path / "raw")
  data = prepare("own", tmp_path / "raw", tmp_path)
  assert data.class_names == ("clap", "wave") and data.skeleton.name == "arm"
  assert data.table["label"].tolist() == [1, 0]
  assert data.table["subject"].tolist() == [1, 2]
  assert data.table["room"].tolist() == ["kitchen", "hall"]
  first, second = data.read([0, 1])
  # The layout names no joints to rotate or centre by: only the type changes.
  np.testing.assert_array_equal(first[0], clips["a"].astype(np.float32))
  np.testing.assert_array_equal(second[1], clips["b"][1].astype(np.float32))


@pytest.mark.parametrize(
  "table",
  [
    "\ufeffname,label,subject\r\na.npy,wave,1\r\nb.npy,clap,2\r\n",
    "name;label;subject\na;wave;1\nb;clap;2",
    'subject\tlabel\tname\n1\t"wave"\ta\n\n2\tclap\tb\n',
    "Name,LABEL, Subject\r\na,wave,1.0\r\nb,clap,2.0\r\n",
    "name,label,subject,,\na,wave,1,,\nb,clap,2,,\n",
    "name,label,,subject\na,wave,,1\nb,clap,,2\n",
    "name,label,subject\na,wave,1,,\nb,clap,2,\n,,\n",
    'sep=;\r\nName;Label;Subject\r\na; "wave";1,0\r\nb;clap;2,0\r\n;;\r\n',
    "\n;;\nname;label;subject\na;wave;1\nb;clap;2",
  ],
)
def test_a_csv_from_any_program_is_read(tmp_path, table):
  write_own(tmp_path, table)
  recordings = own.open_raw(tmp_path, OPTIONS)
  assert [line.name for line in recordings.keys] == ["a", "b"]
  assert [line.facts for line in recordings.keys] == [{"subject": 1}, {"subject": 2}]
  assert [recordings.class_names[line.label] for line in recordings.keys] == ["wave", "clap"]
  assert read_all(recordings) == 0


def test_a_csv_in_excels_unicode_and_capitals_is_read_among_what_systems_leave(tmp_path):
  write_own(tmp_path)
  (tmp_path / "clips.csv").rename(tmp_path / "CLIPS.CSV")
  (tmp_path / "CLIPS.CSV").write_bytes("Name\tLabel\na\tähm\nb\t0.0\n".encode("utf-16"))
  for name in ("._clips.csv", "~$clips.csv", "._a.npy", ".hidden.npy", "Thumbs.db"):
    (tmp_path / name).write_bytes(b"\0\1")
  recordings = own.open_raw(tmp_path, OPTIONS)
  assert recordings.class_names == ("0.0", "ähm") and not recordings.warnings


def test_whole_numbers_may_be_written_as_spreadsheets_write_them(tmp_path):
  table = "name,label,subject,weight,Take\na,2.0,7.0,60.5,01\nb,0,,61.0,2.\n"
  write_own(tmp_path, table)
  recordings = own.open_raw(tmp_path, OPTIONS)
  assert [line.label for line in recordings.keys] == [2, 0]
  expected = [
    {"subject": "7", "weight": "60.5", "Take": 1},
    {"subject": "", "weight": "61.0", "Take": 2},
  ]
  assert [line.facts for line in recordings.keys] == expected


def test_numbered_labels_are_kept_and_may_be_named(tmp_path):
  write_own(tmp_path, "name,label\na,2\nb,0\n")
  recordings = own.open_raw(tmp_path, OPTIONS)
  assert recordings.class_names == ("0", "1", "2")
  (warning,) = recordings.warnings
  assert "1 of 3 classes have no clip, such as 1: labels that are numbers count from 0" in warning
  (tmp_path / "names.txt").write_text("sit\nstand\nwalk\n")
  recordings = own.open_raw(tmp_path, options(classes=tmp_path / "names.txt"))
  assert recordings.class_names == ("sit", "stand", "walk") and not recordings.warnings
  assert [line.label for line in recordings.keys] == [2, 0]


def test_named_labels_take_the_order_of_the_classes_file(tmp_path):
  write_own(tmp_path)
  (tmp_path / "names.txt").write_text("wave\nclap\n")
  recordings = own.open_raw(tmp_path, options(classes=tmp_path / "names.txt"))
  assert [line.label for line in recordings.keys] == [0, 1]
  (tmp_path / "names.txt").write_text("wave\n")
  with pytest.raises(DataError, match="label 'clap' is not among the names"):
    own.open_raw(tmp_path, options(classes=tmp_path / "names.txt"))


def test_a_layout_with_joints_to_turn_by_is_turned_upright(tmp_path):
  write_own(tmp_path)
  layout = LAYOUT | {"center": "elbow", "vertical": ["elbow", "shoulder"]}
  (tmp_path / "skeleton.json").write_text(json.dumps(layout))
  recordings = own.open_raw(tmp_path, OPTIONS)
  person = recordings.read(recordings.keys[0]).persons[0]
  upper_arm = person[0, 0] - person[0, 1]
  np.testing.assert_allclose(upper_arm[:2], 0, atol=1e-6)
  assert upper_arm[2] > 0 and recordings.rotated and recordings.center == 1
  assert not own.open_raw(tmp_path, options(as_is=True)).rotated


def test_only_zeros_are_untracked_not_what_happens_to_sum_to_zero(tmp_path):
  clip = normal(4, 3, 3)
  clip[3] -= clip[3].mean()  # the last frame
  clip[1, 2] = 1, -1, 0
  write_own(tmp_path, "name,label\na,x\n", a=clip)
  layout = LAYOUT | {"center": "elbow", "vertical": ["elbow", "shoulder"]}
  (tmp_path / "skeleton.json").write_text(json.dumps(layout))
  recordings = own.open_raw(tmp_path, OPTIONS)
  person = recordings.read(recordings.keys[0]).persons[0]
  lengths = np.linalg.norm(clip.astype(np.float32), axis=-1)
  np.testing.assert_allclose(np.linalg.norm(person, axis=-1), lengths, rtol=1e-5)


def test_key_points_without_anybody_do_not_decide_the_layout(tmp_path):
  nobody = annotation("nobody", keypoint=np.zeros((1, 4, 33, 3)))
  path = write_pickle(tmp_path / "a.pkl", annotation_file(annotations=[nobody, annotation("a")]))
  assert annotations.open_raw(path, OPTIONS).skeleton.name == "coco"


def test_a_layout_with_only_horizontal_joints_is_turned_and_says_so(tmp_path):
  write_own(tmp_path / "raw", "name,label\na,x\n", a=normal(4, 33, 3))
  data = prepare("own", tmp_path / "raw", tmp_path, "--skeleton", "mediapipe")
  (person,) = data.read([0])[0]
  right, left = data.skeleton.horizontal
  np.testing.assert_allclose((person[0, left] - person[0, right])[1:], 0, atol=1e-6)
  assert data.rotated and any("turned to the front" in line for line in info.describe(data))


def test_a_third_channel_that_looks_like_a_score_is_mentioned_where_it_is_moved(tmp_path):
  scored = np.abs(np.sin(normal(4, 33, 3)))
  write_own(tmp_path, "name,label\na,x\n", a=scored)
  layout = options(skeleton="mediapipe")
  (warning,) = own.open_raw(tmp_path, layout).warnings
  assert "third channel lies between 0 and 1" in warning and "--as-is" in warning
  as_is = own.open_raw(tmp_path, options(skeleton="mediapipe", as_is=True))
  assert not as_is.warnings and not as_is.rotated
  path = write_pickle(tmp_path / "a.pkl", [annotation(joints=33, keypoint=scored[None])])
  first, second = annotations.open_raw(path, layout).warnings
  assert first == warning and "so img_shape is not used" in second
  write_own(tmp_path, "name,label\na,x\n", a=normal(4, 33, 3))
  assert not own.open_raw(tmp_path, layout).warnings


def test_flat_clips_are_taken_as_they_are(tmp_path):
  clips = write_own(tmp_path, "name,label\na,x\n", a=normal(4, 3, 2))
  layout = LAYOUT | {"center": "elbow", "vertical": ["elbow", "shoulder"]}
  (tmp_path / "skeleton.json").write_text(json.dumps(layout))
  recordings = own.open_raw(tmp_path, OPTIONS)
  assert recordings.channels == 2 and recordings.center is None
  person = recordings.read(recordings.keys[0]).persons[0]
  np.testing.assert_array_equal(person, clips["a"].astype(np.float32))


def test_clips_taken_as_they_are_lose_their_padding_and_stay_simultaneous(tmp_path):
  clip = normal(3, 100, 3, 2)
  clip[0, 20:] = 0  # the others end earlier, come later, and are never there
  clip[1, 12:] = 0
  clip[1, :5] = 0
  clip[2] = 0
  write_own(tmp_path / "raw", "name,label\na,x\n", a=clip)
  data = prepare("own", tmp_path / "raw", tmp_path)
  assert data.table["frames"].tolist() == [20] and data.table["persons"].tolist() == [2]
  first, second = data.read([0])[0]
  np.testing.assert_array_equal(first, clip[0, :20].astype(np.float32))
  np.testing.assert_array_equal(second, clip[1, :20].astype(np.float32))
  window = data.sample(0, window=64, num_persons=1, sampling="uniform")
  assert window.any(axis=(0, 2, 3)).all()


def test_solid_clips_taken_as_they_are_lose_their_padding(tmp_path):
  write_own(tmp_path, "name,label\na,x\n", a=np.pad(normal(4, 3, 3), ((0, 9), (0, 0), (0, 0))))
  recordings = own.open_raw(tmp_path, options(as_is=True))
  assert len(recordings.read(recordings.keys[0]).persons[0]) == 4


def test_a_test_split_is_the_evaluation_part(tmp_path):
  write_own(tmp_path, "name,label,split\na,x,Train\nb,y,test\nc,x,\n")
  recordings = own.open_raw(tmp_path, OPTIONS)
  assert [line.facts["split"] for line in recordings.keys] == ["train", "val", ""]
  assert not recordings.warnings


def test_train_val_and_test_are_two_splits(tmp_path):
  write_own(tmp_path, "name,label,split\na,x,train\nb,y,val\na2,x,test\n")
  facts = [line.facts for line in own.open_raw(tmp_path, OPTIONS).keys]
  assert [fact["split"] for fact in facts] == ["train", "val", ""]
  assert [fact["split_test"] for fact in facts] == ["train", "", "val"]


def test_bad_clips_are_bad_alone(tmp_path):
  good = normal(4, 3, 3)
  write_own(
    tmp_path,
    "name,label\ngood,x\nmissing,x\njoints,x\nchannels,x\nflat,x\nempty,x\ninf,x\ntext,x\n../out,x\nblank,\n"
    "/abs,x\nodd\x01,x\n",
    good=good,
    joints=np.zeros((4, 5, 3)),
    channels=np.ones((4, 3, 2)),
    flat=np.zeros((4, 9)),
    empty=np.zeros((0, 3, 3)),
    inf=np.full((4, 3, 3), np.inf),
    text=np.array(["a"]),
    blank=good,
  )
  recordings = own.open_raw(tmp_path, OPTIONS)
  expected = {
    "missing": "missing.npy cannot be read: No such file",
    "joints": r"\(1, 4, 5, 3\); expected \[person, frame, 3 joints of arm, 3 channels\]",
    "channels": r"\(1, 4, 3, 2\); expected \[person, frame, 3 joints of arm, 3 channels\]",
    "flat": r"shape \(4, 9\); expected \[frame, joint, channel\]",
    "empty": r"not a .npy array|shape \(0, 3, 3\)",
    "inf": "a coordinate is inf; expected a finite number, and 0 where a joint is not tracked",
    "text": "no array of numbers",
    **dict.fromkeys(("../out", "/abs", "odd\x01"), "not the name of a clip below"),
    "blank": "the CSV gives it no label",
  }
  for line in recordings.keys:
    if line.name in expected:
      with pytest.raises(DataError, match=expected[line.name]):
        recordings.read(line)


def test_a_bad_clip_is_reported_by_its_name(tmp_path):
  write_own(tmp_path / "raw", "name,label\ngood,x\ninf,x\n", good=normal(4, 3, 3),
            inf=np.full((4, 3, 3), np.inf))  # fmt: skip
  data = prepare("own", tmp_path / "raw", tmp_path, "--max-bad", "50")
  with (data.path / REPORT).open(newline="") as file:
    rows = list(csv.reader(file))
  header, (name, reason) = rows
  assert header == ["name", "reason"] and name == "inf" and "a coordinate is inf" in reason


@pytest.mark.parametrize(
  ("table", "message"),
  [
    ("", "no column 'name'"),
    ("name,class\na,x\n", "no column 'label'; its first line is 'name,class'"),
    ("name,label\n", "lists no clip"),
    ("name,label,label\na,x,y\n", "'label', which is empty or there twice"),
    ("name,label,frames\na,x,9\n", "'frames' is filled by the preparation; rename it"),
    ("name,label\na,x,3\n", "line 2 has 3 fields, the first 2"),
    ("name,label,split\na,x,dev\n", "split 'dev' is none of train, val, test"),
    ("name,label\nnone,x\n", "no clip can be read"),
    ("name,label\na,-1\n", "no recording has a class number of 0 or more as its label"),
  ],
)
def test_a_bad_csv_is_refused(tmp_path, table, message):
  write_own(tmp_path, table)
  with pytest.raises(DataError, match=message):
    own.open_raw(tmp_path, OPTIONS)


def test_a_folder_without_its_parts_is_refused(tmp_path):
  write_own(tmp_path)
  with pytest.raises(DataError, match="is not a folder; expected one with a CSV and"):
    own.open_raw(tmp_path / "clips.csv", OPTIONS)
  (tmp_path / "other.csv").write_text("x")
  with pytest.raises(DataError, match=r"one CSV .* found: clips.csv, other.csv"):
    own.open_raw(tmp_path, OPTIONS)
  (tmp_path / "other.csv").unlink()
  layout = {"name": "bone", "joints": ["a", "b"], "inward": [["b", "a"]]}
  (tmp_path / "skeleton.json").write_text(json.dumps(layout))
  with pytest.raises(DataError, match=r"the clips have 3 joints, .*skeleton\.json has 2"):
    own.open_raw(tmp_path, OPTIONS)
  (tmp_path / "skeleton.json").write_text(json.dumps(LAYOUT | {"joints": ["shoulder", "elbow"]}))
  with pytest.raises(ConfigError, match="no joint is named 'wrist'"):
    own.open_raw(tmp_path, OPTIONS)
  (tmp_path / "skeleton.json").unlink()
  with pytest.raises(ConfigError, match="3 joints, which fits no known layout"):
    own.open_raw(tmp_path, OPTIONS)


def test_clips_that_the_csv_does_not_list_are_mentioned(tmp_path):
  write_own(tmp_path, "name,label\na,wave\n./b,clap\n")
  np.save(tmp_path / "forgotten.npy", np.zeros((4, 3, 3)))
  (warning,) = own.open_raw(tmp_path, OPTIONS).warnings
  assert warning == "1 .npy files are not in clips.csv, such as forgotten.npy"


def test_a_clip_does_not_hide_behind_a_listed_one_of_the_same_name_or_a_link(tmp_path):
  raw, other = tmp_path / "raw", tmp_path / "other"
  write_own(raw)
  other.mkdir()
  np.save(other / "a.npy", np.zeros((4, 3, 3)))
  (raw / "more").symlink_to(other)
  (warning,) = own.open_raw(raw, OPTIONS).warnings
  assert warning == "1 .npy files are not in clips.csv, such as more/a.npy"
  write_own(raw, "name,label\na,x\nb,y\nmore/a,x\n")
  assert not own.open_raw(raw, OPTIONS).warnings


def test_most_clips_decide_joints_and_channels(tmp_path):
  good = normal(4, 3, 3)
  for bad in (normal(4, 5, 3), normal(4, 3, 2), np.zeros((4, 9))):
    write_own(tmp_path, "name,label\nbad,x\na,x\nb,x\n", bad=bad, a=good, b=good)
    recordings = own.open_raw(tmp_path, OPTIONS)
    assert recordings.channels == 3 and read_all(recordings) == 1
    with pytest.raises(DataError):
      recordings.read(recordings.keys[0])


def test_one_split_only_and_axes_in_another_order_are_mentioned(tmp_path):
  write_own(tmp_path, "name,label,split\na,x,test\n", a=normal(3, 8, 3, 2))
  first, second = own.open_raw(tmp_path, OPTIONS).warnings
  assert first == "the column 'split' has no clip that trains"
  assert "read as 3 persons in 2-D" in second
  (tmp_path / "skeleton.json").unlink()
  for joints in (25, 5):  # which would be refused as another layout, or as none
    np.save(tmp_path / "a.npy", normal(3, 8, joints, 2))
    with pytest.raises(ConfigError, match=r"Or the clips have the shape .*transpose\(3, 1, 2, 0\)"):
      own.open_raw(tmp_path, OPTIONS)
  write_own(tmp_path, "name,label\na,x\n", a=normal(3, 8, 17))
  with pytest.raises(DataError, match=r"save clip\.transpose\(1, 2, 0\)"):
    own.open_raw(tmp_path, OPTIONS)


@FUZZ
@given(
  st.lists(
    st.lists(st.text(max_size=6) | st.sampled_from(["a", "b", "1"]), max_size=4), max_size=4
  ),
  st.binary(max_size=4),
)
def test_strange_tables_give_a_data_error_or_data(tmp_path, rows, head):
  write_own(tmp_path)
  text = io.StringIO()
  with contextlib.suppress(csv.Error):
    csv.writer(text).writerows([["name", "label", "c", "d"], *rows])
  content = text.getvalue().encode("utf-8", errors="replace")
  (tmp_path / "clips.csv").write_bytes(content if len(head) % 2 else head + content)
  with contextlib.suppress(DataError):
    read_all(own.open_raw(tmp_path, OPTIONS))


@FUZZ
@given(st.data())
def test_damaged_arrays_give_a_data_error_or_data(tmp_path, data):
  write_own(tmp_path)
  path = tmp_path / "b.npy"
  content = bytearray(path.read_bytes())
  for _ in range(data.draw(st.integers(1, 4))):
    content[data.draw(st.integers(0, 140))] = data.draw(st.integers(0, 255))
  path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
  with contextlib.suppress(DataError):
    read_all(own.open_raw(tmp_path, OPTIONS))


def test_every_layout_can_be_named_for_own_clips(tmp_path):
  for name in skeletons.names():
    joints = skeletons.get(name).num_joints
    write_own(tmp_path, "name,label\na,x\n", a=normal(4, joints, 3))
    recordings = own.open_raw(tmp_path, options(skeleton=name))
    assert recordings.skeleton.name == name and read_all(recordings) == 0
