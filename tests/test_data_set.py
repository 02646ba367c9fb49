"""Opening and reading a prepared data set."""

import dataclasses
import json
import os
import pathlib
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from prepared import NTU, prepare, random_clips

from data_prep import shards
from data_prep.readers.interface import Clip
from mstgcn_jax import files
from mstgcn_jax.data import data_set as library
from mstgcn_jax.data import protocols
from mstgcn_jax.data.data_set import DataSet, open_data_set
from mstgcn_jax.errors import ConfigError, DataError

CLIPS = random_clips(30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A data set of three shards."""
  out = tmp_path_factory.mktemp("data")
  size, shards._SHARD_BYTES = shards._SHARD_BYTES, 100_000
  try:
    prepare(out, CLIPS, citation="@misc{x}")
  finally:
    shards._SHARD_BYTES = size
  return out / "fake" / shards.VERSION


@pytest.fixture
def copy(folder, tmp_path):
  """A copy of the data set that a test may damage."""
  target = tmp_path / "fake" / shards.VERSION
  target.mkdir(parents=True)
  for path in folder.iterdir():
    (target / path.name).write_bytes(path.read_bytes())
  return target


def change_metadata(folder: pathlib.Path, *without: str, **fields) -> None:
  path = folder / "metadata.json"
  metadata = json.loads(path.read_text()) | fields
  path.write_text(json.dumps({name: metadata[name] for name in metadata if name not in without}))


def assert_is_clip(read, clip):
  assert len(read) == len(clip.persons)
  for a, b in zip(read, clip.persons, strict=True):
    assert a.dtype == np.float32
    np.testing.assert_array_equal(a, b)


def test_clips_come_back_as_they_were_in_any_order(folder):
  data_set = open_data_set(folder)
  assert len(data_set.shards) > 2  # the order below crosses shards
  order = [29, 0, 13, 13, 7, 28, 1]
  for clip, row in zip(data_set.read(order), order, strict=True):
    assert_is_clip(clip, CLIPS[row])


def test_clips_are_those_of_the_data_set_that_was_opened(tmp_path):
  read, unread = prepare(tmp_path, CLIPS), open_data_set(tmp_path / "fake")
  read.read([0])
  others = random_clips(30, seed=1)
  again = prepare(tmp_path, others, arguments_={"overwrite": True})
  assert_is_clip(read.read([3])[0], CLIPS[3])
  with pytest.raises(DataError, match=r"fake/1.0.0 was prepared again since it was opened"):
    unread.read([3])
  assert_is_clip(again.read([3])[0], others[3])


def test_a_data_set_that_was_read_goes_to_another_process(folder):
  data_set = open_data_set(folder)
  data_set.read([0])
  there = pickle.loads(pickle.dumps(data_set))
  assert_is_clip(there.read([29])[0], CLIPS[29])


def test_copies_are_known_whatever_their_names_and_labels_are(tmp_path, capsys):
  clips = random_clips(6)
  for row in (3, 5):
    clips[row] = dataclasses.replace(clips[row], label=2, persons=clips[1].persons)
  clips[4] = dataclasses.replace(clips[4], persons=clips[1].persons[:1])  # not all of its people
  data_set = prepare(tmp_path, clips)
  assert data_set.copies == ((3, 1), (5, 1))
  said = "2 clips with the frames of an earlier one (clip003 is clip001, clip005 is clip001)"
  assert said in capsys.readouterr().err
  assert data_set.copies_of([0, 1, 2], range(6)) == {3: 1, 5: 1}
  assert data_set.copies_of(np.array([0, 5]), np.array([1, 2])) == {1: 5}
  assert data_set.copies_of([0, 2], [1, 3, 5]) == {}
  assert data_set.copies_of([1, 3], [1, 3]) == {}


def test_every_row_is_its_own_clip_alone_and_among_all(folder):
  data_set = open_data_set(folder)
  for row, (clip, alone) in enumerate(
    zip(data_set.read(range(30)), (data_set.read([row])[0] for row in range(30)), strict=True)
  ):
    assert_is_clip(clip, CLIPS[row])
    assert_is_clip(alone, CLIPS[row])


def test_the_folder_describes_itself(folder):
  data_set = open_data_set(folder)
  assert len(data_set) == 30
  assert data_set.name == "fake"
  assert data_set.skeleton == NTU
  assert data_set.class_names == tuple("abcdef")
  assert (data_set.channels, data_set.fill, data_set.center) == (3, "loop", 1)
  assert data_set.citation == "@misc{x}"
  assert data_set.missing_facts == ("replication", "split")


def test_the_table_is_there_without_reading_a_clip(copy, folder):
  for shard in copy.glob("*.array_record*"):
    shard.write_bytes(b"\0" * shard.stat().st_size)
  data_set = open_data_set(copy)
  assert data_set.identity == open_data_set(folder).identity  # nor does this need a clip
  table = data_set.table
  assert list(table) == ["name", "label", "persons", "frames", "subject", "camera", "setup"]
  assert table["name"].tolist() == [clip.name for clip in CLIPS]
  assert table["label"].tolist() == [clip.label for clip in CLIPS]
  assert table["frames"].tolist() == [max(map(len, clip.persons)) for clip in CLIPS]
  assert table["subject"].dtype == np.int64


def test_tfds_loads_it_without_this_package_and_without_tensorflow(folder):
  script = f"""
import sys, tensorflow_datasets as tfds
source = tfds.builder_from_directory({str(folder)!r}).as_data_source("clips")
clip = source[3]
print(len(source), clip["name"].decode(), clip["label"], *clip["coordinates"].shape)
assert "tensorflow" not in sys.modules and "mstgcn_jax" not in sys.modules
"""
  done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
  frames = sum(map(len, CLIPS[3].persons))
  assert done.stdout.split() == ["30", "clip003", "3", str(frames), "25", "3"]


def test_a_sample_is_the_clip_as_the_model_sees_it(folder):
  clip = open_data_set(folder).sample(0, window=40)
  person = CLIPS[0].persons[0]
  looped = person[np.arange(40) % len(person)]
  np.testing.assert_allclose(clip[0], looped - looped[:, 1:2])
  assert clip.shape == (2, 40, 25, 3) and not clip[1].any()


def test_a_sample_shows_the_view_asked_for(folder):
  person = CLIPS[0].persons[0]
  length = len(person)  # one frame a view: the middle one of its third of the clip
  for view in range(3):
    clip = open_data_set(folder).sample(0, 1, 1, "uniform", view=view, views=3)
    frame = person[int((view + 0.5) / 3 * length)]
    np.testing.assert_allclose(clip[0, 0], frame - frame[1])


def test_whole_numbers_are_stored_exactly_in_two_bytes(tmp_path):
  rng = np.random.default_rng(0)
  person = (rng.integers(-9999, 9999, (2000, 25, 3)) / 1000).astype(np.float32)
  clips = [type(CLIPS[0])("a", 0, [person])]
  small = prepare(tmp_path / "small", clips, storage_scale=1000)
  large = prepare(tmp_path / "large", clips)
  assert small.scale == 1000
  np.testing.assert_array_equal(small.read([0])[0][0], person)
  assert small.shards[0]["bytes"] < 0.6 * large.shards[0]["bytes"]


def test_what_is_not_exact_is_stored_as_floats(tmp_path, capsys):
  data_set = prepare(tmp_path, CLIPS[:3], storage_scale=1000)
  assert data_set.scale == 0
  assert "not whole multiples of 1/1000; starting again" in capsys.readouterr().err
  assert_is_clip(data_set.read([1])[0], CLIPS[1])


@pytest.mark.parametrize(("largest", "scale"), [(32.767, 1000), (32.768, 0), (-32.768, 0)])
def test_whole_numbers_beyond_two_bytes_are_stored_as_floats(tmp_path, largest, scale):
  person = np.full((2, 25, 3), 0.5, np.float32)
  person[1, 7, 2] = largest
  data_set = prepare(tmp_path, [type(CLIPS[0])("a", 0, [person])], storage_scale=1000)
  assert data_set.scale == scale
  np.testing.assert_array_equal(data_set.read([0])[0][0], person)


def with_center_at_zero(clip, frames=slice(None)):
  persons = [person.copy() for person in clip.persons]
  persons[0][frames, NTU.center] = 0
  return dataclasses.replace(clip, persons=persons)


CENTERED = [with_center_at_zero(clip) for clip in CLIPS[:2]]


@pytest.mark.parametrize(
  ("clips", "center", "rotated", "expected"),
  [
    (CLIPS[:2], 2, True, 2),
    (CENTERED, None, False, None),
    # Arrays that somebody else has centred (rotated: None), or hasn't.
    (CENTERED, None, None, NTU.center),
    (CLIPS[:2], None, None, None),
    ([CENTERED[0], CLIPS[1]], None, None, None),
    ([CLIPS[0], CENTERED[1]], None, None, None),
    ([with_center_at_zero(CLIPS[0], 0)], None, None, None),  # its first frame alone
  ],
)  # fmt: skip
def test_the_joint_at_zero_is_the_one_that_the_data_are_centred_on(
  tmp_path, clips, center, rotated, expected
):
  data_set = prepare(tmp_path, clips, center=center, rotated=rotated)
  assert data_set.joint_at_zero == expected
  change_metadata(data_set.path, "joint_at_zero")  # which an earlier version did not look for
  assert open_data_set(data_set.path).joint_at_zero == (NTU.center if rotated is None else center)


# --- identity: what decides what is trained on and measured

FEW = CLIPS[:4]


@pytest.fixture(scope="module")
def few(tmp_path_factory):
  return prepare(tmp_path_factory.mktemp("few"), FEW)


def with_facts(**facts):
  return [dataclasses.replace(clip, facts={**clip.facts, **facts}) for clip in FEW]


def with_joint_moved():
  joints = FEW[2].persons[0].copy()
  joints[1, 3, 0] = np.nextafter(joints[1, 3, 0], np.float32(9))
  return [*FEW[:2], dataclasses.replace(FEW[2], persons=[joints]), FEW[3]]


def with_person_dropped():
  return [FEW[0], dataclasses.replace(FEW[1], persons=FEW[1].persons[:1]), *FEW[2:]]


@pytest.mark.parametrize(
  ("clips", "fields", "words"),
  [
    (FEW, {}, []),
    (with_joint_moved(), {}, ["the clips (their joints, lengths, names or labels)"]),
    (
      with_person_dropped(),
      {},
      [
        "the clips (their joints, lengths, names or labels)",
        *("the clip table's column 'persons'", "the clip table's column 'frames'"),
      ],
    ),
    (with_facts(subject=9), {}, ["the clip table's column 'subject'"]),
    (with_facts(city="Jena"), {}, []),  # a column that the run doesn't know
    (FEW, {"class_names": tuple("abcdfe")}, ["the class names"]),
    (FEW, {"skeleton": dataclasses.replace(NTU, mirror=((5, 9),))}, ["the skeleton"]),
    (FEW, {"fill": "zero"}, ["fill: loop -> zero"]),
    (FEW, {"center": None}, ["center: 1 -> None", "joint_at_zero: 1 -> None"]),
    (FEW, {"rotated": True}, ["rotated: False -> True"]),
    (FEW, {"citation": "@misc{y}", "warnings": ("none",)}, []),
  ],
)  # fmt: skip
def test_every_difference_that_matters_is_named_and_no_other(few, tmp_path, clips, fields, words):
  other = prepare(tmp_path, clips, **fields)
  recorded = json.loads(json.dumps(few.identity))  # as a workdir holds it
  assert library.differences(recorded, other.identity) == words


def test_the_same_content_in_other_bytes_is_the_same_data(tmp_path, monkeypatch):
  whole = [np.rint(clip.persons[0] * 1000).astype(np.float32) / 1000 for clip in FEW]
  whole[0][0, 0] = -0.0, 0.0, -0.0
  clips = [
    dataclasses.replace(clip, persons=[person]) for clip, person in zip(FEW, whole, strict=True)
  ]
  small = prepare(tmp_path / "small", clips, storage_scale=1000)
  monkeypatch.setattr(shards, "_SHARD_BYTES", 1)
  large = prepare(tmp_path / "large", clips)
  assert (small.scale, large.scale, len(small.shards), len(large.shards)) == (1000, 0, 1, 4)
  assert small.identity == large.identity


def test_a_data_set_of_an_earlier_version_has_the_same_identity(few, tmp_path):
  path = prepare(tmp_path, FEW).path
  change_metadata(path, "clips_digest")
  assert open_data_set(path).identity == few.identity


def test_two_processes_write_equal_files(tmp_path):
  script = f"""
import pathlib, sys
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
import prepared
prepared.prepare(pathlib.Path(sys.argv[1]), prepared.random_clips(40))
"""
  # Hashes, and with them the order of a protobuf map, differ by process.
  outs = [tmp_path / seed for seed in ("1", "2", "3")]
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", script, out], env=os.environ | {"PYTHONHASHSEED": out.name}
    )
    for out in outs
  ]
  assert [process.wait() for process in processes] == [0, 0, 0]
  contents = [
    {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for out in outs
  ]
  assert contents[0] and contents[0] == contents[1] == contents[2]


def damage_truncate(folder: pathlib.Path):
  shard = sorted(folder.glob("*.array_record*"))[1]
  shard.write_bytes(shard.read_bytes()[:-1000])


def damage_remove(folder: pathlib.Path):
  sorted(folder.glob("*.array_record*"))[0].unlink()


def damage_format(folder: pathlib.Path):
  change_metadata(folder, format=99)


def damage_metadata(folder: pathlib.Path):
  (folder / "metadata.json").write_text('{"format": 1')


@pytest.mark.parametrize(
  ("damage", "message"),
  [
    (damage_truncate, "00001-of-.* has .* bytes; expected"),
    (damage_remove, "00000-of-.* is missing; expected"),
    (damage_format, "has format 99, written by a newer mstgcn-jax"),
    (damage_metadata, "is not a whole prepared data set"),
  ],
)
def test_a_damaged_data_set_does_not_open(copy, damage, message):
  damage(copy)
  with pytest.raises(DataError, match=message):
    open_data_set(copy)


def test_a_long_text_of_one_clip_takes_no_room_in_the_rows_of_others(tmp_path):
  person = np.ones((2, 25, 3), np.float32)
  notes = ["", "x" * 50_000, *["short"] * 98]
  clips = [Clip(f"c{i}", 0, [person * (i + 1)], {"note": note}) for i, note in enumerate(notes)]
  data_set = prepare(tmp_path, clips)
  assert data_set.table["note"].tolist() == notes
  assert data_set.table["note"].nbytes < 50_000
  train, evaluate = protocols.split(data_set, "leave_one_out:column=note,value=short")
  assert train.tolist() == [0, 1] and len(evaluate) == 98
  assert protocols.split(data_set, "kfold:column=note,k=3")[1].size


def test_a_flipped_digit_in_the_table_is_noticed(copy):
  path = copy / "clips.csv"
  content = bytearray(path.read_bytes())
  content[content.index(b",") + 1] ^= 1  # the first label
  path.write_bytes(content)
  with pytest.raises(DataError, match=r"clips\.csv is damaged \(it is not the table that was"):
    _ = open_data_set(copy).table


@pytest.mark.parametrize(
  "change",
  [
    *({"columns": ["name"]}, {"columns": {"name": "text"}}, {"num_clips": 31}, {"fill": "lop"}),
    *({"center": 25}, {"center": -1}, {"joint_at_zero": 25}),  # of 25 joints
    *({"center": 1.0}, {"joint_at_zero": True}, {"channels": 3.0}, {"channels": 0}, {"scale": "1"}),
    *({"scale": -1}, {"scale": float("inf")}, {"rotated": "no"}, {"by_sum": 1}, {"upward": "w"}),
    *({"name": None}, {"class_names": [*"abcde", 6]}, {"missing_facts": [["split"]]}),
    *({"copies": [[30, 1]]}, {"copies": [[1, 1]]}, {"copies": [[float("inf"), 1]]}),
    *({"coordinates": 0.5}, {"coordinates": {"up": "w"}}, {"coordinates": {"channels": [1]}}),
    *({"coordinates": {"picture": [640]}}, {"coordinates": {"picture": ["640", "480"]}}),
    {"coordinates": {"picture": [640, 0]}},
    *({"reading": ["--as-is"]}, {"reading": {"poses": [1]}}),
  ],
)
def test_metadata_that_contradicts_itself_is_refused(copy, change):
  change_metadata(copy, **change)
  with pytest.raises(DataError, match="is not a whole prepared data set"):
    open_data_set(copy)


def test_metadata_nested_without_end_are_refused(copy):
  (copy / "metadata.json").write_text("[" * 100_000)
  with pytest.raises(DataError, match="is not a whole prepared data set"):
    open_data_set(copy)


def test_a_table_of_more_classes_than_the_metadata_s_is_damaged(copy):
  change_metadata(copy, class_names=list("abcde"))
  with pytest.raises(DataError, match="it is not of 30 clips of 5 classes"):
    _ = open_data_set(copy).table


@pytest.mark.parametrize("center", [0, 24])
def test_the_first_and_the_last_joint_can_be_the_centre(copy, center):
  change_metadata(copy, center=center)
  assert open_data_set(copy).center == center


@pytest.mark.parametrize("columns", [{"name": "str"}, {"a": "str", "b": "str"}])
def test_a_table_of_other_columns_than_the_metadata_s_is_damaged(copy, columns):
  change_metadata(copy, columns=columns)
  with pytest.raises(DataError, match=r"clips\.csv is damaged"):
    _ = open_data_set(copy).table


@pytest.mark.parametrize("name", ["label", "persons", "frames"])
def test_a_column_that_is_known_holds_what_it_always_does(copy, name):
  change_metadata(copy, columns=open_data_set(copy).columns | {name: "str"})
  with pytest.raises(DataError, match=rf"it has no column \('{name}', 'int'\)"):
    _ = open_data_set(copy).table


def test_a_table_of_fewer_rows_than_there_are_clips_is_damaged(copy):
  rows = (copy / "clips.csv").read_text().splitlines(keepends=True)
  (copy / "clips.csv").write_text("".join(rows[:-1]))
  change_metadata(copy, table={"sha256": files.sha256(copy / "clips.csv")})
  with pytest.raises(DataError, match="it is not of 30 clips of 6 classes"):
    _ = open_data_set(copy).table


@pytest.mark.parametrize(
  ("channels", "center", "names", "count"),
  [
    (3, 1, (), 3),
    (3, None, (), 2),  # the third may be a score
    *((2, 1, (), 2), (4, 1, (), 2)),
    *((2, 1, ("x", "y"), 2), (3, 1, ("x", "y", "score"), 2)),
    *((3, None, ("x", "y", "z"), 3), (4, None, ("x", "y", "z", "score"), 3)),
  ],
)
def test_coordinates_are_told_from_other_channels(folder, channels, center, names, count):
  said = {"channels": names} if names else {}
  fields = {"channels": channels, "center": center, "coordinates": said}
  assert dataclasses.replace(open_data_set(folder), **fields).num_coordinates == count


def test_only_clips_that_are_centred_are_scaled_to_one_size(folder):
  of = lambda center: dataclasses.replace(open_data_set(folder), center=center)
  assert of(1).sampling(8, body_size=True).bone_parents == NTU.bone_parents
  assert of(None).sampling(8, body_size=True).bone_parents is None
  assert of(1).sampling(8).bone_parents is None


def test_flipped_bytes_in_a_shard_are_noticed(copy):
  shard = sorted(copy.glob("*.array_record*"))[0]
  content = bytearray(shard.read_bytes())
  content[content.index(CLIPS[2].persons[0][1].tobytes())] ^= 0xFF
  shard.write_bytes(content)
  data_set = open_data_set(copy)
  with pytest.raises(DataError, match=r"00000-of-.* is damaged"):
    data_set.read(range(10))


@pytest.mark.parametrize("record", [b"", b"\n", b"\n\x04\n\x02ab", b"\xff" * 9])
def test_a_record_that_is_no_clip_is_named(folder, monkeypatch, record):
  monkeypatch.setattr(DataSet, "_read_shard", lambda self, shard, rows: [record])
  with pytest.raises(DataError, match=r"00000-of-.*: clip 3 is not what was written \("):
    open_data_set(folder).read([3])


def test_a_missing_data_set_says_how_to_prepare_it(tmp_path):
  with pytest.raises(DataError, match=r"there is no data set .*ntu60; prepare it: mstgcn prepare"):
    open_data_set(tmp_path / "ntu60")


def test_a_data_set_that_is_given_as_the_folder_of_data_sets_is_said(folder):
  path = re.escape(str(folder.parent))
  with pytest.raises(DataError, match=rf"but {path} is one; the folder of data sets is"):
    open_data_set(folder.parent / "fake")


def test_a_folder_above_data_sets_says_what_lies_below(folder):
  with pytest.raises(DataError, match=r"holds no prepared data set .*; below it: .*/fake/1\.0\.0"):
    open_data_set(folder.parent.parent)


@pytest.mark.parametrize("rows", [[30], [-1], [0, 30], [29, -1]])
def test_a_row_outside_the_table_is_an_index_error(folder, rows):
  with pytest.raises(IndexError, match=r"clips .* of a data set of 30"):
    open_data_set(folder).read(rows)


def test_no_row_is_no_clip(folder):
  assert open_data_set(folder).read([]) == []


def test_of_several_versions_one_has_to_be_named(copy):
  newer = copy.with_name("1.2.0")
  newer.mkdir()
  for path in copy.iterdir():
    (newer / path.name).write_bytes(path.read_bytes())
  with pytest.raises(DataError, match=r"holds the versions 1\.0\.0, 1\.2\.0; name one: .*/1\.2\.0"):
    open_data_set(copy.parent)
  assert open_data_set(newer).path == newer


def test_a_missing_column_is_named(folder):
  with pytest.raises(ConfigError, match="has no column 'city'; it has name, label"):
    open_data_set(folder).column("city")
