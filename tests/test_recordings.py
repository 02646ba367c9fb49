"""Recordings as the sets publish them: damaged, foreign or odd ones each have one outcome."""

import contextlib
import io
import json
import pathlib
import shutil
import struct

import formats
import numpy as np
import prepared
import pytest
import scipy.io
from golden import golden
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import raw_files
from data_prep.decode.matlab import read_array
from data_prep.readers import kinetics, msr_action3d, ntu, nw_ucla, utd_mhad, utkinect
from mstgcn_jax.errors import DataError

NAME = "S001C001P001R001A001"


def skeleton_text(frames=3, bodies=1, joints=25, value="0.5", newline="\n"):
  """A `.skeleton` file, by the format's description."""
  lines = [str(frames)]
  for frame in range(frames):
    lines.append(str(bodies))
    for body in range(bodies):
      lines += [f"7205759403794{body} 0 1 1 1 1 0 0.01 -0.25 2", str(joints)]
      for joint in range(joints):
        x = value if (frame, body, joint) == (0, 0, 0) else f"{joint * 0.01 + frame * 0.1 + body}"
        lines.append(f"{x} 1.5 3.25 300 200 1100 500 0.1 0.2 0.3 0.4 2")
  return newline.join(lines) + newline


def blank_joints():
  """Two frames; the joints of the second are blank lines."""
  first, second = skeleton_text(frames=2).split("\n1\n")[1:]
  lines = second.split("\n")
  return "2\n1\n" + first + "\n1\n" + "\n".join(lines[:2] + [""] * 24 + lines[26:])


def read_ntu(path):
  return ntu.read_recording(path, source="ntu60", num_classes=60)


@pytest.fixture
def recording(tmp_path):
  """Writes a recording and reads it."""

  def read(text, name=NAME):
    path = tmp_path / f"{name}.skeleton"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_ntu(path)

  return read


# --- .skeleton


@pytest.mark.parametrize("bodies", range(7))
def test_none_to_six_bodies_give_none_to_two_people(recording, bodies):
  clip = recording(skeleton_text(bodies=bodies))
  assert len(clip.persons) == min(bodies, 2)


def test_no_frame_is_a_clip_without_anybody(recording):
  assert recording("0\n").persons == []


def test_a_last_frame_without_anybody_is_no_truncated_one(recording):
  clip = recording(skeleton_text(frames=2).replace("2\n", "3\n", 1) + "0\n")
  np.testing.assert_array_equal(clip.persons[0], recording(skeleton_text(frames=2)).persons[0])


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends_and_a_byte_order_mark_do_not_matter(recording, newline, start):
  clip = recording(start + skeleton_text(newline=newline))
  np.testing.assert_array_equal(clip.persons[0], recording(skeleton_text()).persons[0])


@pytest.mark.parametrize(
  ("text", "reason"),
  [
    ("", "is empty"),
    ("\n \n", "is empty"),
    ("hello\nworld\n", "line 1 should be the number of frames, but is 'hello'"),
    (b"\x89PNG\r\n\x1a\n\0\0", "is not text"),
    ("-3\n", "line 1 should be the number of frames, but is '-3'"),
    ("999999999999\n1\n", "too few for 999999999999 frames: truncated?"),
    (skeleton_text(joints=20), "line 4: a body has 20 joints; expected 25"),
    (skeleton_text(joints=26), "line 4: a body has 26 joints; expected 25"),
    (skeleton_text()[:-200], "ends within frame 3 of 3: truncated?"),
    (skeleton_text()[:-9], "its last line has not 12 fields: truncated?"),
    (skeleton_text()[:-1] + " 2\n", "its last line has not 12 fields: truncated?"),
    (skeleton_text() + "1\n", "goes on after frame 3"),
    (skeleton_text(value="zero"), "a joint's x, y, z are not three numbers"),
    (blank_joints(), "a joint's x, y, z are not three numbers"),
    (skeleton_text(value="nan"), "frame 0, joint 0 has the coordinate nan; expected a finite"),
    (skeleton_text(value="2e9"), "frame 0, joint 0 has the coordinate 2e+09; expected at most 1"),
    ("x" * 9999, f"but is '{'x' * 40}'"),
    (skeleton_text(bodies=1).replace("\n1\n", "\nx\n", 1), "line 2 should be the number of bodies"),
    (
      skeleton_text().replace("\n25\n", "\nx\n", 1),
      "line 4 should be the number of joints, but is 'x'",
    ),
  ],
)
def test_a_damaged_recording_says_what_is_wrong(recording, text, reason):
  with pytest.raises(DataError) as error:
    recording(text)
  assert reason in str(error.value)


