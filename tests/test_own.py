"""Own recordings: what comes out, and what is refused."""

import contextlib
import csv
import io
import json

import numpy as np
import pytest
from formats import (
  FUZZ,
  OPTIONS,
  annotation,
  normal,
  options,
  prepare,
  read_all,
  write_pickle,
)
from hypothesis import given
from hypothesis import strategies as st

from data_prep.look import info
from data_prep.readers import annotations, own
from data_prep.synthetic import skeleton_files
from mstgcn_jax import skeletons
from mstgcn_jax.data.data_set import REPORT
from mstgcn_jax.errors import ConfigError, DataError

LAYOUT = {
  "name": "arm",
  "joints": ["shoulder", "elbow", "wrist"],
  "inward": [["elbow", "shoulder"], ["wrist", "elbow"]],
}


TURNED = LAYOUT | {"center": "elbow", "vertical": ["elbow", "shoulder"]}
TABLE = "name,label,subject,room\na,wave,1,kitchen\nb,clap,2,hall\n"


def write_own(folder, table=TABLE, *, layout=LAYOUT, **clips):
  folder.mkdir(exist_ok=True)
  clips = clips or {"a": normal(4, 3, 3), "b": normal(2, 5, 3, 3)}
  for name, clip in clips.items():
    np.save(folder / f"{name}.npy", clip)
  (folder / "clips.csv").write_text(table, encoding="utf-8", newline="")
  (folder / "skeleton.json").write_text(json.dumps(layout))
  return clips


def test_own_clips_come_with_every_column_of_the_csv(raw):
  clips = write_own(raw)
  data = prepare("own", raw)
  assert data.class_names == ("clap", "wave") and data.skeleton.name == "arm"
  assert data.table["label"].tolist() == [1, 0]
  assert data.table["subject"].tolist() == [1, 2]
  assert data.table["room"].tolist() == ["kitchen", "hall"]
  first, second = data.read([0, 1])
  # The layout names no joints to rotate or centre by: only the type changes.
  np.testing.assert_array_equal(first[0], clips["a"].astype(np.float32))
  np.testing.assert_array_equal(second[1], clips["b"][1].astype(np.float32))


@pytest.mark.parametrize(
  ("listed", "there"),
  [
    ("take1", "Take1.NPY"),
    ("Take1.NPY", "take1.npy"),
    ("./more/take1.npy", "more/take1.npy"),
    ("More/take1", "more/Take1.npy"),
    ("take1.npy_2", "take1.npy_2.npy"),
    ("h\u00f6ren", "ho\u0308ren.npy"),
    ("ho\u0308ren", "H\u00f6ren.npy"),
  ],
)
def test_a_clip_is_found_by_a_name_that_is_spelt_otherwise(raw, listed, there):
  write_own(raw, f"name,label\n{listed},wave\nb,clap\n")
  (raw / there).parent.mkdir(exist_ok=True)
  (raw / "a.npy").rename(raw / there)
  data = prepare("own", raw)
  name = listed.removeprefix("./").removesuffix(".npy").removesuffix(".NPY")
  assert data.table["name"].tolist() == [name, "b"]


def test_of_clips_that_differ_in_case_alone_the_one_that_is_spelt_so_is_taken(tmp_path):
  clips = write_own(tmp_path, "name,label\na,x\nA,y\n", a=normal(4, 3, 3), A=normal(5, 3, 3))
  if len(list(tmp_path.glob("*.npy"))) < 2:
    pytest.skip("the disk does not tell capitals from others, as macOS's")
  recordings = own.open_raw(tmp_path, OPTIONS)
  for key in recordings.keys:
    (person,) = recordings.read(key).persons
    np.testing.assert_array_equal(person, clips[key.name].astype(np.float32))


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
    "name,label,subject\ra,wave,1\rb,clap,2\r",
    "name , label,subject\na ,wave , 1\nb,clap ,2 \n",
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
  for name in ("._clips.csv", "~$clips.csv", "._a.npy", ".hidden.npy", "Thumbs.db"):
    (tmp_path / name).write_bytes(b"\0\1")
  for codec in ("utf-16-le", "utf-16-be"):
    text = "\ufeffName\tLabel\na\tähm\nb\t0.0\n"
    (tmp_path / "CLIPS.CSV").write_bytes(text.encode(codec))
    recordings = own.open_raw(tmp_path, OPTIONS)
    assert recordings.class_names == ("0.0", "ähm") and not recordings.warnings


