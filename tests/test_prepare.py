"""Bad recordings, full disks and killed preparations: each has one defined outcome."""

import contextlib
import errno
import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import formats
import numpy as np
import prepared
import pytest
import tiny
from array_record.python import array_record_module
from golden import golden

from data_prep import prepare, shards
from data_prep.readers.interface import Clip, Source
from mstgcn_jax.data.data_set import open_data_set
from mstgcn_jax.errors import DataError

TESTS = str(pathlib.Path(__file__).parent)

# --- one bad recording among others


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39, -2e9])
def test_a_coordinate_beyond_reason_makes_the_recording_bad(tmp_path, value):
  clips = prepared.random_clips(3)
  person = clips[1].persons[0].astype(np.float64)
  person[4, 2, 1] = value
  clips[1] = Clip("broken", 0, [person], clips[1].facts)
  with np.errstate(over="ignore"):
    data_set = prepared.prepare(tmp_path, clips, arguments_={"max_bad": 50})
  assert data_set.table["name"].tolist() == ["clip000", "clip002"]
  expected = (
    "at most 1e+09" if np.isfinite(value) else "a finite number, and 0 where a joint is not"
  )
  (reason,) = prepared.report(data_set).values()
  assert reason.startswith(f"frame 4, joint 2 has the coordinate {value:g}; expected {expected}")


def test_bad_recordings_are_skipped_counted_and_listed(tmp_path, capsys):
  clips = [*prepared.random_clips(4), DataError("is torn"), Clip("nobody", 0, [], {})]
  data_set = prepared.prepare(tmp_path, clips, arguments_={"max_bad": 20})
  assert len(data_set) == 4
  assert prepared.report(data_set) == {"4": "is torn", "nobody": "nobody is tracked"}
  output = capsys.readouterr()
  assert "(1 bad and 1 without a body left out)" in output.out
  assert "left out 4: is torn" in output.err


def test_nothing_but_empty_clips_is_an_error(tmp_path):
  with pytest.raises(DataError, match="nobody is tracked in any of 1 recordings"):
    prepared.prepare(tmp_path, [Clip("nobody", 0, [], {})])


@pytest.mark.parametrize(
  ("nobody", "end"), [(0, "\\)\\. "), (1, "\\), and nobody is tracked in the")]
)
def test_nothing_but_bad_clips_is_not_called_empty(tmp_path, nobody, end):
  clips = [*[Clip("nobody", 0, [], {})] * nobody, DataError("is torn"), DataError("is wet")]
  total = 2 + nobody
  first = rf"holds no clip: 2 of {total} recordings could not be read \(first: {nobody}: is torn"
  with pytest.raises(DataError, match=first + end):
    prepared.prepare(tmp_path, clips, arguments_={"max_bad": 100})


def test_a_first_person_that_is_empty_keeps_its_place_where_clips_are_filled_with_zeros(tmp_path):
  person = np.ones((4, 25, 3), np.float32)
  clip = Clip("a", 0, [np.zeros_like(person), person, np.zeros_like(person)])
  data = prepared.prepare(tmp_path, [clip], fill="zero", center=None)
  assert [len(one) for one in data.read([0])[0]] == [0, 4]
  assert (data.table["persons"][0], data.table["frames"][0]) == (2, 4)
  shown = data.sample(0, window=5, num_persons=2)
  assert not shown[0].any() and shown[1, :4].all() and not shown[1, 4].any()


def test_notes_of_a_source_are_printed_before_its_warnings(tmp_path, capsys):
  prepared.prepare(tmp_path, prepared.random_clips(1), notes=("a",), warnings=("b", "c"))
  assert capsys.readouterr().err == "fake: a\nfake: warning: b\nfake: warning: c\n"