def test_an_ntu_recording_has_the_class_and_facts_of_its_name(recording):
  clip = recording(skeleton_text(), "S017C003P008R002A060")
  assert (clip.name, clip.label) == ("S017C003P008R002A060", 59)
  assert clip.facts == {"setup": 17, "camera": 3, "subject": 8, "replication": 2}
  for action, hint in (("000", ""), ("061", "; did you"), ("120", "; did you"), ("121", "")):
    with pytest.raises(DataError, match=rf"action \d+ is outside 1\.\.60 for ntu60{hint or '$'}"):
      recording(skeleton_text(), f"S017C003P008R002A{action}")


def test_ntus_two_sets_have_their_classes_and_their_papers(tmp_path):
  (tmp_path / f"{NAME}.skeleton").write_text(skeleton_text())
  options = prepared.arguments(tmp_path)
  for open_raw, classes, paper in (
    (ntu.open_ntu60, 60, "{shahroudy2016ntu,"),
    (ntu.open_ntu120, 120, "{liu2020ntu,"),
  ):
    recordings = open_raw(tmp_path, options)
    assert len(recordings.class_names) == classes and paper in recordings.citation


@pytest.mark.parametrize("name", ["walking", "S1C1P1R1A1", "S001C001P001R001A001_copy"])
def test_a_foreign_name_is_refused(recording, name):
  with pytest.raises(DataError, match="the name is not of the form SsssCcccPpppRrrrAaaa"):
    recording(skeleton_text(), name)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_raise_nothing_but_the_data_error(data):
  for parse in (ntu.parse, parse_json):
    with contextlib.suppress(DataError):
      parse(data)


_ELEMENT = st.tuples(st.integers(0, 20), st.integers(-1, 40), st.binary(max_size=40))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from("<>"), st.lists(_ELEMENT, max_size=6), st.booleans())
def test_random_elements_of_a_mat_file_raise_nothing_but_the_data_error(order, elements, nested):
  header = bytes(124) + struct.pack(f"{order}HH", 0x0100, 0x4D49)
  # Sizes are those of the content but for a few; -1 is four gigabytes.
  body = b"".join(
    struct.pack(f"{order}II", kind, (len(content) if size > 4 else size) & 0xFFFFFFFF)
    + content
    + bytes(-len(content) % 8)
    for kind, size, content in elements
  )
  if nested:  # in a matrix that begins as the one that is asked for
    start = struct.pack(f"{order}IIII", 6, 8, 6, 0) + struct.pack(
      f"{order}IIiiii", 5, 12, 1, 1, 1, 0
    )
    name = struct.pack(f"{order}II", 1, 6) + b"d_skel\0\0"
    body = start + name + body
    body = struct.pack(f"{order}II", 14, len(body)) + body
  try:
    array = read_array(header + body, "d_skel")
  except DataError as error:
    assert "is not a MATLAB file" not in str(error)
  else:
    assert array.shape == (1, 1, 1)


