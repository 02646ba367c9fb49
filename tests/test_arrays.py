"""Arrays of 2s-AGCN and ST-GCN, archives of CTR-GCN: what comes out, and what is refused."""

import contextlib
import io
import pathlib

import numpy as np
import pytest
from formats import FUZZ, OPTIONS, normal, options, prepare, read_all, write_pickle
from hypothesis import given
from hypothesis import strategies as st

from data_prep.look import info
from data_prep.readers import arrays
from mstgcn_jax.errors import DataError
from mstgcn_jax.use.recordings import find

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
  data = prepare("agcn", tmp_path / "raw")
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
  with pytest.raises(DataError, match=r"has the shape \(2, .*; expected \[clip, channel, frame, j"):
    arrays.open_agcn(tmp_path, OPTIONS)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e308, 1e30])
def test_a_damaged_clip_of_an_array_is_bad_alone_and_tells_nothing_of_the_others(tmp_path, value):
  write_agcn(tmp_path)
  whole = arrays.open_agcn(tmp_path, OPTIONS)
  for part in ("train", "val"):
    clips = np.load(tmp_path / f"{part}_data_joint.npy").astype(np.float64)
    clips[0, 1, 2, 3, 0] = value
    np.save(tmp_path / f"{part}_data_joint.npy", clips)
  found = arrays.open_agcn(tmp_path, OPTIONS)
  assert (found.skeleton, found.coordinates) == (whole.skeleton, whole.coordinates)
  assert read_all(found) == 2


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
  data = prepare("ctrgcn", tmp_path / "a.npz")
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
    ({"x_train": np.zeros((3, 0, 150), np.float32)}, r"shape \(3, 0, 150\): expected x_train"),
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


def test_an_archive_whose_list_of_contents_is_damaged_is_named_to_a_run(tmp_path):
  np.savez(tmp_path / "a.npz", **ctrgcn_arrays())
  content = bytearray((tmp_path / "a.npz").read_bytes())
  content[-10:-6] = b"\xff\xff\xff\x7f"  # bytes of the list, which then begins before the file
  (tmp_path / "a.npz").write_bytes(content)
  with pytest.raises(DataError, match=r"a\.npz holds"), find(tmp_path / "a.npz"):
    pass


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
