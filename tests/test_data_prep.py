"""From recordings to a prepared data set, as the command does it."""

import pathlib
import shutil

import numpy as np
import pytest
from formats import prepare
from golden import golden, shared

from data_prep import __main__ as command
from data_prep import raw_files
from data_prep.readers import ntu
from mstgcn_jax.data import protocols
from mstgcn_jax.data.data_set import open_data_set
from mstgcn_jax.errors import DataError

BODIES = ["S005C001P001R001A001", "S005C001P007R001A027", "S005C002P004R001A050"]


def run(*arguments):
  return command.main([str(argument) for argument in arguments])


def assert_equal_to_golden(data_set, file):
  """Every clip in 300 frames equals the reference's; 1e-5 is float32 rounding of metres."""
  with np.load(golden(f"data/{file}.npz")) as data:
    assert len(data_set) == sum(name.endswith("/raw") for name in data.files)
    for row, name in enumerate(data_set.table["name"]):
      expected = data[f"{name}/normalised"]
      clip = data_set.sample(row, window=300)
      np.testing.assert_allclose(clip.transpose(3, 1, 2, 0), expected, atol=1e-5, err_msg=name)


def test_bodies_are_selected_as_the_reference_selects_them():
  with np.load(golden("data/bodies.npz")) as data:
    for path in sorted(golden("data/bodies").glob("*.skeleton")):
      bodies = ntu.normalise.liveliest(ntu.parse(path.read_bytes()), 2)
      expected = data[f"{path.stem}/raw"]
      for person in range(2):
        body = bodies[person] if person < len(bodies) else 0
        np.testing.assert_allclose(expected[..., person].transpose(1, 2, 0), body, atol=1e-6)


def test_recordings_with_many_bodies_equal_the_reference(tmp_path):
  data_set = prepare("ntu60", golden("data/bodies"), out=tmp_path)
  assert_equal_to_golden(data_set, "bodies")
  assert data_set.by_sum  # by which runs turn other recordings
  names = data_set.class_names
  assert (len(names), names[0], names[59]) == (60, "drink water", "walking apart from each other")


def test_real_ntu_recordings_equal_the_reference(tmp_path):
  data_set = prepare("ntu60", shared("data/ntu_rgbd"), out=tmp_path)
  assert_equal_to_golden(data_set, "ntu_rgbd")
  row = data_set.table["name"].tolist().index("S004C002P003R001A017")
  facts = {key: column[row] for key, column in data_set.table.items()}
  assert facts.items() >= {"setup": 4, "camera": 2, "subject": 3, "label": 16}.items()
  assert data_set.class_names[16] == "take off a shoe"


def test_real_utd_mhad_has_the_published_split(tmp_path):
  data_set = prepare("utd_mhad", shared("data/utd_mhad/Skeleton"), out=tmp_path)
  train, evaluate = protocols.split(data_set, "cross_subject")
  assert (len(data_set), len(train), len(evaluate)) == (861, 431, 430)
  assert len(data_set.class_names) == 27
  clip = data_set.sample(100, window=200, num_persons=1)[0]
  spine, hip, left, right = 2, 3, 4, 8
  np.testing.assert_allclose(clip[:, spine], 0)
  # in the first frame the shoulders lie along x, which tilts the upright spine a little
  across = clip[0, right] - clip[0, left]
  np.testing.assert_allclose(across[1:], 0, atol=1e-6)
  assert across[0] > 0 and clip[0, hip, 2] < -0.05


def test_real_nw_ucla_has_the_published_split(tmp_path):
  data_set = prepare("nw_ucla", shared("data/nw_ucla/all_sqe"), out=tmp_path)
  train, evaluate = protocols.split(data_set, "leave_one_out:column=camera,value=3")
  # 10 of the published 1,494 are not in the files that are passed round.
  assert (len(train), len(evaluate), len(data_set.class_names)) == (1020, 464, 10)
  assert np.bincount(data_set.table["label"]).min() >= 141


@pytest.mark.parametrize("name", ["ntu120", "utd_mhad"])
def test_class_names_are_the_published_ones(name):
  lines = shared(f"labels/{name}.txt").read_text().splitlines()
  assert raw_files.labels(name) == tuple(line.split("\t")[1] for line in lines)