@pytest.mark.parametrize("order", "<>")
def test_a_matrix_of_either_byte_order_is_read(order):
  element = struct.pack(f"{order}IIII", 6, 8, 6, 0)
  element += struct.pack(f"{order}IIii", 5, 8, 2, 3)
  element += struct.pack(f"{order}II", 1, 6) + b"d_skel\0\0"
  element += struct.pack(f"{order}II6d", 9, 48, 1, 2, 3, 4, 5, 6)
  data = bytes(124) + struct.pack(f"{order}HH", 0x0100, 0x4D49)
  data += struct.pack(f"{order}II", 14, len(element)) + element
  np.testing.assert_array_equal(read_array(data, "d_skel"), [[1, 3, 5], [2, 4, 6]])


@pytest.mark.parametrize(
  ("name", "label", "action", "subject", "trial"),
  [
    ("a1_s1_t1_skeleton", 0, "right arm swipe to the left", 1, 1),
    ("a4_s7_t3_skeleton", 3, "two hand front clap", 7, 3),
    ("a27_s8_t4_skeleton", 26, "squat (two arms stretch out)", 8, 4),
  ],
)
def test_a_utd_mhad_recording_has_the_class_and_facts_of_its_name(
  tmp_path, name, label, action, subject, trial
):
  joints = np.random.default_rng(0).normal(size=(20, 3, 5))
  (tmp_path / f"{name}.mat").write_bytes(mat(d_skel=joints))
  recordings = utd_mhad.open_raw(tmp_path, None)
  assert recordings.published_clips == 861 and recordings.by_sum  # as its reader turns it
  assert utd_mhad.read_bodies(recordings.keys[0])[0].dtype == np.float32
  clip = recordings.read(recordings.keys[0])
  assert (clip.name, clip.label, recordings.class_names[clip.label]) == (name, label, action)
  assert clip.facts == {"subject": subject, "replication": trial}
  (person,) = clip.persons
  distances = np.linalg.norm(joints[:, :, 2] - joints[2, :, 2], axis=1)  # in frame 2, to the spine
  np.testing.assert_allclose(np.linalg.norm(person[2] - person[2, 2], axis=1), distances, atol=1e-5)


def test_utd_mhad_counts_joints_that_sum_to_zero_as_untracked_as_the_reference_does(tmp_path):
  joints = np.random.default_rng(0).normal(size=(20, 3, 5))
  joints[11, :, 3] = (1, -1, 0)
  path = tmp_path / "a1_s1_t1_skeleton.mat"
  path.write_bytes(mat(d_skel=joints))
  (person,) = utd_mhad.read_recording(path).persons
  assert not person[3, 11].any() and person.any(axis=-1).sum() == 99


@pytest.mark.parametrize(
  ("name", "changes", "reason"),
  [
    ("a0_s1_t1_skeleton", {}, r"action 0 is outside 1\.\.27 for utd_mhad"),
    ("a28_s1_t1_skeleton", {}, r"action 28 is outside 1\.\.27 for utd_mhad"),
    ("a1_s1_t1_skeleton_copy", {}, "the name is not of the form a<action>_s<subject>_t<trial>"),
    ("a1_s1_t1_skeleton", {"d_skel": np.ones((20, 3))}, r"the shape \(20, 3\); expected \(20, 3, "),
    ("a1_s1_t1_skeleton", {"d_skel": np.ones((20, 2, 5))}, r"the shape \(20, 2, 5\); expected"),
    ("a1_s1_t1_skeleton", {"d_skel": np.full((20, 3, 5), 2e9)}, r"has the coordinate 2e\+09"),
  ],
)
def test_a_utd_mhad_recording_that_cannot_be_is_refused(tmp_path, name, changes, reason):
  path = tmp_path / f"{name}.mat"
  path.write_bytes(mat(**{"d_skel": np.ones((20, 3, 5))} | changes))
  with pytest.raises(DataError, match=reason):
    utd_mhad.read_recording(path)