def test_whole_numbers_may_be_written_as_spreadsheets_write_them(tmp_path):
  table = (
    "name,label,subject,weight,Take,id\na,2.0,7.0,60.5,01,1\nb,0,,61.0,2.,9876543210987654321\n"
  )
  write_own(tmp_path, table)
  recordings = own.open_raw(tmp_path, OPTIONS)
  assert [line.label for line in recordings.keys] == [2, 0]
  expected = [
    {"subject": "7", "weight": "60.5", "Take": 1, "id": "1"},
    {"subject": "", "weight": "61.0", "Take": 2, "id": "9876543210987654321"},  # beyond 64 bits
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


def test_a_clip_without_a_label_has_none_beside_a_classes_file_too(tmp_path):
  write_own(tmp_path, "name,label\na,wave\nb,\n")
  (tmp_path / "names.txt").write_text("clap\nwave\n")
  recordings = own.open_raw(tmp_path, options(classes=tmp_path / "names.txt"))
  assert [line.label for line in recordings.keys] == [1, -1]
  for label, names in (("wave", ("wave",)), ("1", ("0", "1"))):
    write_own(tmp_path, f"name,label\na,{label}\nb,\n")
    recordings = own.open_raw(tmp_path, OPTIONS)
    assert recordings.class_names == names
    assert [line.label for line in recordings.keys] == [len(names) - 1, -1]


def test_named_labels_take_the_order_of_the_classes_file(tmp_path):
  write_own(tmp_path)
  (tmp_path / "names.txt").write_text("wave\nclap\n")
  recordings = own.open_raw(tmp_path, options(classes=tmp_path / "names.txt"))
  assert [line.label for line in recordings.keys] == [0, 1]
  (tmp_path / "names.txt").write_text("wave\n")
  with pytest.raises(DataError, match="label 'clap' is not among the names"):
    own.open_raw(tmp_path, options(classes=tmp_path / "names.txt"))


def test_a_layout_with_joints_to_turn_by_is_turned_upright(tmp_path):
  write_own(tmp_path, layout=TURNED)
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
  write_own(tmp_path, "name,label\na,x\n", layout=TURNED, a=clip)
  recordings = own.open_raw(tmp_path, OPTIONS)
  person = recordings.read(recordings.keys[0]).persons[0]
  lengths = np.linalg.norm(clip.astype(np.float32), axis=-1)
  np.testing.assert_allclose(np.linalg.norm(person, axis=-1), lengths, rtol=1e-5)


def test_a_joint_with_a_coordinate_that_is_nan_is_untracked(tmp_path):
  clip = normal(4, 3, 3)
  clip[1, 2, 0] = np.nan
  write_own(tmp_path, "name,label\na,x\n", a=clip)
  recordings = own.open_raw(tmp_path, OPTIONS)
  (person,) = recordings.read(recordings.keys[0]).persons
  clip[1, 2] = 0
  np.testing.assert_array_equal(person, clip.astype(np.float32))


def test_a_layout_that_is_told_by_the_bodies_is_said(tmp_path):
  write_own(tmp_path, "name,label\na,x\n", a=skeleton_files.make_clip(0, 1)[0])
  (tmp_path / "skeleton.json").unlink()
  recordings = own.open_raw(tmp_path, OPTIONS)
  assert recordings.skeleton.name == "ntu_rgbd" and "ntu_rgbd" in recordings.notes[0]


def test_a_layout_with_only_horizontal_joints_is_turned_and_says_so(raw):
  write_own(raw, "name,label\na,x\n", a=normal(4, 33, 3))
  data = prepare("own", raw, "--skeleton", "mediapipe")
  (person,) = data.read([0])[0]
  right, left = data.skeleton.horizontal
  np.testing.assert_allclose((person[0, left] - person[0, right])[1:], 0, atol=1e-6)
  assert data.rotated and any("turned to the front" in line for line in info.describe(data))
  assert "up" not in data.coordinates  # which nothing says


def test_a_third_channel_that_looks_like_a_score_is_mentioned_where_it_is_moved(tmp_path):
  scored = np.abs(np.sin(normal(4, 33, 3)))
  scored[..., :2] -= 0.5
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
  clips = write_own(tmp_path, "name,label\na,x\n", layout=TURNED, a=normal(4, 3, 2))
  recordings = own.open_raw(tmp_path, OPTIONS)
  assert recordings.channels == 2 and recordings.center is None
  person = recordings.read(recordings.keys[0]).persons[0]
  np.testing.assert_array_equal(person, clips["a"].astype(np.float32))


def test_clips_of_four_channels_are_taken_as_they_are(tmp_path):
  clip = np.abs(normal(4, 20, 4))
  write_own(tmp_path, "name,label\na,x\n", a=clip)
  recordings = own.open_raw(tmp_path, options(skeleton="utd_mhad"))
  assert recordings.coordinates.channels == () and not recordings.coordinates.up
  assert not recordings.warnings
  person = recordings.read(recordings.keys[0]).persons[0]
  np.testing.assert_array_equal(person, clip.astype(np.float32))


def test_clips_taken_as_they_are_lose_their_padding_and_stay_simultaneous(raw):
  clip = normal(3, 100, 3, 2)
  clip[0, 20:] = 0  # the others end earlier, come later, and are never there
  clip[1, 12:] = 0
  clip[1, :5] = 0
  clip[2] = 0
  write_own(raw, "name,label\na,x\n", a=clip)
  data = prepare("own", raw)
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
    "name,label\ngood,x\nmissing,x\njoints,x\nchannels,x\nflat,x\nempty,x\ninf,x\ntext,x\n../out,x\n"
    "/abs,x\nodd\x01,x\n",
    good=good,
    joints=np.zeros((4, 5, 3)),
    channels=np.ones((4, 3, 2)),
    flat=np.zeros((4, 9)),
    empty=np.zeros((0, 3, 3)),
    inf=np.full((4, 3, 3), np.inf),
    text=np.array(["a"]),
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
  }
  for line in recordings.keys:
    if line.name in expected:
      with pytest.raises(DataError, match=expected[line.name]):
        recordings.read(line)