def test_kinetics_equals_the_reference_and_keeps_its_split(tmp_path, capsys):
  data_set = prepare("kinetics", golden("data/kinetics_raw"), out=tmp_path)
  assert data_set.scale == 1000  # three decimals, stored exactly
  assert (data_set.fill, data_set.center, data_set.rotated) == ("zero", None, False)
  assert data_set.coordinates["units"] == "image fractions"
  with np.load(golden("data/kinetics.npz")) as data:
    for row, name in enumerate(data_set.table["name"]):
      assert data_set.table["label"][row] == data[f"{name}/label"]
      clip = data_set.sample(row, window=300)
      # 1e-6: the reference subtracts in float32
      np.testing.assert_allclose(clip.transpose(3, 1, 2, 0), data[f"{name}/data"], atol=1e-6)
  train, evaluate = protocols.split(data_set, "given")
  assert (len(train), len(evaluate)) == (0, 5)
  assert data_set.table["persons"].max() == 2
  assert "vid05_abc,nobody is tracked" in (data_set.path / "report.csv").read_text()
  assert "5 clips, 19,791 fewer than the published 19,796" in capsys.readouterr().err


def test_worker_processes_write_the_same_data_set(tmp_path, raw):
  raw.mkdir()
  for subject in range(20, 40):
    source = golden(f"data/bodies/{BODIES[subject % 3]}.skeleton")
    shutil.copy(source, raw / f"S005C001P0{subject}R001A001.skeleton")
  one, two = (prepare("ntu60", raw, "--workers", w, out=tmp_path / str(w)) for w in (1, 2))
  assert one.shards == two.shards


def bodies_folder(tmp_path) -> pathlib.Path:
  return shutil.copytree(golden("data/bodies"), tmp_path / "raw")


def test_an_existing_data_set_is_reported_and_left(tmp_path, capsys):
  raw = bodies_folder(tmp_path)
  folder = prepare("ntu60", raw).path
  before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
  capsys.readouterr()
  prepare("ntu60", raw)
  assert "is there already (5 clips); left as it is" in capsys.readouterr().out
  assert before == {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}


def test_overwrite_replaces_it(tmp_path):
  raw = bodies_folder(tmp_path)
  prepare("ntu60", raw)
  (raw / f"{BODIES[0]}.skeleton").unlink()
  assert len(prepare("ntu60", raw, "--overwrite")) == 4
  assert [path.name for path in (tmp_path / "ntu60").iterdir()] == ["1.0.0"]


def test_an_overwrite_that_fails_leaves_the_old_one(tmp_path):
  raw = bodies_folder(tmp_path)
  prepare("ntu60", raw)
  (raw / f"{BODIES[0]}.skeleton").write_text("not a recording")
  prepare("ntu60", raw, "--overwrite", status=1)
  assert len(open_data_set(tmp_path / "ntu60")) == 5


def test_the_ignore_list_is_read_with_its_header_lines(tmp_path, capsys):
  ignored = tmp_path / "missing.txt"
  ignored.write_text(
    "The following files have missing or incomplete skeleton data. Please ignore\r\n"
    "them in your \u201cexperiments\u201d.\r\n\r\n"
    f"{BODIES[0]}\r\n{BODIES[2]}.skeleton\r\nS001C002P005R002A008\n",
    encoding="cp1252",
  )
  data_set = prepare("ntu60", bodies_folder(tmp_path), "--ignore-list", ignored)
  names = data_set.table["name"].tolist()
  assert len(names) == 3 and not {BODIES[0], BODIES[2]} & set(names)
  assert "3 clips, 56,575 fewer than the published 56,578" in capsys.readouterr().err


def test_a_list_that_names_no_recording_or_is_not_there_is_refused(tmp_path):
  raw, ignored = bodies_folder(tmp_path), tmp_path / "missing.txt"
  with pytest.raises(DataError, match=r"--ignore-list .*missing\.txt cannot be read: No such file"):
    ntu.read_ignore_list(ignored)
  ignored.write_text("a README\nS1C2P5R2A8\n")
  with pytest.raises(
    DataError, match=r"missing\.txt names no recording such as S001C002P005R002A008"
  ):
    ntu.read_ignore_list(ignored)
  prepare("ntu60", raw, "--ignore-list", ignored, status=1)


