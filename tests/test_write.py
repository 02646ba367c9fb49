"""What of recordings is written, what is left out, and what the command says of it."""

import dataclasses
import functools
import pathlib

import numpy as np
import pytest
from prepared import arguments, prepare, random_clips, report, source

from data_prep import prepare as preparation
from data_prep import shards
from data_prep.readers.interface import Clip, Recordings, Source
from mstgcn_jax import skeletons
from mstgcn_jax.data.data_set import open_data_set
from mstgcn_jax.errors import ConfigError, DataError

FACTS = {"subject": 1}


def body(length: int, start: float = 1.0) -> np.ndarray:
  """[frame, joint, channel]; every coordinate of frame t is start + t."""
  return np.full((length, 25, 3), np.arange(start, start + length)[:, None, None], np.float32)


def untracked(person: np.ndarray, *frames: int) -> np.ndarray:
  person = person.copy()
  person[list(frames)] = 0
  return person


def lengths(data_set) -> list[list[int]]:
  return [[len(person) for person in clip] for clip in data_set.read(range(len(data_set)))]


@pytest.mark.parametrize(("fill", "expected"), [
  # Filled with zeros, what is untracked at an end is cut off and comes back as zeros; a gap stays,
  # and so does an empty person before one that is tracked. Looped, who never is is left out.
  ("zero", [[3, 4], [0, 2], [3], [2]]),
  ("loop", [[5, 5], [4], [3], [2]]),
])  # fmt: skip
def test_untracked_ends_are_cut_off_where_they_come_back_as_zeros(tmp_path, fill, expected):
  clips = [
    Clip("ends", 0, [untracked(body(5), 3, 4), untracked(body(5, 7), 0, 4)]),
    Clip("first is empty", 0, [0 * body(4), untracked(body(4), 2, 3)]),
    Clip("last is empty", 0, [untracked(body(3), 1), 0 * body(2)]),
    Clip("two are empty", 0, [body(2), 0 * body(2), 0 * body(2)]),
  ]
  data_set = prepare(tmp_path, clips, fill=fill, center=None)
  assert lengths(data_set) == expected
  assert data_set.table["persons"].tolist() == [len(clip) for clip in expected]
  assert data_set.table["frames"].tolist() == [max(clip) for clip in expected]
  for row, clip in enumerate(clips):
    persons = [one for one in clip.persons if one.any() or fill == "zero"]
    shown = data_set.sample(row, len(persons[0]), num_persons=len(persons))
    for person, meant in zip(shown, persons, strict=True):
      np.testing.assert_array_equal(person[: len(meant)], meant)


@pytest.mark.parametrize("fill", ["zero", "loop"])
def test_a_clip_without_any_tracked_frame_is_left_out(tmp_path, fill):
  clips = [
    Clip("a", 0, [body(2)]),
    Clip("b", 0, [0 * body(3), 0 * body(3)]),
    Clip("c", 5, [body(1)]),
  ]
  data_set = prepare(tmp_path, clips, fill=fill)
  assert data_set.table["name"].tolist() == ["a", "c"]
  assert report(data_set) == {"b": "nobody is tracked"}


@pytest.mark.parametrize(
  ("clip", "reason"),
  [
    (Clip("x", -1, [body(2)], FACTS), "it has no label; expected"),
    (Clip("x", -2, [body(2)], FACTS), "label -2 is outside 0..5"),
    (Clip("x", 6, [body(2)], FACTS), "label 6 is outside 0..5"),
    (Clip("a", 0, [body(2)], FACTS), "a second recording has the name a"),
    (
      Clip("x", 0, [body(2), body(2)[..., :2]], FACTS),
      "a person has the shape (2, 25, 2); expected",
    ),
    (Clip("x", 0, [body(2)[0]], FACTS), "a person has the shape (25, 3); expected"),
    (
      Clip("x", 0, [body(2)[:, :20]], FACTS),
      "a person has the shape (2, 20, 3); expected (frames, 25",
    ),
    (Clip("x", 0, [body(2), body(2) * np.nan], FACTS), "frame 0, joint 0 has the coordinate nan"),
    (Clip("x", 0, [body(2)], {}), "its facts are {'name': 'str'"),
    (Clip("x", 0, [body(2)], {"subject": "1"}), "its facts are {'name': 'str'"),
    (Clip("x", 0, [body(2)], FACTS | {"camera": 1}), "its facts are {'name': 'str'"),
  ],
)
def test_a_clip_unlike_the_others_is_bad(tmp_path, clip, reason):
  data_set = prepare(tmp_path, [Clip("a", 5, [body(2)], FACTS), clip], arguments_={"max_bad": 50})
  assert data_set.table["name"].tolist() == ["a"]
  ((name, why),) = report(data_set).items()
  assert name in (clip.name, "1") and why.startswith(reason)