def test_where_no_terminal_is_there_are_lines_that_say_how_far_it_is(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(prepare, "_SECONDS_BETWEEN_LINES", -1)
  prepared.prepare(tmp_path, prepared.random_clips(3))
  said = [line for line in capsys.readouterr().err.splitlines() if " of 3 recordings" in line]
  each = [f"{done} of 3 recordings" for done in (1, 2, 3)]
  assert said == [f"{title}: {of}" for title in ("fake", "reading back") for of in each]


def test_links_are_followed_and_broken_or_unreadable_files_are_bad(raw):
  (raw / "deeper").mkdir(parents=True)
  original = golden("data/bodies/S005C001P001R001A001.skeleton")
  shutil.copy(original, raw / "deeper" / "S005C001P001R001A001.skeleton")
  (raw / "S005C001P002R001A001.skeleton").symlink_to(original)
  (raw / "S005C001P003R001A001.skeleton").symlink_to(raw / "nowhere")
  shutil.copy(original, raw / "S005C001P001R001A001.skeleton")  # the same name twice
  (raw / "S005C001P009R001A001.skeleton").mkdir()  # a folder is no recording
  data_set = formats.prepare("ntu60", raw, "--max-bad", 50)
  assert data_set.table["subject"].tolist() == [1, 2]
  assert prepared.report(data_set) == {
    "S005C001P001R001A001": "a second recording has the name S005C001P001R001A001",
    "S005C001P003R001A001.skeleton": "cannot be read: No such file or directory",
  }


def test_a_file_name_that_is_no_text_is_listed(raw):
  raw.mkdir()
  shutil.copy(golden("data/bodies/S005C001P001R001A001.skeleton"), raw)
  with open(os.fsencode(raw) + b"/\xdcbung.skeleton", "w") as file:
    file.write("0\n")
  data_set = formats.prepare("ntu60", raw, "--max-bad", 60)
  assert "\\udcdcbung.skeleton" in prepared.report(data_set)


def test_a_folder_whose_name_is_no_text_is_said(tmp_path):
  with pytest.raises(DataError, match=r"n\\udcff' is no text in UTF-8"):
    tiny.prepare(tmp_path / "n\udcff")
  tiny.prepare(tmp_path / "data").rename(tmp_path / "n\udcff")
  with pytest.raises(DataError, match=r"n\\udcff/tiny/1.0.0' is no text in UTF-8"):
    open_data_set(tmp_path / "n\udcff" / "tiny")


def test_a_loop_of_links_ends(raw):
  raw.mkdir()
  (raw / "again").symlink_to(raw)
  (raw / "S005C001P003R001A001.skeleton").symlink_to("S005C001P003R001A001.skeleton")
  formats.prepare("ntu60", raw, status=1)


def test_an_error_in_a_reader_is_not_hidden(tmp_path):
  with pytest.raises(ZeroDivisionError):
    prepared.prepare(tmp_path, [*prepared.random_clips(3), ZeroDivisionError()])
  assert not list(tmp_path.iterdir())


# --- interrupted


def python(script, **options):
  return subprocess.Popen(
    [sys.executable, "-c", f"import sys; sys.path.insert(0, {TESTS!r})\n{script}"],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    **options,
  )


def wait_until(condition):
  end = time.monotonic() + 60
  while not condition():
    assert time.monotonic() < end, "took too long"
    time.sleep(0.02)


def is_running(pid):
  try:
    state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
  except OSError:
    return False
  return state != "Z"


def test_a_killed_preparation_leaves_nothing_that_opens_and_no_workers(tmp_path):
  pids = tmp_path / "pids"
  out = tmp_path / "data"
  paths = f"pathlib.Path({str(out)!r}), pathlib.Path({str(pids)!r})"
  script = f"import pathlib, prepared; prepared.prepare_slowly({paths}, 5000)"
  process = python(script)
  wait_until(lambda: pids.exists() and list(out.glob("fake/.1.0.0.incomplete/shard-*")))
  process.send_signal(signal.SIGKILL)
  process.wait()
  process.stdout.close()
  workers = {int(line) for line in pids.read_text().split()}
  wait_until(lambda: not any(map(is_running, workers)))
  with pytest.raises(DataError, match="holds no prepared data set"):
    open_data_set(out / "fake")
  assert len(prepared.prepare(out, prepared.random_clips(3))) == 3
  assert [path.name for path in (out / "fake").iterdir()] == ["1.0.0"]


def test_a_worker_that_is_killed_ends_the_preparation_with_one_message(tmp_path):
  pids = tmp_path / "pids"
  out = tmp_path / "data"
  paths = f"pathlib.Path({str(out)!r}), pathlib.Path({str(pids)!r})"
  process = python(
    "import pathlib, prepared\n"
    "from mstgcn_jax.errors import DataError\n"
    f"try: prepared.prepare_slowly({paths}, 5000)\n"
    "except DataError as error: print(error)"
  )
  wait_until(lambda: pids.exists() and len(pids.read_text().split()) > 3)
  os.kill(int(pids.read_text().split()[0]), signal.SIGKILL)
  output, _ = process.communicate(timeout=60)
  assert "a worker process was ended from outside" in output
  assert not list(out.glob("*"))


def test_a_full_disk_leaves_nothing_that_opens(tmp_path):
  process = python(
    "import pathlib, prepared, resource\n"
    "from mstgcn_jax.errors import DataError\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
    f"try: prepared.prepare(pathlib.Path({str(tmp_path)!r}), prepared.random_clips(100))\n"
    "except DataError as error: print(error)"
  )
  output, _ = process.communicate(timeout=60)
  assert "cannot write the data set" in output and "Nothing was written" in output
  assert not list(tmp_path.iterdir())


class Killed(BaseException):
  """What ends a process that `Killer` kills."""


class Killer:
  """Kills at the n-th time that a file or folder is made, moved or removed; nothing is after."""

  EVENTS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")

  def __init__(self):
    self.armed = False
    sys.addaudithook(self._hear)  # for ever, so there is one

  def _hear(self, event, _):
    if self.armed and event in self.EVENTS:
      self.left -= 1
      if self.left < 0:
        raise Killed

  @contextlib.contextmanager
  def after(self, changes: int):
    self.left, self.armed = changes, True
    try:
      yield
    finally:
      self.armed = False


KILLER = Killer()


def test_killed_at_any_moment_of_replacing_one_of_the_two_is_whole(tmp_path):
  kept = prepared.prepare(tmp_path / "kept", prepared.random_clips(3)).path.parent
  found = []
  for changes in itertools.count():
    out = tmp_path / str(changes)
    shutil.copytree(kept, out / "fake")
    try:
      with KILLER.after(changes):
        prepared.prepare(out, prepared.random_clips(5), arguments_={"overwrite": True})
    except Killed:
      # The same command without --overwrite finds one that is there, and leaves it.
      found.append(len(prepared.prepare(out, prepared.random_clips(4))))
      assert [path.name for path in (out / "fake").iterdir()] == ["1.0.0"]
    else:
      break
  old, new = found.count(3), found.count(5)
  assert found == [3] * old + [5] * new
  assert old > 2 and new  # killed before and after the new one was in place


# --- read back


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), KeyboardInterrupt()])
def test_a_replacement_that_fails_leaves_the_old_one_in_its_place(tmp_path, monkeypatch, error):
  def failing(path, target):
    if path.name.endswith(".incomplete"):
      raise error
    return rename(path, target)

  tiny.prepare(tmp_path)
  before = (tmp_path / "tiny/1.0.0/metadata.json").read_bytes()
  rename = pathlib.Path.rename
  monkeypatch.setattr(pathlib.Path, "rename", failing)
  with pytest.raises((DataError, KeyboardInterrupt)):
    prepared.prepare(
      tmp_path, prepared.random_clips(3), arguments_={"name": "tiny", "overwrite": True}
    )
  assert (tmp_path / "tiny/1.0.0/metadata.json").read_bytes() == before
  assert os.listdir(tmp_path / "tiny") == ["1.0.0"]