def test_a_list_that_leaves_out_everything_is_one_message(tmp_path, capsys):
  raw, ignored = bodies_folder(tmp_path), tmp_path / "missing.txt"
  ignored.write_text("\n".join(path.stem for path in raw.iterdir()))
  prepare("ntu60", raw, "--ignore-list", ignored, status=1)
  assert "all 5 recordings" in capsys.readouterr().err


def test_without_an_ignore_list_the_counts_are_compared(tmp_path, capsys):
  data_set = prepare("ntu120", bodies_folder(tmp_path))
  errors = capsys.readouterr().err
  assert "the 535 recordings of the official list of missing skeletons" in errors
  assert "5 clips, 113,940 fewer than the published 113,945" in errors
  assert len(data_set.class_names) == 120


def test_a_data_set_can_have_its_own_name(tmp_path):
  raw = bodies_folder(tmp_path)
  assert run("ntu60", "--raw", raw, "--out", tmp_path, "--name", "mine", "--workers", 1) == 0
  assert open_data_set(tmp_path / "mine").name == "mine"


@pytest.mark.parametrize(
  "arguments",
  [
    (),
    ("ntu61", "--raw", "x", "--out", "y"),
    ("ntu60", "--out", "y"),
    ("ntu60", "--raw", "x", "--out", "y", "--workers", "0"),
    ("ntu60", "--raw", "x", "--out", "y", "--max-bad", "101"),
  ],
)
def test_wrong_usage_exits_with_2(arguments):
  with pytest.raises(SystemExit) as exit_:
    run(*arguments)
  assert exit_.value.code == 2


def test_what_is_no_number_of_workers_is_said(capsys):
  with pytest.raises(SystemExit):
    run("ntu60", "--raw", "x", "--out", "y", "--workers", "all")
  assert "all is no whole number of 1 or more" in capsys.readouterr().err


def test_the_command_starts_without_docstrings_which_python_oo_leaves_out(monkeypatch):
  for module in (command, command.show, command.info):
    monkeypatch.setattr(module, "__doc__", None)
  assert command.parser().parse_args(["info", "data"]).command == "info"


def test_a_name_that_tfds_cannot_take_is_wrong_usage(tmp_path, capsys):
  prepare("ntu60", golden("data/bodies"), "--name", "My-Clips", out=tmp_path, status=2)
  assert "expected small letters, digits and _" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["ntu60", "ntu120", "kinetics", "utd_mhad", "nw_ucla"])
def test_a_missing_or_empty_folder_is_one_clear_message(source, tmp_path, capsys):
  out = tmp_path / "data"
  assert run(source, "--raw", tmp_path / "nowhere", "--out", out) == 1
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1 and lines[0].startswith(f"{source}: --raw ")
  assert "does not exist" in lines[0]
  (tmp_path / "empty").mkdir()
  assert run(source, "--raw", tmp_path / "empty", "--out", out) == 1
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1 and f"{tmp_path / 'empty'} holds no" in lines[0]
  assert not list(out.glob("*"))


def test_a_class_out_of_range_asks_for_the_larger_data_set(tmp_path, capsys):
  raw = bodies_folder(tmp_path)
  (raw / f"{BODIES[0]}.skeleton").rename(raw / "S001C001P001R001A061.skeleton")
  assert run("ntu60", "--raw", raw, "--out", tmp_path / "data", "--workers", 1) == 1
  assert capsys.readouterr().err.splitlines()[-1] == (
    f"ntu60: 1 of 5 recordings in {raw} could not be read (first: S001C001P001R001A061.skeleton: "
    "action 61 is outside 1..60 for ntu60; did you mean ntu120?). Nothing was written; "
    "--max-bad 1 allows 1 %; --max-bad 20 would leave them out."
  )
  assert not list((tmp_path / "data").glob("*"))
