"""What a run tells, piece by piece; `test_loop.py` has what a whole run leaves."""

import csv
import io
import logging
import os
import sys
import time
import types

import jax
import numpy as np
import pytest

from mstgcn_jax.errors import DataError, RunError
from mstgcn_jax.training import run_log


def row(step: int, split: str, **figures) -> dict:
  return {"step": step, "epoch": 1, "split": split, "stream": "joint", **figures}


ROWS = (row(1, "train"), row(2, "train"), row(2, "eval"), row(3, "train"))


def written(path, rows=ROWS):
  file = run_log.MetricsFile(path, 0, evaluated=False)
  for figures in rows:
    file.add(**figures)
  file.close()
  return path


@pytest.fixture
def path(tmp_path):
  return tmp_path / "metrics.csv"


@pytest.fixture
def clock(monkeypatch):
  """Seconds of `time.monotonic`, in a list."""
  now = [100.0]
  monkeypatch.setattr(time, "monotonic", lambda: now[0])
  return now


def test_output_that_lacks_a_letter_does_not_end_a_run(tmp_path, monkeypatch):
  output = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
  monkeypatch.setattr(sys, "stdout", output)
  with run_log.logging_to(tmp_path):
    logging.getLogger("mstgcn_jax").info("é …")
  assert output.buffer.getvalue() == "é ?\n".encode("latin-1")
  assert (tmp_path / "log.txt").read_text(encoding="utf-8").endswith(" é …\n")


def test_a_run_outlives_who_reads_its_output(tmp_path, monkeypatch):
  read, write = os.pipe()
  os.close(read)
  output = open(write, "w")  # noqa: SIM115 (closing it fails)
  monkeypatch.setattr(sys, "stdout", output)
  with run_log.logging_to(tmp_path):
    logging.getLogger("mstgcn_jax").info("step 2/18")
  assert (tmp_path / "log.txt").read_text().endswith(" step 2/18\n")
  with pytest.raises(BrokenPipeError):
    output.close()


def test_a_run_that_begins_again_does_not_mind_what_is_there(path):
  path.write_text("damaged\n")
  assert list(run_log.read_metrics(written(path)))


@pytest.mark.parametrize(
  ("step", "evaluated", "kept"), [(2, False, 2), (2, True, 3), (1, False, 1), (0, False, 0)]
)
def test_rows_after_the_step_that_a_run_goes_on_from_are_cut_off(path, step, evaluated, kept):
  run_log.MetricsFile(written(path), step, evaluated=evaluated).close()
  found = [(int(row["step"]), row["split"]) for row in run_log.read_metrics(path)]
  assert found == [(row["step"], row["split"]) for row in ROWS[:kept]]


