"""`mstgcn predict`: recordings from files, folders and pipes, whole and in segments, to labels."""

import csv
import dataclasses
import io
import itertools
import json
import pathlib
import pickle
import re
import shutil
import sys
import warnings

import numpy as np
import pytest
import tiny
from PIL import Image
from prepared import prepare, random_clips
from test_classifier import NTU, write_run

from data_prep import __main__ as prepare_command
from data_prep.look import show
from data_prep.readers import interface, kinetics, ntu
from data_prep.synthetic import skeleton_files
from mstgcn_jax import files, skeletons
from mstgcn_jax.commands import predict as command
from mstgcn_jax.data import normalise
from mstgcn_jax.data.data_set import Persons, open_data_set
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.use import drawing, json_frames, predict, recordings
from mstgcn_jax.use.classifier import Classifier
from mstgcn_jax.use.predict import Naming, Predictor, Windows

GOLDEN = pathlib.Path(__file__).parent / "golden/data"
BODIES = GOLDEN / "bodies"
NAMING = Naming(("a", "b", "c"))


@pytest.fixture(scope="module")
def run(finished):
  return finished


@pytest.fixture(scope="module")
def ntu_run(tmp_path_factory):
  return write_run(tmp_path_factory.mktemp("ntu_run"))


def own(key=(0, 1, 2)):
  return tiny.read(key, 20).persons[0]


def predicted(capsys, *argv):
  """Rows that the command prints as JSON."""
  assert command.main([*map(str, argv), "--format", "json"]) == 0
  return json.loads(capsys.readouterr().out)


def pipe(monkeypatch, data: bytes):
  monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def npy(array) -> bytes:
  out = io.BytesIO()
  np.save(out, array)
  return out.getvalue()


def test_a_file_gives_the_classifiers_probabilities(run, tmp_path, capsys):
  np.save(tmp_path / "wave.npy", own())
  (row,) = predicted(capsys, run, tmp_path / "wave.npy")
  classify = Classifier(run)
  expected = np.asarray(classify(classify.from_recording(own())[None]))[0]
  order = np.argsort(-expected)
  assert [top["label"] for top in row["top"]] == [classify.class_names[i] for i in order]
  np.testing.assert_allclose(
    [top["probability"] for top in row["top"]], expected[order], atol=1e-5
  )  # 1e-5: another batch shape, and six decimals
  assert row["recording"] == "wave" and row["label"] == row["top"][0]["label"]
  assert (row["start"], row["end"]) == (0, round(len(own()) / 30, 3))


@pytest.mark.parametrize("kind", ["npy", "lines"])
def test_a_pipe_gives_what_the_file_gives(run, tmp_path, capsys, monkeypatch, kind):
  np.save(tmp_path / "wave.npy", own())
  (expected,) = predicted(capsys, run, tmp_path / "wave.npy")
  lines = "\n\n".join(json.dumps(frame.tolist()) for frame in own()).encode()
  pipe(monkeypatch, npy(own()) if kind == "npy" else lines)
  (row,) = predicted(capsys, run, "-")
  assert row["recording"] == "-" and row["top"] == expected["top"]


def test_a_command_without_standard_input_reads_files(run, tmp_path, capsys, monkeypatch):
  np.save(tmp_path / "a.npy", own())
  monkeypatch.setattr(sys, "stdin", None)  # as of programs that a service starts
  assert [row["recording"] for row in predicted(capsys, run, tmp_path / "a.npy")] == ["a"]
  with pytest.raises(ConfigError, match="standard input is closed"):
    command.main([str(run), "-"])


def test_a_folder_is_predicted_file_by_file_and_a_bad_one_is_said(run, tmp_path, capsys):
  for i in range(3):
    np.save(tmp_path / f"{i}.npy", own((0, i, 0)))
  (tmp_path / "1.npy").write_bytes(b"\x93NUMPY damaged")
  (tmp_path / "clips.csv").write_text("name,label\n")
  assert command.main([str(run), str(tmp_path), "--format", "csv", "--top", "2"]) == 1
  out, err = capsys.readouterr()
  rows = list(csv.DictReader(io.StringIO(out)))
  assert [row["recording"] for row in rows] == ["0", "2"]
  assert rows[0]["label"] == rows[0]["class_1"] and "class_3" not in rows[0]
  assert "left out" in err and "1.npy" in err


def test_several_files_and_folders_are_predicted_in_their_order(run, tmp_path, capsys, monkeypatch):
  (tmp_path / "more").mkdir()
  for name in ("b.npy", "a.npy", "more/c.npy"):
    np.save(tmp_path / name, own())
  pipe(monkeypatch, npy(own()))
  paths = [tmp_path / "b.npy", "-", tmp_path / "more", tmp_path / "a.npy"]
  rows = predicted(capsys, run, *paths)
  assert [row["recording"] for row in rows] == ["b", "-", "c", "a"]
  with pytest.raises(DataError, match=r"d\.npy does not exist"):
    command.main([str(run), str(paths[0]), str(tmp_path / "d.npy")])