@pytest.mark.parametrize("names", [("a", "a"), ("a", ""), ("a", "b\n"), ("a", "\ud800")])
def test_class_names_are_printable_and_different(tmp_path, names):
  with pytest.raises(
    DataError, match=r"class 1 is named .*; names must be printable and different"
  ):
    prepare(tmp_path, random_clips(1), class_names=names)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "My", "1a", "a-b", "a b", "_a", "a/b", "..", "a\n"])
def test_a_name_that_is_no_folder_s_is_wrong_usage(tmp_path, name):
  with pytest.raises(ConfigError, match="expected small letters, digits and _"):
    preparation.prepare(source(random_clips(1)), arguments(tmp_path, name=name))


@pytest.mark.parametrize("makes_raw", [True, False])
@pytest.mark.parametrize("exists", [True, False])
def test_recordings_have_to_be_there_unless_the_source_makes_them(tmp_path, makes_raw, exists):
  fake = dataclasses.replace(source(random_clips(1)), makes_raw=makes_raw)
  raw = tmp_path if exists else tmp_path / "none"
  if exists or makes_raw:
    preparation.prepare(fake, arguments(tmp_path, raw=raw))
    assert len(open_data_set(tmp_path / "fake")) == 1
  else:
    with pytest.raises(DataError, match=r"--raw .*none does not exist; expected the recordings"):
      preparation.prepare(fake, arguments(tmp_path, raw=raw))


@pytest.mark.parametrize(
  ("bad", "of", "max_bad", "message"),
  [
    (1, 4, 25, None),  # as many as are allowed
    (29, 100, 29.0, None),  # though 29 / 100 * 100 is below 29
    (1, 4, 24.9, "1 of 4 recordings .*--max-bad 24.9 allows 24.9 %; --max-bad 25 would leave"),
    (2, 3, 50, "2 of 3 recordings .*--max-bad 67 would leave them out"),
    (4, 4, 99, "4 of 4 recordings .*--max-bad 100 would leave them out"),
    (10, 1000, 1, None),
    (11, 1000, 1, "^11 of 1,000 recordings .*--max-bad 2 would leave them out"),
    # Of more than a thousand, reading ends where too many are bad.
    (40, 1001, 1, "^at least 11 of 1,001 recordings .*--max-bad 1 allows 1 %.$"),
  ],
)
def test_how_many_may_be_bad(tmp_path, bad, of, max_bad, message):
  read = []

  def read_one(index):
    read.append(index)
    if index < bad:
      raise DataError("is torn")
    return Clip(f"c{index}", 0, [body(1)])

  recordings = Recordings(range(of), read_one, skeletons.get("ntu_rgbd"), ("a",), parallel=False)
  fake = Source("fake", "", lambda raw, args: recordings, makes_raw=True)
  args = arguments(tmp_path, max_bad=max_bad)
  if message is None:
    preparation.prepare(fake, args)
    assert len(open_data_set(tmp_path / "fake")) == of - bad
    return
  with pytest.raises(DataError, match=message) as error:
    preparation.prepare(fake, args)
  assert "(first: 0: is torn)" in str(error.value)
  assert len(read) == (11 if of > 1000 else of)
  assert not list(tmp_path.iterdir())