@pytest.mark.parametrize(
  ("name", "label", "action", "subject", "take", "view"),
  [
    ("a01_s01_e00_v01", 0, "pick up with one hand", 1, 0, 1),
    ("a08_s10_e05_v03", 6, "donning", 10, 5, 3),
    ("a12_s03_e10_v02", 9, "carry", 3, 10, 2),
  ],
)
def test_an_nw_ucla_recording_has_the_class_and_facts_of_its_name(
  tmp_path, name, label, action, subject, take, view
):
  joints = np.random.default_rng(0).normal(size=(5, 20, 3))
  joints[3, 5] = 1, -1, 0
  content = {"file_name": name, "skeletons": joints.tolist(), "label": label + 1}
  (tmp_path / f"{name}.json").write_text(json.dumps(content))
  recordings = nw_ucla.open_raw(tmp_path, None)
  assert recordings.published_clips == 1494
  clip = recordings.read(recordings.keys[0])
  assert (clip.name, clip.label, recordings.class_names[clip.label]) == (name, label, action)
  assert clip.facts == {"subject": subject, "camera": view, "replication": take}
  (person,) = clip.persons
  assert person.any(axis=-1).all()  # the joint that sums to zero, too
  distances = np.linalg.norm(joints[2] - joints[2, 1], axis=1)  # in frame 2, to the spine
  np.testing.assert_allclose(np.linalg.norm(person[2] - person[2, 1], axis=1), distances, atol=1e-5)


@pytest.mark.parametrize(
  ("name", "changes", "reason"),
  [
    ("a1_s1_t1_skeleton", {}, "the name is not of the form a<action>_s<subject>_e<take>_v<view>"),
    ("a01_s01_e00_v01_copy", {}, "the name is not of the form"),
    ("a07_s01_e00_v01", {}, "action 7 is none of nw_ucla's: 1, 2, 3, 4, 5, 6, 8, 9, 11, 12"),
    ("a08_s01_e00_v01", {"label": 8}, "label is 8; expected 7 by the file's name"),
    ("a01_s01_e00_v01", {"file_name": "a02"}, "file_name is 'a02'; expected 'a01_s01_e00_v01'"),
    (
      "a01_s01_e00_v01",
      {"skeletons": [[[0, 1]] * 20]},
      r"is \(1, 20, 2\); expected \(frames",
    ),
    ("a01_s01_e00_v01", {"skeletons": [[[0, 1, 2]] * 20, []]}, r"is not \[frame, joint, x y z\]"),
    ("a01_s01_e00_v01", {"skeletons": [[["0", "1", "2"]] * 20]}, "skeletons is no numbers"),
    ("a01_s01_e00_v01", {"skeletons": {"x": 1}}, "skeletons is no numbers"),
    ("a01_s01_e00_v01", {"skeletons": [[[0, 1, None]] * 20]}, "skeletons is no numbers"),
    ("a01_s01_e00_v01", {"skeletons": [[[0.5, 1, 10**400]] * 20]}, "skeletons is no numbers"),
    ("a01_s01_e00_v01", {"skeletons": [[[0, 1, -(2**63)]] * 20]}, "has the coordinate -9"),
    ("a01_s01_e00_v01", {"skeletons": [[[0, 1, float("nan")]] * 20]}, "has the coordinate nan"),
  ],
)
def test_an_nw_ucla_recording_that_cannot_be_is_refused(tmp_path, name, changes, reason):
  path = tmp_path / f"{name}.json"
  path.write_text(json.dumps({"skeletons": [[[0, 1, 2]] * 20]} | changes))
  with pytest.raises(DataError, match=reason):
    nw_ucla.read_recording(path)


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (b"", "is not JSON"),
    (b'{"skeletons": [[[1, 2', "is not JSON"),
    (b"\xff\xfe", "is not JSON"),
    (b"[" * 100_000, "is not JSON"),
    (b"[1]", "is not an object with the field skeletons"),
    (b'["skeletons"]', "is not an object with the field skeletons"),
    (b'{"label": 1}', "is not an object with the field skeletons"),
  ],
)
def test_an_nw_ucla_file_of_another_kind_is_refused(data, reason):
  with pytest.raises(DataError, match=reason):
    read_in_folder(data, "a01_s01_e00_v01.json", nw_ucla.read_recording)