def test_files_of_another_kind_in_a_folder_are_said(run, tmp_path, capsys):
  np.save(tmp_path / "mine.npy", own())
  for name in ("poses.json", "skeleton.json", "synthetic.json"):  # the last two are no recordings
    (tmp_path / name).write_text("[]")
  assert command.main([str(run), str(tmp_path), "--format", "json"]) == 0
  out, err = capsys.readouterr()
  assert [row["recording"] for row in json.loads(out)] == ["mine"]
  assert "1 file of other kinds left out, such as" in err and "poses.json; --source" in err


def test_in_a_folder_a_recording_of_another_layout_does_not_stop_the_others(run, tmp_path, capsys):
  for i in range(3):
    np.save(tmp_path / f"{i}.npy", own((0, i, 0)))
  np.save(tmp_path / "1.npy", own()[:, :17])
  assert command.main([str(run), str(tmp_path), "--format", "json"]) == 1
  out, err = capsys.readouterr()
  assert [row["recording"] for row in json.loads(out)] == ["0", "2"]
  assert "left out: 1: the joints have the shape" in err


def test_ntu_recordings_of_any_name_are_read_as_for_training(ntu_run, tmp_path):
  shutil.copy(BODIES / "S005C001P007R001A027.skeleton", tmp_path / "whatever.skeleton")
  with recordings.find(tmp_path / "whatever.skeleton") as found:
    recording = found.read[0]()
  path = BODIES / "S005C001P007R001A027.skeleton"
  expected = ntu.read_recording(path, source="ntu60", num_classes=60).persons
  assert recording.name == "whatever" and recording.rotated
  for one, other in zip(recording.persons, expected, strict=True):
    np.testing.assert_array_equal(one, other)
  (row,) = Predictor(ntu_run).whole(recording)
  classify = Classifier(ntu_run)
  alone = np.asarray(classify(classify.from_recording(expected)[None]))[0]
  np.testing.assert_allclose(row.probabilities, alone, atol=1e-6)  # logarithm and back


def test_a_file_of_bodies_is_turned_by_sum_as_its_data_sets_are():
  bodies = list(np.random.default_rng(0).normal(size=(2, 9, 25, 3)).astype(np.float32))
  bodies[0][0] = bodies[0][4] = 0  # the reference moves the other frames together
  found = recordings._turned(lambda path: bodies, "ntu_rgbd")(pathlib.Path("a")).persons
  as_reference, otherwise = (normalise.normalise(bodies, NTU, by_sum=s) for s in (True, False))
  np.testing.assert_array_equal(found[0], as_reference[0])
  assert not np.array_equal(as_reference[0], otherwise[0])


def test_a_recording_lasts_as_long_as_whoever_stays_longest(ntu_run):
  persons = [np.ones((frames, 25, 3), np.float32) for frames in (5, 9)]
  recording, predictor = recordings.Recording("a", persons, persons), Predictor(ntu_run)
  assert [found.end for found in predictor.whole(recording)] == [9]
  assert predictor.segments(recording, Windows(4, 4), NAMING)[-1].end == 9


def test_as_many_joints_of_another_layout_are_refused(ntu_run):
  other = dataclasses.replace(NTU, name="mine", joints=tuple(f"joint {i}" for i in range(25)))
  persons, predictor = [np.ones((9, 25, 3), np.float32)], Predictor(ntu_run)
  recording = recordings.Recording("a", persons, persons, other)
  cut = lambda recording: predictor.segments(recording, Windows(4, 4), NAMING)
  for predict_it in (predictor.whole, cut):
    with pytest.raises(ConfigError, match="a has the 25 joints of mine; this run takes the 25"):
      predict_it(recording)


def test_a_kinetics_clip_needs_no_list_of_labels(tmp_path):
  path = sorted((GOLDEN / "kinetics_raw/kinetics_val").iterdir())[0]
  content = json.loads(path.read_text())
  for key in ("label", "label_index"):
    content.pop(key)
  (tmp_path / "clip.json").write_text(json.dumps(content))
  with recordings.find(tmp_path / "clip.json") as found:
    persons = found.read[0]().persons
  expected = kinetics.read_persons(path)
  for one, other in zip(persons, normalise.cut_ends(expected), strict=True):
    np.testing.assert_array_equal(one, other)


def test_lists_of_kinetics_labels_are_no_recordings():
  with recordings.find(GOLDEN / "kinetics_raw", "kinetics") as found:
    names = [read().name for read in found.read]
  assert names and not any("label" in name for name in names)


def test_a_named_source_reads_a_file_of_any_name_and_a_folders_endings_in_capitals(tmp_path):
  (tmp_path / "folder").mkdir()
  for path in (tmp_path / "joints.dat", tmp_path / "folder" / "CLIP.NPY"):
    path.write_bytes(npy(own()))
  (tmp_path / "folder" / "a.pkl").write_text("")  # of another source, which is not asked for
  for path in (tmp_path / "joints.dat", tmp_path / "folder"):
    with recordings.find(path, "own") as found:
      (read,) = found.read
      assert not found.notes
      np.testing.assert_array_equal(read().persons[0], own())