def test_what_the_disk_holds_otherwise_is_not_kept(tmp_path, monkeypatch):
  writer = array_record_module.ArrayRecordWriter

  class Confused:
    """Writes the first record in the place of the third."""

    def __init__(self, *args):
      self.writer, self.records = writer(*args), []

    def write(self, record):
      self.records.append(record)
      self.writer.write(self.records[0] if len(self.records) == 3 else record)

    def close(self):
      self.writer.close()

  monkeypatch.setattr(array_record_module, "ArrayRecordWriter", Confused)
  with pytest.raises(DataError, match=r"the shards hold another clip than clip002 .*Nothing was k"):
    prepared.prepare(tmp_path, prepared.random_clips(4))
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("written", "message"),
  [("name,label\na,0\n", "damaged"), (None, r"reads otherwise than it was written")],
)
def test_a_table_that_reads_otherwise_is_not_kept(tmp_path, monkeypatch, written, message):
  def write_csv(path, header, rows):
    if written and path.name == "clips.csv":
      path.write_text(written)
    else:
      right(path, header, [(*row[:-1], 0) for row in rows])

  right = shards.write_csv
  monkeypatch.setattr(shards, "write_csv", write_csv)
  with pytest.raises(DataError, match=message):
    prepared.prepare(tmp_path, prepared.random_clips(4))
  assert not list(tmp_path.iterdir())