def test_a_bad_clip_is_reported_by_its_name(raw):
  write_own(raw, "name,label\ngood,x\ninf,x\n", good=normal(4, 3, 3),
            inf=np.full((4, 3, 3), np.inf))  # fmt: skip
  data = prepare("own", raw, "--max-bad", "50")
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
    ("name,,label\na,x,y\n", "column 2 is called '', which is empty or there twice"),
    ("name,label,a\7\na,x,y\n", r"column 3 is called 'a\\x07', which is"),
    ("name,label,frames\na,x,9\n", "'frames' is filled by the preparation; rename it"),
    ("name,label\na,x,3\n", "line 2 has 3 fields, the first 2"),
    ("name,label,Frames\na,x,9\n", "'frames' is filled by the preparation; rename it"),
    ("name,label\n\na,x,3\n", "line 3 has 3 fields, the first 2"),
    ("name,label,room\na,x\n", "line 2 has 2 fields, the first 3"),
    ("name,label\na,x\7\n", "a label is not printable text"),
    (f"name,label\na,{200_000 * 'x'}\n", r"clips\.csv is not a CSV \(field larger than"),
    ("name,label,split\na,x,dev\n", "split 'dev' is none of train, val, test"),
    ("name,label\nnone,x\n", "no clip can be read"),
    ("name,label\na,-1\n", "no recording has a class number of 0 or more as its label"),
  ],
)
def test_a_bad_csv_is_refused(tmp_path, table, message):
  write_own(tmp_path, table)
  with pytest.raises(DataError, match=message):
    own.open_raw(tmp_path, OPTIONS)