@pytest.mark.parametrize("source", ["kinetics", "agcn"])
def test_untracked_ends_are_cut_as_where_data_are_prepared(tmp_path, source):
  raw = tmp_path / "raw"
  raw.mkdir()
  if source == "kinetics":
    body = {"pose": [0.25] * 36, "score": [0.5] * 18}
    frames = [{"frame_index": t, "skeleton": [body] * (t < 4)} for t in range(7)]
    (raw / "kinetics_val").mkdir()
    (raw / "kinetics_val/a.json").write_text(json.dumps({"data": frames, "label_index": 0}))
    labels = {"a": {"label_index": 0, "label": "jump", "has_skeleton": True}}
    (raw / "kinetics_val_label.json").write_text(json.dumps(labels))
  else:
    array = np.ones((1, 3, 7, 25, 2), np.float32)
    array[:, :, 4:] = array[..., 1] = 0
    np.save(raw / "val_data_joint.npy", array)
    (raw / "val_label.pkl").write_bytes(pickle.dumps((["a"], [0])))
  assert prepare_command.main([source, "--raw", str(raw), "--out", str(tmp_path)]) == 0
  (stored,) = open_data_set(tmp_path / source).read([0])
  with recordings.find(raw / "kinetics_val" if source == "kinetics" else raw, source) as found:
    recording = found.read[0]()
  persons = recording.persons
  assert recording.turned == (source == "agcn")  # whose arrays somebody else may have turned
  assert [len(person) for person in persons] == [len(person) for person in stored] == [4]
  np.testing.assert_array_equal(persons[0], stored[0])


def folders_of_classes(raw, args):
  """A source that labels by folders, as that of pose estimators does."""
  paths = sorted(raw.glob("*/*.xyz"))
  if not paths:
    raise DataError(f"--raw {raw} has no folder of a class")
  names = tuple(sorted({path.parent.name for path in paths}))

  def read(path):
    joints = np.loadtxt(path).reshape(-1, 20, 3).astype(np.float32)
    if args.upside_down:
      joints = joints * [1, -1, 1]
    label, name = names.index(path.parent.name), f"{path.parent.name}/{path.stem}"
    return interface.Clip(name, label, [joints.astype(np.float32)])

  warnings = ("all clips are of one class",)
  return interface.Recordings(
    paths, read, tiny.SKELETON, names, notes=("read as xyz",), warnings=warnings
  )


@pytest.fixture
def xyz(monkeypatch):
  def add_arguments(parser):
    parser.add_argument("--upside-down", action="store_true")

  source = interface.Source("xyz", "a test's", folders_of_classes, add_arguments)
  monkeypatch.setitem(recordings.SOURCES, "xyz", source)


def test_a_file_without_a_label_may_be_named_from_the_current_folder(tmp_path, monkeypatch, xyz):
  np.savetxt(tmp_path / "wave.xyz", own().reshape(-1, 3))
  monkeypatch.chdir(tmp_path)
  with recordings.find("wave.xyz", "xyz") as found:
    assert found.read[0]().name == "wave"


@pytest.mark.parametrize("content", ['{"data": []}', '{"frame_index": 1}'])
def test_json_with_half_of_what_a_kinetics_clip_begins_with_is_none(tmp_path, content):
  (tmp_path / "a.json").write_text(content)
  with pytest.raises(DataError, match=r"^poses: "), recordings.find(tmp_path / "a.json"):
    pass


def test_a_source_that_insists_on_labels_reads_a_file_without_one(run, tmp_path, capsys, xyz):
  np.savetxt(tmp_path / "wave.xyz", own().reshape(-1, 3))
  classify = Classifier(run)
  as_stored = classify.from_recording(Persons([own()]))
  probabilities = np.asarray(classify(as_stored[None]))[0]
  assert command.main([str(run), str(tmp_path / "wave.xyz"), "--source", "xyz"]) == 0
  said = capsys.readouterr().err
  assert "read as xyz" in said and "of one class" not in said
  expected = predicted(capsys, run, tmp_path / "wave.xyz", "--source", "xyz")
  assert expected[0]["confidence"] == pytest.approx(float(probabilities.max()), abs=1e-5)
  (tmp_path / "a_class").mkdir()
  shutil.move(tmp_path / "wave.xyz", tmp_path / "a_class")
  (in_class,) = predicted(capsys, run, tmp_path, "--source", "xyz")
  assert in_class["top"] == expected[0]["top"]
  assert (expected[0]["recording"], in_class["recording"]) == ("wave", "a_class/wave")


@pytest.mark.parametrize(("fill", "count"), [("loop", 1), ("zero", 2)])
def test_a_sources_people_have_the_same_numbers_as_stored_and_as_recorded(fill, count):
  clip = interface.Clip("a", 0, [0 * own(), own()])
  source = interface.Recordings([0], lambda key: clip, tiny.SKELETON, ("a",), fill=fill)
  found = recordings._read_of_source(source, 0)
  assert len(found.persons) == len(found.recorded) == count


def test_an_archive_without_a_clip_is_said(run, tmp_path):
  arrays = {f"x_{part}": np.zeros((0, 4, 150), np.float32) for part in ("train", "test")}
  arrays |= {f"y_{part}": np.zeros((0, 5)) for part in ("train", "test")}
  np.savez(tmp_path / "empty.npz", **arrays)
  with pytest.raises(DataError, match=r"empty.npz holds no recording"):
    command.main([str(run), str(tmp_path / "empty.npz")])