# --- what lies beside recordings


def test_what_systems_leave_beside_recordings_is_passed_over(tmp_path):
  raw, linked = tmp_path / "raw", tmp_path / "linked"
  for name in ("b/2.skeleton", "b/._2.skeleton", "__MACOSX/1.skeleton", ".Trash/1.skeleton",
               "1.skeleton", "4.SKELETON", "~$5.skeleton", "Thumbs.db"):  # fmt: skip
    (raw / name).parent.mkdir(parents=True, exist_ok=True)
    (raw / name).write_text("0")
  linked.mkdir()
  (linked / "3.skeleton").write_text("0")
  (raw / "c").symlink_to(linked)
  (raw / "d").symlink_to(linked)  # once is enough
  (linked / "back").symlink_to(raw)
  paths, warnings = raw_files.find(raw, ".skeleton")
  assert [str(path.relative_to(raw)) for path in paths] == [
    *("1.skeleton", "b/2.skeleton", "c/3.skeleton", "4.SKELETON")
  ]
  assert not warnings


def test_pointers_of_git_lfs_are_passed_over_with_a_word(tmp_path):
  pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{64 * '0'}\nsize 12345\n"
  (tmp_path / "a.skeleton").write_text(pointer)
  with pytest.raises(DataError, match=r"all 1 \.skeleton files in .*`git lfs pull` fetches them"):
    raw_files.find(tmp_path, ".skeleton")
  (tmp_path / "b.skeleton").write_text(pointer + " " * 1024)  # too long for one
  paths, (warning,) = raw_files.find(tmp_path, ".skeleton")
  assert [path.name for path in paths] == ["b.skeleton"]
  assert warning.startswith("1 of 2 .skeleton files are Git LFS pointers")
  with pytest.raises(DataError, match="is a Git LFS pointer, not the recording"):
    raw_files.read(tmp_path / "a.skeleton")


def test_an_array_is_mapped_where_it_holds_real_numbers(tmp_path):
  path = tmp_path / "a.npy"
  for kind in (np.uint8, np.int16, np.float32):
    np.save(path, np.ones(3, kind))
    array = raw_files.map_npy(path)
    assert isinstance(array, np.memmap) and array.dtype == kind
  for kind in (bool, complex, "<U3"):
    np.save(path, np.ones(3, kind))
    with pytest.raises(DataError, match=r"a\.npy holds no array of numbers$"):
      raw_files.map_npy(path)
  path.write_bytes(b"\x80 a pickle, maybe")
  with pytest.raises(DataError, match=r"a\.npy is not a \.npy array, or a truncated one$"):
    raw_files.map_npy(path)
  path.unlink()
  path.mkdir()
  for read in (raw_files.map_npy, raw_files.read):
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
      read(path)