def test_a_csv_in_another_code_than_utf_8_is_refused(tmp_path):
  write_own(tmp_path)
  (tmp_path / "clips.csv").write_bytes("name,label\na,h\xf6ren\n".encode("latin-1"))
  with pytest.raises(DataError, match=r"clips\.csv is not UTF-8 text .*; save it as CSV UTF-8"):
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
  more = {"joints": [*LAYOUT["joints"], "hand"], "inward": [*LAYOUT["inward"], ["hand", "wrist"]]}
  (tmp_path / "skeleton.json").write_text(json.dumps(LAYOUT | more))
  with pytest.raises(DataError, match=r"the clips have 3 joints, .*skeleton\.json has 4"):
    own.open_raw(tmp_path, OPTIONS)
  (tmp_path / "skeleton.json").write_text(json.dumps(LAYOUT | {"joints": ["shoulder", "elbow"]}))
  with pytest.raises(ConfigError, match="no joint is named 'wrist'"):
    own.open_raw(tmp_path, OPTIONS)
  (tmp_path / "skeleton.json").unlink()
  with pytest.raises(ConfigError, match="3 joints, which fits no known layout"):
    own.open_raw(tmp_path, OPTIONS)
  (tmp_path / "clips.csv").unlink()
  with pytest.raises(DataError, match=r"columns name and label; found: none$"):
    own.open_raw(tmp_path, OPTIONS)
  (tmp_path / "0001.JSON").write_text("{}")
  with pytest.raises(DataError, match=r"found: none; .* wrote the \.json files .* source poses"):
    own.open_raw(tmp_path, OPTIONS)
  for number in range(9):
    (tmp_path / f"clip{number}.csv").write_text("0,0")
  said = r"found: clip0\.csv, .* clip4\.csv, …; clips are \.npy .* of MediaPipe the source poses"
  with pytest.raises(DataError, match=said):
    own.open_raw(tmp_path, OPTIONS)


def test_clips_that_the_csv_does_not_list_are_mentioned(tmp_path):
  write_own(tmp_path, "name,label\na,wave\n./b,clap\n")
  np.save(tmp_path / "forgotten.npy", np.zeros((4, 3, 3)))
  (warning,) = own.open_raw(tmp_path, OPTIONS).warnings
  assert warning == "1 .npy files are not in clips.csv, such as forgotten.npy"
  (tmp_path / "fetched_later.npy").write_text("version https://git-lfs.github.com/spec/v1\n")
  (tmp_path / "more").mkdir()
  np.save(tmp_path / "more" / "c.npy", np.zeros((4, 3, 3)))
  (warning,) = own.open_raw(tmp_path, OPTIONS).warnings
  assert warning == "2 .npy files are not in clips.csv, such as more/c.npy"


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


def test_scores_of_a_layout_that_says_no_way_to_turn_are_no_third_coordinate(raw):
  clip = np.abs(normal(6, 17, 3))
  clip[..., 2] = np.abs(np.sin(clip[..., 2]))
  clip[2, 5, 2] = 0  # not found, although the estimator gives it a place
  clip[0] = 0  # nobody yet: frame t stays one moment of the recording
  write_own(raw, "name,label\na,x\n", a=clip)
  data = prepare("own", raw, "--skeleton", "coco")
  assert data.coordinates["channels"] == ["x", "y", "score"] and data.num_coordinates == 2
  (person,) = data.read([0])[0]
  assert person.shape[0] == 6 and not person[2, 5].any() and person[2, 4].any()


def test_places_that_count_from_the_corner_of_a_picture_are_mentioned(tmp_path):
  pixels = 100 * np.abs(normal(6, 17, 2))
  coco = options(skeleton="coco")
  write_own(tmp_path, "name,label\na,x\n", a=pixels)
  (warning,) = own.open_raw(tmp_path, coco).warnings
  assert "never below 0" in warning and "x/width - 0.5" in warning
  write_own(tmp_path, "name,label\na,x\n", a=pixels - 50)
  assert not own.open_raw(tmp_path, coco).warnings
  scored = np.dstack([pixels, np.full((6, 17), 0.9)])
  scored[0, 0] = np.nan
  write_own(tmp_path, "name,label\na,x\n", a=scored)
  (warning,) = own.open_raw(tmp_path, coco).warnings
  assert "never below 0" in warning
  metres = np.abs(normal(6, 20, 3)) + 2  # all before and above, but no picture
  write_own(tmp_path, "name,label\na,x\n", a=metres)
  recordings = own.open_raw(tmp_path, options(skeleton="utd_mhad", as_is=True))
  assert not recordings.warnings and not recordings.coordinates.up