def test_recordings_that_are_labelled_are_not_made_anew(run, tmp_path):
  there = skeleton_files.generate(tmp_path, performers=1, cameras=1, frames=24)
  with pytest.raises(ConfigError, match="synthetic makes its recordings; leave its options out"):
    command.main([str(run), str(tmp_path), "--source", "synthetic", "--", "--seed", "1"])
  assert sorted(tmp_path.glob("*.skeleton")) == there


def test_options_of_the_source_stand_behind_dashes(run, tmp_path, capsys, xyz):
  np.savetxt(tmp_path / "wave.xyz", own().reshape(-1, 3))
  np.savetxt(tmp_path / "turned.xyz", (own() * np.float32([1, -1, 1])).reshape(-1, 3))
  (expected,) = predicted(capsys, run, tmp_path / "turned.xyz", "--source", "xyz")
  argv = [str(run), str(tmp_path / "wave.xyz"), "--source", "xyz", "--format", "json"]
  assert command.main([*argv, "--", "--upside-down"]) == 0
  assert json.loads(capsys.readouterr().out)[0]["top"] == expected["top"]
  shutil.copytree(run, tmp_path / "run")  # the same of a run whose training data were so read
  facts = files.read_json(tmp_path / "run/model.json")
  facts["preparation"]["reading"] = {"xyz": ["--upside-down"]}
  files.write_json(tmp_path / "run/model.json", facts)
  (known,) = predicted(capsys, tmp_path / "run", tmp_path / "wave.xyz", "--source", "xyz")
  assert known["top"] == expected["top"]


@pytest.mark.parametrize(
  ("name", "flags", "kind", "said"),
  [
    ("absent.npy", [], DataError, "absent.npy does not exist"),
    ("a.bvh", [], DataError, r"a.bvh is no recording whose kind is known by its ending"),
    ("a.npy", [], DataError, r"a.npy is not a .npy array"),
    ("a.skeleton", [], DataError, r"a.skeleton: .*line 1 should be the number of frames"),
    ("a.mat", [], DataError, r"a.mat: "),
    ("a.json", [], DataError, r"poses: \S*a.json holds files of .*; --source NAME"),
    ("a.bvh", ["--source", "utd_mhd"], ConfigError, "'utd_mhd' is unknown; did you mean utd_mhad"),
    ("a.npy", ["--show", "a.avi"], ConfigError, "must end in .gif, .png or .mp4"),
    ("a.npy", ["--stride", "1"], ConfigError, "give --window-seconds"),
    ("a.npy", ["--unknown-below", "80"], ConfigError, "no probability"),
    ("a.npy", ["--fps", "nan"], ConfigError, "--fps is nan; expected a number above 0"),
    ("a.npy", ["--fps", "2e6"], ConfigError, r"--fps is 2e\+06; .*, below a million"),
    (
      "a.json",
      ["--source", "utkinect"],
      DataError,
      "with labels; .* as a .npy array",
    ),
    ("a.npz", [], DataError, r"poses: \S*a.npz "),
    ("latin.json", [], DataError, r"poses: \S*latin.json holds files of no pose estimator"),
    ("unknown", [], ConfigError, r"^\S*unknown holds files of .*; --source NAME"),
    ("empty", [], DataError, "empty is an empty folder"),
    ("data", [], DataError, r"data is a prepared data set; .* mstgcn evaluate"),
  ],
)
def test_what_is_wrong_is_said_in_one_line(
  run, tmp_path, monkeypatch, tiny_data, name, flags, kind, said
):
  (tmp_path / "data").symlink_to(tiny_data / "tiny")
  for folder in ("empty", "unknown"):
    (tmp_path / folder).mkdir()
  (tmp_path / "unknown" / "a.json").write_text("{}")
  (tmp_path / "latin.json").write_bytes("höher".encode("latin-1"))
  for ending in ("npy", "npz", "skeleton", "mat", "bvh", "json"):
    (tmp_path / f"a.{ending}").write_text("no recording\n")
  monkeypatch.chdir(tmp_path)  # whose path may hold anything
  with pytest.raises(kind, match=said) as error:
    command.main([str(run), name, *flags])
  assert "\n" not in str(error.value)
  assert "unsafely" not in str(error.value)  # numpy's advice on what is no array


@pytest.mark.parametrize(
  ("array", "kind", "said"),
  [
    (np.ones((9, 25, 3)), ConfigError, "expected .* 20 joints of utd_mhad"),
    (np.ones((9, 20)), DataError, r"shape \(9, 20\); expected \[frame, joint, channel\]"),
    (np.zeros((9, 20, 3)), DataError, "nobody is tracked"),
    (np.full((9, 20, 3), np.nan), DataError, "nobody is tracked"),
    (np.full((9, 20, 3), np.inf), DataError, "a coordinate is inf"),
  ],
)
def test_an_array_that_does_not_fit_is_refused(run, tmp_path, array, kind, said):
  np.save(tmp_path / "a.npy", array)
  with pytest.raises(kind, match=said):
    command.main([str(run), str(tmp_path / "a.npy")])