def test_every_reader_of_a_folder_says_what_was_not_fetched(tmp_path):
  pointer = "version https://git-lfs.github.com/spec/v1\n"
  for folder, name, other in (
    ("ntu", f"{NAME}.skeleton", "S001C001P001R001A002.skeleton"),
    ("utd", "a1_s1_t1_skeleton.mat", "a2_s1_t1_skeleton.mat"),
    ("nw", "a01_s01_e00_v01.json", "a02_s01_e00_v01.json"),
    ("kinetics", "kinetics_val_label.json", "kinetics_train_label.json"),
    ("msr", "a01_s01_e01_skeleton3D.txt", "a02_s01_e01_skeleton3D.txt"),
    ("utkinect", "actionLabel.txt", "joints_s01_e01.txt"),
  ):
    (tmp_path / folder).mkdir()
    content = "s01_e01\nwalk: 1 2" if folder == "utkinect" else labels_json(a=(0, "jump"))
    (tmp_path / folder / name).write_text(content)
    (tmp_path / folder / other).write_text(pointer)
  options = prepared.arguments(tmp_path)
  for open_raw, folder in (
    *((ntu.open_ntu60, "ntu"), (utd_mhad.open_raw, "utd"), (nw_ucla.open_raw, "nw")),
    *((kinetics.open_raw, "kinetics"), (msr_action3d.open_raw, "msr")),
    (utkinect.open_raw, "utkinect"),
  ):
    recordings = open_raw(tmp_path / folder, options)
    assert len(recordings.keys) == 1
    assert "1 of 2" in recordings.warnings[-1] and "git lfs pull" in recordings.warnings[-1]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_recording_raises_nothing_but_the_data_error(data):
  lines = skeleton_text(frames=2, bodies=2).split("\n")
  for _ in range(data.draw(st.integers(1, 4))):
    at = data.draw(st.integers(0, len(lines) - 1))
    token = data.draw(
      st.sampled_from(["", "nan", "-1", "1e999", "25 25", "9" * 30, "\0", "½", "0x10"])
    )
    change = data.draw(st.sampled_from(["replace", "delete", "insert", "append"]))
    if change == "replace":
      lines[at] = token
    elif change == "delete" and len(lines) > 1:
      del lines[at]
    elif change == "insert":
      lines.insert(at, token)
    else:
      lines[at] += " " + token
  try:
    bodies = ntu.parse("\n".join(lines).encode())
  except DataError:
    return
  assert bodies.shape[2:] == (25, 3) and len(bodies) <= 4


# --- .mat and JSON


def parse_mat(data):
  read_in_folder(data, "a1_s1_t1_skeleton.mat", utd_mhad.read_recording)


def parse_json(data):
  return read_in_folder(
    data, "vid.json", lambda path: kinetics.read_recording((path, "val", 3, True))
  )


def read_in_folder(data, name, read):
  import tempfile

  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / name
    path.write_bytes(data)
    return read(path)


def mat(do_compression=False, **variables):
  buffer = io.BytesIO()
  scipy.io.savemat(buffer, variables, do_compression=do_compression)
  return buffer.getvalue()


def with_dimensions(*shape):
  """A file whose d_skel says that it has this shape, and has (20, 3, 9)."""
  data = mat(d_skel=np.ones((20, 3, 9)))
  dimensions = struct.pack("<3i", 20, 3, 9)
  assert data.count(dimensions) == 1
  return data.replace(dimensions, struct.pack("<3i", *shape))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "u8", "i4", "u4", "i2", "u2", "i1", "u1"])
def test_arrays_come_back_as_scipy_wrote_them(dtype, compressed):
  array = (np.arange(20 * 3 * 7) % 100).reshape(20, 3, 7).astype(dtype)
  data = mat(do_compression=compressed, first=np.ones(3), text="a", d_skel=array)
  np.testing.assert_array_equal(read_array(data, "d_skel"), array)


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (mat(d_skel=np.ones((20, 3, 9)))[:700], "is a damaged MATLAB file"),
    (b"", "is not a MATLAB file of format 5"),
    (bytes(126) + b"I", "is not a MATLAB file of format 5"),
    (b"\x89PNG" + bytes(200), "is not a MATLAB file of format 5"),
    (
      b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM",
      "is a MATLAB file of format 7.3, which is HDF5",
    ),
    (with_dimensions(-20, -3, 9), "is a damaged MATLAB file"),
    (with_dimensions(20, 3, 8), "is a damaged MATLAB file"),
    (mat(other=np.ones(3)), "holds no variable d_skel"),
    (
      mat(d_skel=np.ones((25, 3, 9))),
      r"d_skel has the shape \(25, 3, 9\); expected \(20, 3, frames",
    ),
    (mat(d_skel=np.full((20, 3, 9), 1j)), "d_skel is not an array of real numbers"),
    (mat(d_skel="text"), "d_skel is not an array of real numbers"),
  ],
)
def test_a_damaged_mat_file_says_what_is_wrong(data, reason):
  with pytest.raises(DataError, match=reason):
    parse_mat(data)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 400), st.integers(0, 255), st.booleans())