def test_rows_are_lost_neither_where_cutting_fails_nor_in_silence(path, caplog, monkeypatch):
  before = written(path).read_text()
  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(csv.DictWriter, "writerow", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    run_log.MetricsFile(path, 3, evaluated=False)
  assert path.read_text() == before and list(path.parent.iterdir()) == [path]
  caplog.set_level("INFO", "mstgcn_jax")
  run_log.MetricsFile(path, 3, evaluated=False).close()
  assert not caplog.text
  run_log.MetricsFile(path, 5, evaluated=False).close()
  assert f"note: {path} has no rows of steps 4 to 5 any more" in caplog.text


def test_a_flushed_row_is_on_the_disk(path, monkeypatch):
  file, seen = run_log.MetricsFile(path, 0, evaluated=False), []
  monkeypatch.setattr(os, "fsync", lambda number: seen.append(path.read_text()))
  file.add(**ROWS[0])
  file.flush()
  assert seen[-1].endswith("\n1,1,train,joint,,,,,,\n")


def test_half_a_row_at_the_end_is_passed_over_and_an_empty_file_has_none(path):
  with written(path).open("a") as file:
    file.write("4,1,tra")
  assert len(list(run_log.read_metrics(path))) == 4
  path.write_text("")
  assert not list(run_log.read_metrics(path))
  path.write_text("step,loss\n1,2\n")
  with pytest.raises(DataError, match=r"line 1 is damaged \(expected step,epoch,split"):
    list(run_log.read_metrics(path))


def test_curves_are_by_split_and_stream_with_nan_where_a_row_has_no_figure(path):
  rows = (row(1, "train", loss=2.5, learning_rate=0.1), row(1, "eval", loss=1.5, top1=0.5))
  curves = run_log.read_curves(written(path, rows))
  assert curves.keys() == {("train", "joint"), ("eval", "joint")}
  expected = {"step": 1, "epoch": 1, "loss": 2.5, "top1": np.nan, "learning_rate": 0.1}
  np.testing.assert_equal(curves["train", "joint"], {k: [v] for k, v in expected.items()})


def test_speed_is_of_the_steps_without_the_first_and_names_the_wait_for_data(
  clock, monkeypatch, caplog
):
  caplog.set_level("INFO", "mstgcn_jax")

  def compile_and_run(outputs):
    clock[0] += 5

  monkeypatch.setattr(jax, "block_until_ready", compile_and_run)
  memory = types.SimpleNamespace(memory_stats=lambda: {"peak_bytes_in_use": 3 * 2**29})
  speed = run_log.Clock(10)
  speed.dispatched(11, None)
  assert speed.figures(11, 4) == {"run/first_step_seconds": 5}
  for _ in range(2):
    with speed.waiting():
      clock[0] += 1
    clock[0] += 3
  speed.dispatched(15, None)
  monkeypatch.setattr(jax, "local_devices", lambda: [memory])
  assert speed.figures(15, 4) == {
    "run/first_step_seconds": 5,
    "run/clips_per_second": 4 * 4 / 8,
    "run/data_wait_share": 2 / 8,
    "run/device_memory_gib": 1.5,
  }
  assert caplog.messages[-1] == "2.0 clips/s, 25.0 % of the time waiting for data"
  speed.restart(15)
  clock[0] += 2
  memory.memory_stats = lambda: None  # as on a CPU
  assert speed.figures(16, 4) == {
    "run/first_step_seconds": 5,
    "run/clips_per_second": 2,
    "run/data_wait_share": 0,
  }


@pytest.mark.parametrize(
  ("steps", "ran", "traced", "said"),
  [
    (2, range(8, 16), [("start", 10), ("stop", 12)], "profile of 2 steps in"),
    (2, range(8, 12), [("start", 10), ("stop", "end")], None),
    (0, range(8, 16), [], None),
    (2, range(8, 10), [], "the run ended before step 10: no step was profiled"),
  ],
)
def test_a_trace_is_of_as_many_steps_as_asked_for(
  tmp_path, monkeypatch, caplog, steps, ran, traced, said
):
  caplog.set_level("INFO", "mstgcn_jax")
  found, step = [], None
  monkeypatch.setattr(jax.profiler, "start_trace", lambda _: found.append(("start", step)))
  monkeypatch.setattr(jax.profiler, "stop_trace", lambda: found.append(("stop", step)))
  with run_log.Tracer(tmp_path, first=10, steps=steps) as tracer:
    for step in ran:
      tracer.step(step)
    step = "end"
  assert found == traced
  assert len(caplog.messages) == (said is not None) and (said or "") in caplog.text


@pytest.fixture
def record(tmp_path):
  """What records in a process that is not the first one, with epochs of three steps."""
  options = {"first_step": 0, "evaluated": False, "total_steps": 6, "steps_per_epoch": 3}
  options |= {"batch_size": 4, "hyperparameters": {}, "enabled": False}
  return run_log.Recorder(tmp_path, **options)


def test_the_first_process_alone_writes(record, tmp_path):
  assert [record.epoch(step) for step in (1, 3, 4, 6)] == [1, 1, 2, 2]
  with record:
    record.scalars(1, {"run/clips_per_second": 1.0})
    record.flush()
  assert not list(tmp_path.iterdir())


def test_rows_and_tags_of_two_streams_are_told_apart(record):
  rows, tags, shown, flushed = [], {}, [], []
  flush = lambda name: types.SimpleNamespace(flush=lambda: flushed.append(name))
  record._enabled, record._file, record._board, record.bar = True, *map(flush, ("csv", "tb", ""))
  record._file.add = lambda **row: rows.append(row)
  record._board.write_scalars = lambda step, values: tags.update(values)
  record.bar.update = lambda step, **said: shown.append((step, said))
  figures = {"loss": 1.5, "top1": 0.5, "learning_rate": 0.1, "grad_norm": 2.0}
  record.step(4, {"joint": figures | {"stop": 0}, "bone": figures | {"loss": 2.5}})
  record.evaluation(6, "eval", {"joint": {"top1": 0.5}, "fused": {"top1": 0.75}})
  record.flush()
  assert rows[1] == {"step": 4, "epoch": 2, "split": "train", "stream": "bone", **figures} | {
    "loss": 2.5
  }
  assert rows[3] == {"step": 6, "epoch": 2, "split": "eval", "stream": "fused", "top1": 0.75}
  assert (tags["train/loss/joint"], tags["train/loss/bone"]) == (1.5, 2.5)
  assert (tags["eval/top1/joint"], tags["eval/top1/fused"]) == (0.5, 0.75) and len(tags) == 10
  assert shown == [(4, {"epoch": 2, "loss": 1.5, "learning_rate": 0.1})]
  assert flushed == ["csv", "tb"]


def test_what_ended_a_run_is_not_hidden_by_what_closing_its_files_says(record, monkeypatch):
  closed = []
  record.bar = types.SimpleNamespace(close=lambda: closed.append("bar"))
  monkeypatch.setattr(record, "close", lambda: (_ for _ in ()).throw(RunError("disk full")))
  with pytest.raises(KeyError), record:
    raise KeyError
  with pytest.raises(RunError), record:
    pass
  assert len(closed) == 2


@pytest.mark.parametrize("error", [OSError(28, "disk full"), LookupError("disk full")])
def test_what_cannot_be_written_is_a_run_error_that_says_so(tmp_path, error):
  said = r"could not be written \(.*disk full\)"
  with pytest.raises(RunError, match=said), run_log._says_why_not(tmp_path):
    raise error
  for ours in (DataError("mine"), RunError("mine")):
    with pytest.raises(type(ours), match=r"^mine$"), run_log._says_why_not(tmp_path):
      raise ours


def test_lines_of_progress_come_after_a_while_from_the_first_process_alone(clock, caplog):
  caplog.set_level("INFO", "mstgcn_jax")
  for enabled, lines in ((False, []), (True, [2, 4, 6, 8, 10])):  # of steps of 20 s
    progress = run_log.ProgressBar(first=0, total=21, batch_size=8, enabled=enabled)
    for step in range(1, 11):
      clock[0] += 20
      progress.update(step, epoch=1, loss=0.25, learning_rate=0.1)
    assert [int(text.split("/")[0].removeprefix("step ")) for text in caplog.messages] == lines