@pytest.mark.parametrize(
  ("data", "said"),
  [
    (b"", "standard input is empty"),
    (b"\x93NUMPY", "no whole .npy array"),
    (b"[]\n[]\n", "-: nobody is tracked"),
    (b"[[1, 2, 3]]\nhello", "line 2: is not JSON"),
    (b'{"joints": []}', "line 1: .*expected"),
    (b"[1, 2, 3]", "line 1: .*1 deep"),
    (b'[[1, 2, "3"]]', "line 1: .*a joint is"),
    (b"[[1, 2, 3], [1, 2]]", "line 1: .*a joint is"),
    (b"[[[1, 2, 3]], [[1, 2, 3], [1, 2, 3]]]", "a person has 2 joints, the first 1"),
    (b"[[1, 2, 3]]\n[[1, 2]]", "the frames have 1 joints of 2 channels and"),
    (b"[[1, 2, 1" + 400 * b"0" + b"]]", "line 1: "),
    (b"[" * 100_000, "line 1: is not JSON"),
  ],
)
def test_what_is_wrong_with_a_pipe_is_said_with_its_line(run, monkeypatch, data, said):
  pipe(monkeypatch, data)
  with pytest.raises(DataError, match=said):
    command.main([str(run), "-"])


@pytest.mark.parametrize("flags", [["--source", "poses"], ["--", "--keep", "score"]])
def test_what_is_of_files_is_refused_for_a_pipe(run, monkeypatch, flags):
  pipe(monkeypatch, b"[[1, 2, 3]]")
  with pytest.raises(ConfigError, match="--source and its options are of files"):
    command.main([str(run), "-", *flags])


def test_a_number_too_large_for_float32_is_no_warning_of_numpys():
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    assert np.isinf(json_frames.parse_frame(b"[[1e200, 2]]")[0, 0, 0])


def test_a_frame_takes_no_more_memory_than_its_numbers():
  line = b"[[[" + b"0, " * 1000 + b"0]]" + b", null" * 1000 + b"]"
  with pytest.raises(DataError, match="1001 persons of 1 joints of 1001 channels are too many"):
    json_frames.parse_frame(line)


@pytest.mark.parametrize(
  ("line", "said"),
  [
    (b"5", "its lists are 0 deep"),
    (b"[[[[1, 2]]]]", "its lists are 4 deep"),
    (b"[[true, 2]]", r"a joint is \[True, 2\]"),
    (b"[[1, 2], [1, 2, 3]]", r"a joint is \[1, 2, 3\]"),
    (b"[[[1, 2], [3, 4]], [[1, 2]]]", "a person has 1 joints, the first 2"),
    (b"[[1, 2], 5]", "a joint is 5"),
    (b"[[[1, 2]], 5]", "expected"),
    (b"[[1, " + b"9" * 400 + b"]]", "expected"),
  ],
)
def test_json_that_is_no_frame_is_refused(line, said):
  with pytest.raises(DataError, match=said):
    json_frames.parse_frame(line)


def test_empty_lines_are_no_frames_and_nan_in_json_is_not_tracked():
  first, second = json_frames.frames_of([b"[[NaN, 1], [2, 3]]\n", b" \n", b"[null, [4, 5]]"])
  np.testing.assert_array_equal(first, [[[0, 0], [2, 3]]])
  np.testing.assert_array_equal(second, [[[0, 0], [4, 5]]])


def test_people_and_joints_that_are_not_there_are_zero_in_json():
  frames = [
    json_frames.parse_frame(line)
    for line in (b"[[1, 2], null]", b"[[[1, 2], [3, 4]], null]", b"[]", b"[[], [[5, 6], null]]")
  ]
  array = json_frames.stack_frames(frames)
  assert array.shape == (2, 4, 2, 2)
  np.testing.assert_array_equal(array[0, :2], [[[1, 2], [0, 0]], [[1, 2], [3, 4]]])
  np.testing.assert_array_equal(array[1, 3], [[5, 6], [0, 0]])
  assert not array[:, 2].any() and not array[1, :2].any() and not array[0, 3].any()
  same = json_frames.parse_frame(b"[null, [[5, 6], null]]")
  np.testing.assert_array_equal(same, frames[3])


# --- segments


@pytest.mark.parametrize(
  ("length", "expected"),
  [(10, [(0, 4), (3, 7), (6, 10)]), (9, [(0, 4), (3, 7), (5, 9)]), (4, [(0, 4)]), (2, [(0, 2)])],
)
def test_windows_reach_the_end_of_the_recording(length, expected):
  assert list(predict.cut(length, Windows(4, 3))) == expected


def test_overlapping_windows_are_averaged_and_moments_of_one_label_joined():
  p = np.array([[0.9, 0.1, 0], [0.3, 0.7, 0], [0, 1, 0]])
  joined = predict.join([(0, 4), (2, 6), (4, 8)], p, NAMING)
  # 0-2: a 0.9. 2-4: a 0.6, b 0.4. 4-6: b 0.85. 6-8: b 1.
  assert [(start, end) for start, end, _ in joined] == [(0, 4), (4, 8)]
  np.testing.assert_allclose(joined[0][2], [0.75, 0.25, 0])
  np.testing.assert_allclose(joined[1][2], [0.075, 0.925, 0])


def test_a_gap_without_anybody_parts_segments_of_one_label():
  p = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0]])
  joined = predict.join([(0, 4), (6, 10)], p, NAMING)
  assert [(start, end) for start, end, _ in joined] == [(0, 4), (6, 10)]