def test_what_is_in_memory_is_read_in_the_commands_own_process(tmp_path):
  clips = random_clips(17)  # more than a worker's task
  assert len(prepare(tmp_path, clips, arguments_={"workers": 2})) == 17


def test_recordings_are_called_by_what_their_keys_are_called(tmp_path):
  def read(key):
    if key == "good":
      return Clip("good", 0, [body(1)])
    raise DataError("is torn")

  keys = ["good", pathlib.Path("folder/a.npy"), (pathlib.Path("folder/b.npy"), 3), 7]
  recordings = Recordings(keys, read, skeletons.get("ntu_rgbd"), ("a",), parallel=False)
  fake = Source("fake", "", lambda raw, args: recordings, makes_raw=True)
  preparation.prepare(fake, arguments(tmp_path, max_bad=80))
  assert list(report(open_data_set(tmp_path / "fake"))) == ["a.npy", "b.npy", "7"]


@pytest.mark.parametrize(
  ("published", "says"),
  [
    *((0, None), (3, None), (2, "1 more than the published 2")),
    (1004, "1,001 fewer than the published 1,004"),
  ],
)
def test_the_number_of_clips_is_compared_with_the_published_one(tmp_path, capsys, published, says):
  data_set = prepare(tmp_path, random_clips(3), published_clips=published)
  output = capsys.readouterr()
  assert output.out.startswith(f"fake: 3 clips, {data_set.shards[0]['bytes'] / 1e6:.1f} MB, ")
  assert output.err == (f"fake: warning: 3 clips, {says}\n" if says else "")


@pytest.mark.parametrize(
  ("count", "more"), [(5, ""), (7, "fake: … all 7 are listed in report.csv\n")]
)
def test_a_few_of_the_recordings_left_out_are_printed(tmp_path, capsys, count, more):
  clips = [*random_clips(2), *(DataError(f"is torn {i}") for i in range(count))]
  data_set = prepare(tmp_path, clips, arguments_={"max_bad": 90})
  output = capsys.readouterr()
  shown = "".join(f"fake: left out {i + 2}: is torn {i}\n" for i in range(5))
  assert output.err == shown + more
  assert f"({count} bad and 0 without a body left out)" in output.out
  assert len(report(data_set)) == count


def numbered(index: int) -> Clip:
  return Clip(f"c{index}", 0, [body(1 + index % 3, index + 1)])


@pytest.mark.parametrize("workers", [1, 2])
def test_clips_are_in_the_order_of_their_keys_whoever_reads_them(tmp_path, workers):
  recordings = Recordings(range(70), functools.partial(numbered), skeletons.get("ntu_rgbd"), ("a",))
  fake = Source("fake", "", lambda raw, args: recordings, makes_raw=True)
  preparation.prepare(fake, arguments(tmp_path, workers=workers))
  data_set = open_data_set(tmp_path / "fake")
  assert data_set.table["name"].tolist() == [f"c{i}" for i in range(70)]
  assert lengths(data_set) == [[1 + i % 3] for i in range(70)]


def test_shards_are_bounded_and_named_as_tfds_names_them(tmp_path, monkeypatch):
  clips = [Clip(f"c{i}", 0, [body(10)]) for i in range(5)]  # 3,000 bytes each, and a little
  monkeypatch.setattr(shards, "_SHARD_BYTES", 6_000)
  written = prepare(tmp_path, clips).shards
  assert [shard["clips"] for shard in written] == [2, 2, 1]
  assert [shard["file"] for shard in written] == [
    f"fake-clips.array_record-0000{i}-of-00003" for i in range(3)
  ]


def test_missing_facts_are_those_that_the_source_does_not_have(tmp_path):
  person = [body(1)]
  facts = {"replication": 1, "split": "train", "city": "Jena"}
  data_set = prepare(tmp_path, [Clip("a", 0, person, facts)])
  assert data_set.missing_facts == ("subject", "camera", "setup")
  assert data_set.columns == {
    **{"name": "str", "label": "int", "persons": "int", "frames": "int"},
    **{"replication": "int", "split": "str", "city": "str"},
  }
  assert data_set.table["city"].tolist() == ["Jena"]