def test_a_changed_mat_file_raises_nothing_but_the_data_error(at, value, compressed):
  data = bytearray(mat(do_compression=compressed, d_skel=np.ones((20, 3, 4))))
  data[at % len(data)] = value
  with contextlib.suppress(DataError):
    parse_mat(bytes(data))


def clip_json(pose=0.25, score=0.5, **changes):
  body = {"pose": [pose] * 36, "score": [score] * 18}
  return {
    "data": [{"frame_index": i, "skeleton": [body]} for i in range(3)],
    "label": "class 3",
    "label_index": 3,
  } | changes


@pytest.mark.parametrize(
  ("content", "reason"),
  [
    (clip_json(label_index=4), "label_index 4, but 3 in the list of labels"),
    (clip_json(data=[{"frame_index": -1, "skeleton": []}]), "not a whole number in 0..9999"),
    (clip_json(data=[{"frame_index": 10**4, "skeleton": []}]), "not a whole number in 0..9999"),
    (clip_json(data=[{"frame_index": True, "skeleton": []}]), "not a whole number in 0..9999"),
    (
      clip_json(data=[{"frame_index": 0, "skeleton": [{"pose": [0] * 50, "score": [0] * 25}]}]),
      "frame 0 has a body of 50 numbers and 25 scores; expected 36 and 18",
    ),
    (clip_json(score=0), "the score is 0 for every key point, so that none counts as tracked"),
    (clip_json(pose=float("nan")), "frame 0, joint 0 has the coordinate nan; expected a finite"),
    (clip_json(score=float("nan")), "frame 0, joint 0 has the coordinate nan; expected a finite"),
    (clip_json(score=1e308), r"frame 0, joint 0 has the coordinate 1e\+308; expected at most"),
    (clip_json(pose=640), "the coordinate 640; expected fractions of the image's width and height"),
    (clip_json(pose=10.5), "the coordinate 10.5; expected fractions of the image's width and"),
    (clip_json(pose=-640), "the coordinate 640; expected fractions of the image's width and"),
    (
      clip_json(data=[{"frame_index": 2, "skeleton": [{"pose": [0.1, 0.2], "score": [0.5] * 18}]}]),
      "frame 2 has a body of 2 numbers and 18 scores",
    ),
    (
      clip_json(data=[{"frame_index": 2, "skeleton": [{"pose": [0.1] * 36, "score": [0.5]}]}]),
      "frame 2 has a body of 36 numbers and 1 scores",
    ),
    ([], "is not a Kinetics-skeleton clip"),
    ({}, "is not a Kinetics-skeleton clip"),
  ],
)
def test_a_damaged_json_clip_says_what_is_wrong(content, reason):
  with pytest.raises(DataError, match=reason):
    parse_json(json.dumps(content).encode())


def test_places_beside_the_picture_scores_and_a_class_that_nobody_asks_for_are_taken(tmp_path):
  path = tmp_path / "vid.json"
  path.write_text(json.dumps(clip_json(pose=9.5, score=20)))
  for label in (None, 3):
    first, *_ = kinetics.read_persons(path, label)
    np.testing.assert_array_equal(first[:, 7], [[9, -9, 20]] * 3)
    assert first.dtype == np.float32
  with pytest.raises(DataError, match="label_index 3, but 0 in the list of labels"):
    kinetics.read_persons(path, 0)


def test_bytes_that_are_no_json_are_not_spelled_out():
  with pytest.raises(DataError, match="is not a Kinetics-skeleton clip") as refused:
    parse_json(b"\x93" * 10_000)
  assert len(str(refused.value)) < 300


_JSON = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
  lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(
      st.sampled_from(["data", "frame_index", "skeleton", "pose", "score", "label_index"]), inner
    )
  ),
  max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(_JSON, st.sampled_from(["all", "data", "frame", "body"]))