def test_a_moment_counts_the_windows_that_it_is_in_and_no_other():
  windows = [(0, 4), (3, 7), (6, 10), (7, 11)]  # as of 11 frames; nobody is in the second
  assert list(predict.cut(11, predict.Windows(4, 3))) == windows
  p = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
  joined = predict.join([windows[0], *windows[2:]], p, NAMING)
  assert [(start, end) for start, end, _ in joined] == [(0, 4), (6, 10), (10, 11)]
  # 6-7: b 1. 7-10: b 0.5, c 0.5. 10-11: c 1.
  np.testing.assert_allclose(joined[1][2], [0, 0.625, 0.375])


def test_a_network_whose_numbers_are_not_finite_gives_no_label(run, monkeypatch):
  predictor = Predictor(run)
  classify = lambda clips: np.full((len(clips), len(predictor.class_names)), np.nan)
  monkeypatch.setattr(predictor, "_classifiers", {"joint": classify})
  with pytest.raises(DataError, match="gives no finite numbers: its training diverged"):
    predictor.probabilities([np.zeros((1, 20, 5, 3), np.float32)])


def test_a_few_clips_are_not_filled_up_to_a_full_batch(run, monkeypatch):
  predictor, sizes = Predictor(run), []
  classes = len(predictor.class_names)
  classify = lambda clips: sizes.append(len(clips)) or np.full((len(clips), classes), 1 / classes)
  monkeypatch.setattr(predictor, "_classifiers", {"joint": classify})
  clip = np.zeros((1, 20, 5, 3), np.float32)
  for count, expected in ((1, [1]), (2, [1, 1]), (4, [1] * 4), (5, [16]), (17, [16, 16])):
    assert predictor.probabilities([clip] * count).shape == (count, classes)
    assert sizes == expected
    sizes.clear()


def test_what_is_less_probable_than_the_threshold_is_unknown():
  naming = Naming(("a", "b", "c"), unknown_below=0.6)
  p = np.array([[0.5, 0.3, 0.2], [0.3, 0.55, 0.15], [0.1, 0.9, 0]])
  joined = predict.join([(0, 2), (2, 4), (4, 6)], p, naming)
  assert [(start, end, naming.label(q)) for start, end, q in joined] == [
    (0, 4, "unknown"),
    (4, 6, "b"),
  ]
  assert naming.label(np.array([0.6, 0.4, 0])) == "a"


def test_of_classes_that_are_equally_probable_the_first_come_first():
  naming = Naming(tuple(map(str, range(60))))
  assert [name for name, _ in naming.top(np.full(60, 1 / 60), 3)] == ["0", "1", "2"]


def test_a_long_recording_is_cut_into_windows_that_the_classifier_sees(run, tmp_path, capsys):
  long = np.concatenate([own((0, 0, 0)), own((0, 2, 0))])
  np.save(tmp_path / "long.npy", long)
  flags = ["--window-seconds", "1.6", "--stride", "0.8", "--fps", "10"]
  rows = predicted(capsys, run, tmp_path / "long.npy", *flags)
  assert rows[0]["start"] == 0 and rows[-1]["end"] == len(long) / 10
  assert all(a["end"] == b["start"] for a, b in itertools.pairwise(rows))
  assert all(a["label"] != b["label"] for a, b in itertools.pairwise(rows))
  classify = Classifier(run)
  one_window = recordings.Recording("x", [long[:16]], [long[:16]])
  naming = Naming(classify.class_names)
  (segment,) = Predictor(run).segments(one_window, Windows(16, 8), naming)
  expected = np.asarray(classify(classify.from_recording(long[:16])[None]))[0]
  np.testing.assert_allclose(segment.probabilities, expected, atol=1e-5)


@pytest.mark.parametrize(
  ("flags", "expected"),
  [
    ("", None),
    ("--window-seconds 2", Windows(60, 30)),  # half of it, at 30 frames per second
    ("--window-seconds 2 --stride 0.5 --fps 10", Windows(20, 5)),
    ("--window-seconds 0.001 --stride 0.001", Windows(1, 1)),  # a frame at least
  ],
)
def test_windows_in_seconds_are_frames(flags, expected):
  args = command._parser().parse_args(["run", "file", *flags.split()])
  assert command._windows(args) == expected


def test_what_is_printed_of_persons_and_parts(capsys):
  recording = recordings.Recording("r", [], [])
  found = [
    predict.Prediction(np.array([0.125, 0.625, 0.25]), None, 0, 9),
    predict.Prediction(np.array([0.5, 0.25, 0.25]), 2, 9, 25),
  ]
  naming = Naming(("a", "b", "c"), unknown_below=0.6)

  def printed(*flags):
    args = command._parser().parse_args(["run", "file", "--top", "2", "--fps", "8", *flags])
    write = {"text": command._print_text, "csv": command._print_csv, "json": command._print_json}
    write[args.format]([(recording, found)], naming, args)
    return capsys.readouterr().out

  assert printed().splitlines() == [
    "r: b 62.5 %, c 25.0 %",
    "r, person 2: unknown: a 50.0 %, b 25.0 %",
  ]
  assert printed("--window-seconds", "1").splitlines() == [
    "r, 0.00 to 1.12 s: b 62.5 %, c 25.0 %",
    "r, person 2, 1.12 to 3.12 s: unknown: a 50.0 %, b 25.0 %",
  ]
  assert printed("--format", "csv").splitlines() == [
    "recording,person,start,end,label,confidence,class_1,probability_1,class_2,probability_2",
    "r,,0.000,1.125,b,0.6250,b,0.6250,c,0.2500",
    "r,2,1.125,3.125,unknown,0.5000,a,0.5000,b,0.2500",
  ]
  assert [
    {name: row[name] for name in ("recording", "person", "start", "end", "label", "confidence")}
    for row in json.loads(printed("--format", "json"))
  ] == [
    dict(recording="r", person=None, start=0, end=1.125, label="b", confidence=0.625),
    dict(recording="r", person=2, start=1.125, end=3.125, label="unknown", confidence=0.5),
  ]


