"""Opening and reading a prepared data set."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from prepared import NTU, prepare, random_clips

from data_prep import store
from mstgcn_jax.data_set import DataSet, open_data_set
from mstgcn_jax.errors import ConfigError, DataError

CLIPS = random_clips(30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A data set of three shards."""
  out = tmp_path_factory.mktemp("data")
  size, store._SHARD_BYTES = store._SHARD_BYTES, 100_000
  try:
    prepare(out, CLIPS, citation="@misc{x}")
  finally:
    store._SHARD_BYTES = size
  return out / "fake" / store.VERSION


@pytest.fixture
def copy(folder, tmp_path):
  """A copy of the data set that a test may damage."""
  target = tmp_path / "fake" / store.VERSION
  target.mkdir(parents=True)
  for path in folder.iterdir():
    (target / path.name).write_bytes(path.read_bytes())
  return target


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


def test_the_folder_describes_itself(folder):
  data_set = open_data_set(folder)
  assert len(data_set) == 30
  assert data_set.name == "fake"
  assert data_set.skeleton == NTU
  assert data_set.class_names == tuple("abcdef")
  assert (data_set.channels, data_set.fill, data_set.center) == (3, "loop", 1)
  assert data_set.citation == "@misc{x}"
  assert data_set.missing_facts == ("replication", "split")


def test_the_table_is_there_without_reading_a_clip(copy):
  for shard in copy.glob("*.array_record*"):
    shard.write_bytes(b"\0" * shard.stat().st_size)
  table = open_data_set(copy).table
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


def test_the_name_s_folder_opens_the_only_version(folder):
  assert open_data_set(folder.parent).path == folder


def test_a_sample_is_the_clip_as_the_model_sees_it(folder):
  clip = open_data_set(folder).sample(0, window=40)
  person = CLIPS[0].persons[0]
  looped = person[np.arange(40) % len(person)]
  np.testing.assert_allclose(clip[0], looped - looped[:, 1:2])
  assert not clip[1].any()


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


def damage_truncate(folder: pathlib.Path):
  shard = sorted(folder.glob("*.array_record*"))[1]
  shard.write_bytes(shard.read_bytes()[:-1000])


def damage_remove(folder: pathlib.Path):
  sorted(folder.glob("*.array_record*"))[0].unlink()


def damage_format(folder: pathlib.Path):
  path = folder / "metadata.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))


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


def test_a_damaged_table_is_refused(copy):
  lines = (copy / "clips.csv").read_text().splitlines(keepends=True)
  (copy / "clips.csv").write_text("".join(lines[:-1]))
  with pytest.raises(DataError, match=r"clips\.csv is damaged \(it is not the table that was"):
    _ = open_data_set(copy).table


def test_a_flipped_digit_in_the_table_is_noticed(copy):
  path = copy / "clips.csv"
  content = bytearray(path.read_bytes())
  content[content.index(b",") + 1] ^= 1  # the first label
  path.write_bytes(content)
  with pytest.raises(DataError, match=r"clips\.csv is damaged"):
    _ = open_data_set(copy).table


@pytest.mark.parametrize(
  "change", [{"columns": ["name"]}, {"num_clips": 31}, {"center": 99}, {"fill": "lop"}]
)
def test_metadata_that_contradicts_itself_is_refused(copy, change):
  path = copy / "metadata.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | change))
  with pytest.raises(DataError, match="is not a whole prepared data set"):
    open_data_set(copy)


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
  with pytest.raises(DataError, match=r"there is no data set .*ntu60; prepare it: python -m data"):
    open_data_set(tmp_path / "ntu60")


def test_a_folder_above_data_sets_says_what_lies_below(folder):
  with pytest.raises(DataError, match=r"holds no prepared data set .*; below it: .*/fake/1\.0\.0"):
    open_data_set(folder.parent.parent)


def test_a_row_outside_the_table_is_an_index_error(folder):
  with pytest.raises(IndexError):
    open_data_set(folder).read([30])


def test_a_missing_column_is_named(folder):
  with pytest.raises(ConfigError, match="has no column 'city'; it has name, label"):
    open_data_set(folder).column("city")