def test_random_json_raises_nothing_but_the_data_error(value, place):
  content = clip_json()
  if place == "all":
    content = value
  elif place == "data":
    content["data"] = value
  elif place == "frame":
    content["data"][1] = value
  else:
    content["data"][1] = {"frame_index": 1, "skeleton": [value]}
  with contextlib.suppress(DataError):
    parse_json(json.dumps(content).encode())


def test_deeply_nested_json_is_a_data_error():
  with pytest.raises(DataError):
    parse_json(b"[" * 100_000)


# --- lists of Kinetics


def test_a_kinetics_clip_without_its_file_is_bad_by_name(tmp_path):
  raw = tmp_path / "raw"
  shutil.copytree(golden("data/kinetics_raw"), raw)
  (raw / "kinetics_val" / "vid03_abc.json").unlink()
  reasons = prepared.report(formats.prepare("kinetics", raw, "--max-bad", "50"))
  assert reasons["vid03_abc.json"] == "cannot be read: No such file or directory"


def labels_json(**clips) -> str:
  rows = {name: {"label_index": i, "label": label} for name, (i, label) in clips.items()}
  return json.dumps({name: row | {"has_skeleton": True} for name, row in rows.items()})


@pytest.mark.parametrize(
  "content",
  [
    *("", "[]", '{"a": 1}', '{"a": {"label_index": 400}}', "\0"),
    labels_json(a=(0, "jump"), b=(1, "jump")),
    labels_json(a=(0, "class 7")),
    labels_json(a=(0, "jump\nhigh")),
    labels_json(a=(0, "jump"), b=(0, "hop")),
    labels_json(**{"a\0": (0, "jump")}),
    labels_json(a=(0, "\ud800")),
    labels_json(a=(float("inf"), "jump")),
    labels_json(a=(0, 5)),
    None,  # a link that leads nowhere
    *(labels_json(a=(400, "jump")), labels_json(a=(-1, "jump"))),
  ],
)
def test_a_damaged_list_of_kinetics_labels_is_one_message(tmp_path, capsys, content):
  path = tmp_path / "kinetics_val_label.json"
  path.symlink_to("nowhere") if content is None else path.write_text(content)
  formats.prepare("kinetics", tmp_path, out=tmp_path / "data", status=1)
  (line,) = capsys.readouterr().err.splitlines()
  twice = "'; names must be printable and different"
  assert "is not a list of Kinetics-skeleton labels" in line or twice in line


def test_lists_of_kinetics_that_list_nothing_are_one_message(tmp_path):
  (tmp_path / "kinetics_val_label.json").write_text("{}")
  with pytest.raises(DataError, match=r"holds no \*_label\.json that lists a clip"):
    kinetics.open_raw(tmp_path, None)


def test_kinetics_clips_without_a_skeleton_are_empty_and_need_no_file(tmp_path):
  clip = kinetics.read_recording((tmp_path / "absent.json", "train", 3, False))
  assert (clip.name, clip.label, clip.persons, clip.facts) == ("absent", 3, [], {"split": "train"})
  for frames in ([{"frame_index": i, "skeleton": []} for i in range(3)], []):
    clip = parse_json(json.dumps(clip_json(data=frames)).encode())
    assert not any(person.any() for person in clip.persons)


def test_the_folder_of_kinetics_labels_says_which_clips_train(tmp_path):
  raw = tmp_path / "to_train"
  raw.mkdir()
  for name in ("kinetics_train", "kinetics_val", "mine", ""):  # the last beside its clips
    clips = labels_json(**{f"{name}_b": (1, "jump"), f"{name}_a": (1, "jump")})
    (raw / f"{name}_label.json").write_text(clips.replace("true", str(name != "mine").lower()))
  recordings = kinetics.open_raw(raw, None)
  assert recordings.keys == [
    (raw / folder / f"{folder}_{clip}.json", split, 1, folder != "mine")
    for folder, split in (
      *(("", "train"), ("kinetics_train", "train")),
      *(("kinetics_val", "val"), ("mine", "val")),
    )
    for clip in "ab"
  ]
  assert recordings.class_names[:3] == ("class 0", "jump", "class 2")