def nw_ucla_file(folder):
  """A recording that its source turns: one person who moves, unseen in the first two frames."""
  joints = np.random.default_rng(0).normal(size=(14, 20, 3))
  joints[:2] = 0
  path = folder / "a01_s01_e00_v01.json"
  path.write_text(json.dumps({"skeletons": joints.tolist()}))
  return path


def test_a_recording_of_nw_ucla_needs_no_name_that_says_its_class(tmp_path):
  labelled = nw_ucla_file(tmp_path)
  with recordings.find(labelled, "nw_ucla") as found:
    expected = found.read[0]().persons
  mine = labelled.rename(tmp_path / "mine.json")
  with recordings.find(mine, "nw_ucla") as found:
    recording = found.read[0]()
  assert recording.name == "mine"
  np.testing.assert_array_equal(recording.persons[0], expected[0])


def test_annotations_without_labels_are_read(tmp_path):
  keypoint = np.random.default_rng(0).normal(size=(1, 9, 20, 3)).astype(np.float32)
  one = {"frame_dir": "mine", "total_frames": 9, "keypoint": keypoint}
  (tmp_path / "mine.pkl").write_bytes(pickle.dumps([one, one | {"label": -1}]))
  with recordings.find(tmp_path / "mine.pkl", options=["--skeleton", "nw_ucla"]) as found:
    assert [read().name for read in found.read] == ["mine", "mine"]


def test_annotations_are_read_as_is_and_in_the_layout_of_those_trained_on(tmp_path):
  keypoint = np.random.default_rng(0).normal(size=(1, 9, 20, 3)).astype(np.float32)
  one = {"frame_dir": "mine", "total_frames": 9, "keypoint": keypoint, "label": 0}
  (tmp_path / "mine.pkl").write_bytes(pickle.dumps([one]))
  argv = ["pyskl", "--raw", str(tmp_path / "mine.pkl"), "--out", str(tmp_path), "--as-is"]
  assert prepare_command.main([*argv, "--skeleton", "nw_ucla"]) == 0
  reading = open_data_set(tmp_path / "pyskl").reading
  with recordings.find(tmp_path / "mine.pkl", reading=reading) as found:
    recording = found.read[0]()
  assert (recording.skeleton.name, recording.rotated) == ("nw_ucla", False)
  said = ["--skeleton", "utd_mhad"]
  with recordings.find(tmp_path / "mine.pkl", options=said, reading=reading) as found:
    assert found.read[0]().skeleton.name == "utd_mhad"


def test_windows_of_a_recording_that_comes_turned_are_not_turned_again(tmp_path, monkeypatch):
  skeleton = skeletons.get("nw_ucla")
  run = write_run(tmp_path / "run", skeleton=skeleton, center=skeleton.center)
  with recordings.find(nw_ucla_file(tmp_path), "nw_ucla") as found:
    recording = found.read[0]()
  predictor, seen = Predictor(run), []
  right = predictor.probabilities
  monkeypatch.setattr(
    predictor, "probabilities", lambda clips: right(seen.append(c) or c for c in clips)
  )
  predictor.segments(recording, Windows(8, 4), Naming("abc"))
  stored = recording.persons[0]
  assert len(stored) == 12 and len(seen) == 2
  for clip, start in zip(seen, (0, 4), strict=True):
    expected = predictor.classifier.from_recording(Persons([stored[start : start + 8]]))
    np.testing.assert_array_equal(clip, expected)


def test_turned_joints_are_not_taken_for_those_that_a_run_wants_as_recorded(tmp_path):
  options = {"rotated": False, "center": None, "skeleton": skeletons.get("nw_ucla")}
  predictor = Predictor(write_run(tmp_path / "run", **options))
  with recordings.find(nw_ucla_file(tmp_path), "nw_ucla") as found:
    recording = found.read[0]()
  with pytest.raises(ConfigError, match="trained on joints as they were recorded; add -- --as-is"):
    predictor.whole(recording)


def test_everybody_gets_a_label_where_asked(ntu_run, tmp_path, capsys):
  people = np.random.default_rng(0).normal(size=(3, 9, 25, 3)).astype(np.float32)
  people[1] = 0  # never there
  np.save(tmp_path / "three.npy", people)
  rows = predicted(capsys, ntu_run, tmp_path / "three.npy", "--per-person")
  assert [row["person"] for row in rows] == [1, 3]
  classify = Classifier(ntu_run)
  expected = np.asarray(classify(classify.from_recording(people[2])[None]))[0].max()
  assert rows[1]["confidence"] == pytest.approx(float(expected), abs=1e-5)
  flags = ("--per-person", "--window-seconds", "0.9", "--fps", "10")  # one window of all frames
  parts = predicted(capsys, ntu_run, tmp_path / "three.npy", *flags)
  assert [(row["person"], row["start"], row["end"]) for row in parts] == [(1, 0, 0.9), (3, 0, 0.9)]
  assert parts[1]["confidence"] == pytest.approx(float(expected), abs=1e-5)