def test_any_text_in_a_cell_comes_back(tmp_path):
  texts = ["a\rb", "a\r\nb", "\n", '"', ",;'", "", " x ", "½ 日本", "\r", "\ufeff", "\x1a", "nan"]
  person = np.ones((2, 25, 3), np.float32)
  clips = [Clip(f"c{i}{text}", 0, [person], {"note": text}) for i, text in enumerate(texts)]
  data_set = prepared.prepare(tmp_path, clips)
  assert data_set.table["note"].tolist() == texts
  assert data_set.table["name"].tolist() == [clip.name for clip in clips]


@pytest.mark.parametrize(
  ("facts", "reason"),
  [
    ({"note": "a\0"}, r"its note is 'a\x00'; a NUL cannot be stored"),
    ({"note": "\ud800"}, r"its note is '\ud800', which is no text in UTF-8"),
    ({"note": 0.5}, "its note is 0.5; expected a whole number or a text"),
    ({"note": True}, "its note is True; expected a whole number or a text"),
    ({"note": None}, "its note is None; expected"),
    ({"note": 2**63}, "its note is 9.22e+18, beyond 64 bits"),
    ({"note": "x" * 200_000}, "its note has 200,000 characters; expected at most 131,072"),
    ({"frames": 3}, "its facts include 'frames', which the preparation fills"),
  ],
)
def test_a_cell_that_would_not_come_back_makes_its_clip_bad(tmp_path, facts, reason):
  clips = [*prepared.random_clips(1), Clip("x", 0, [np.ones((2, 25, 3))], facts)]
  data_set = prepared.prepare(tmp_path, clips, arguments_={"max_bad": 50})
  assert prepared.report(data_set)["x"].startswith(reason)


def test_a_name_that_would_not_come_back_makes_its_clip_bad(tmp_path):
  clips = [*prepared.random_clips(1), Clip("a\ud800", 0, [np.ones((2, 25, 3))])]
  data_set = prepared.prepare(tmp_path, clips, arguments_={"max_bad": 50})
  assert [*prepared.report(data_set).values()] == [
    r"its name is 'a\ud800', which is no text in UTF-8"
  ]


def test_facts_in_another_order_go_into_their_own_columns(tmp_path):
  person = [np.ones((2, 25, 3), np.float32)]
  clips = [Clip("a", 0, person, {"x": 1, "y": 2}), Clip("b", 0, person, {"y": 4, "x": 3})]
  table = prepared.prepare(tmp_path, clips).table
  assert (table["x"].tolist(), table["y"].tolist()) == ([1, 3], [2, 4])


def test_two_preparations_at_once_do_not_meet(tmp_path):
  def second(raw, args):
    prepare.prepare(prepared.source(prepared.random_clips(2)), prepared.arguments(tmp_path))

  with pytest.raises(DataError, match="another command is writing into"):
    prepare.prepare(Source("fake", "", second, makes_raw=True), prepared.arguments(tmp_path))


def test_a_damaged_existing_data_set_asks_to_be_overwritten(tmp_path):
  data_set = prepared.prepare(tmp_path, prepared.random_clips(3))
  (data_set.path / data_set.shards[0]["file"]).write_bytes(b"")
  with pytest.raises(DataError, match=r"is there already, but damaged .*--overwrite"):
    prepared.prepare(tmp_path, prepared.random_clips(3))
  assert (
    len(prepared.prepare(tmp_path, prepared.random_clips(3), arguments_={"overwrite": True})) == 3
  )
  # Nothing is left beside it, and one whose shards are gone is still a data set.
  assert [path.name for path in data_set.path.parent.glob(".*") if path.is_dir()] == []
  for shard in data_set.path.glob("*.array_record*"):
    shard.unlink()
  again = prepared.prepare(tmp_path, prepared.random_clips(2), arguments_={"overwrite": True})
  assert len(again) == 2


def test_a_folder_that_is_no_data_set_is_not_overwritten(tmp_path):
  mine = tmp_path / "fake" / "1.0.0" / "thesis.tex"
  mine.parent.mkdir(parents=True)
  mine.touch()
  for overwrite in (False, True):
    with pytest.raises(DataError, match=r"1\.0\.0 is no data set, but holds thesis\.tex.*move it"):
      prepared.prepare(tmp_path, prepared.random_clips(3), arguments_={"overwrite": overwrite})
  assert mine.exists()
  mine.unlink()
  assert len(prepared.prepare(tmp_path, prepared.random_clips(3), arguments_={"overwrite": True}))


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path, capsys):
  (tmp_path / "data").write_text("a file, not a folder")
  formats.prepare("ntu60", golden("data/bodies"), out=tmp_path / "data", status=1)
  assert len(capsys.readouterr().err.splitlines()) == 1