def test_the_label_is_drawn_over_the_skeleton(ntu_run, tmp_path, capsys):
  path = BODIES / "S005C001P007R001A027.skeleton"
  for name in ("out.gif", "out.png"):
    assert command.main([str(ntu_run), str(path), "--show", str(tmp_path / name)]) == 0
    with Image.open(tmp_path / name) as picture:
      pixels = np.asarray(picture.convert("RGB"))
    assert (pixels[8:34, 14:100] < 100).any()  # the title
    assert ((pixels[62:-30, :, 2] > 150) & (pixels[62:-30, :, 0] < 80)).any()  # somebody in blue
  assert "out.png" in capsys.readouterr().err
  with pytest.raises(ConfigError, match="--show draws one recording"):
    command.main([str(ntu_run), str(BODIES), "--show", str(tmp_path / "all.gif")])
  name = re.escape(str(path))
  with pytest.raises(ConfigError, match=f"not {name} and {name}: 2 recordings"):
    command.main([str(ntu_run), str(path), str(path), "--show", str(tmp_path / "all.gif")])


def test_a_frame_is_drawn_under_all_that_is_said_of_it(tmp_path, monkeypatch):
  titles = []
  monkeypatch.setattr(
    show, "draw_persons", lambda _, __, title, *a, **k: titles.append(title) or ([], 1)
  )
  monkeypatch.setattr(show, "save", lambda *_: None)
  body = np.ones((9, 25, 3), np.float32)
  found = [
    predict.Prediction(np.array([0.125, 0.75, 0.125]), None, 0, 4),
    predict.Prediction(np.array([0.5, 0.25, 0.25]), 2, 3, 6),
  ]
  recording = recordings.Recording("r", [body], [body])
  drawing.predictions(recording, NTU, found, NAMING, tmp_path / "a.gif", {})
  (title,) = titles
  one, other = "b 75 %", "person 2: a 50 %"
  assert [title(frame) for frame in (0, 3, 4, 6)] == [one, f"{one}   {other}", other, "–"]
  nobody = recordings.Recording("r", [0 * body], [0 * body])
  with pytest.raises(DataError, match="r: nobody is tracked, so nothing can be drawn"):
    drawing.predictions(nobody, NTU, [], NAMING, tmp_path / "a.gif", {})


@pytest.mark.parametrize("rotated", [False, True])
def test_a_recording_is_drawn_by_what_its_coordinates_are(tmp_path, monkeypatch, rotated):
  down = interface.Coordinates(("x", "y", "z"), "metres", "-y")
  data = prepare(tmp_path, random_clips(2), coordinates=down, rotated=rotated)
  run = write_run(tmp_path / "run", rotated=rotated)
  files.write_json(run / "config.json", {"data": {"dir": str(tmp_path), "name": data.name}})
  drawn, draw = [], show.draw_persons
  monkeypatch.setattr(show, "draw_persons", lambda *a, **k: drawn.append(k) or draw(*a, **k))
  np.save(tmp_path / "mine.npy", data.read([0])[0][0])
  out = tmp_path / "out.png"
  assert command.main([str(run), str(tmp_path / "mine.npy"), "--show", str(out)]) == 0
  # As the data set's; but of what was turned there, a recording's own axes are not known.
  assert drawn[-1]["coordinates"] == ({} if rotated else data.coordinates)
  assert drawing.coordinates(run, stored=True) == data.coordinates
  said = recordings.Recording("x", [], list(data.read([0])[0]), coordinates={"up": "y"})
  drawing.predictions(said, NTU, [], NAMING, out, data.coordinates)
  assert drawn[-1]["coordinates"] == {"up": "y"}


def test_pixels_are_drawn_as_the_fractions_that_the_run_takes(tmp_path, monkeypatch):
  taken = {"scored": True, "units": "image fractions", "picture": [640, 480]}
  options = {"rotated": False, "center": None, "skeleton": skeletons.get("coco")}
  run = write_run(tmp_path / "run", preparation=taken, **options)
  drawn, draw = [], show.draw_persons
  monkeypatch.setattr(show, "draw_persons", lambda *a, **k: drawn.append(a) or draw(*a, **k))
  pixels = np.random.default_rng(0).uniform(1, 480, (12, 17, 3)).astype(np.float32)
  np.save(tmp_path / "mine.npy", pixels)
  argv = [str(run), str(tmp_path / "mine.npy"), "--show", str(tmp_path / "out.png")]
  assert command.main(argv) == 0
  (person,), *_ = drawn[-1]
  np.testing.assert_allclose(person[..., 1], 0.5 - pixels[..., 1] / 480, atol=1e-6)


def test_a_source_says_what_its_coordinates_are():
  (path, *_) = sorted((GOLDEN / "kinetics_raw/kinetics_val").iterdir())
  with recordings.find(path) as found:
    assert found.read[0]().coordinates == interface.FRACTIONS.known()
