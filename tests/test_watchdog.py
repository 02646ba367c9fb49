"""A run that waits says for what."""

import threading
import time

import pytest
import tiny

from mstgcn_jax.data import input_pipeline
from mstgcn_jax.errors import DataError
from mstgcn_jax.training import loop, watchdog


@pytest.fixture
def started(monkeypatch):
  """A watchdog whose last step ended at second 1000."""
  monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
  return watchdog.Watchdog()


def test_after_a_minute_without_a_step_the_reason_is_said_once(started):
  started.waits_for("the data of step 7")
  assert started.line(1059.9) is None
  assert started.line(1060) == "no step for 60 s: waiting for the data of step 7"
  assert started.line(1061) is None
  assert started.line(1700) and started.line(1701) is None  # after a long look away, too


def test_it_is_said_again_after_twice_the_time_with_what_holds_then(started):
  started.waits_for("the evaluation")
  lines = [bool(started.line(1000 + second)) for second in range(500)]
  assert [second for second, said in enumerate(lines) if said] == [60, 120, 240, 480]
  started.waits_for("the checkpoint")
  assert started.line(2100) == "no step for 1100 s: waiting for the checkpoint"


def test_a_step_begins_the_minute_anew(started, monkeypatch):
  monkeypatch.setattr(time, "monotonic", lambda: 1050.0)
  started.step_done()
  assert started.line(1109) is None
  assert started.line(1110)


def test_a_batch_of_an_evaluation_does_so_too(copy, tiny_data, monkeypatch):
  (copy / "summary.json").unlink()  # so that the finished run is evaluated again
  step_done, ended = watchdog.Watchdog.step_done, []

  def noted(self):
    ended.append(self._reason)
    step_done(self)

  monkeypatch.setattr(watchdog.Watchdog, "step_done", noted)
  loop.train(tiny.config(tiny_data), copy)
  assert ended[-4:] == ["the results to be written"] * 4  # 27 clips in batches of 8


def test_a_run_without_data_says_so(tiny_data, tmp_path, monkeypatch):
  said = threading.Event()

  def log(message, line):
    said.text = line
    said.set()

  def batches(*args, **kwargs):  # that never come
    assert said.wait(60)
    raise DataError("enough")
    yield

  monkeypatch.setattr(watchdog.Watchdog, "SECONDS", 0.1)
  monkeypatch.setattr(watchdog.Watchdog, "_SECONDS_BETWEEN_LOOKS", 0.01)
  monkeypatch.setattr(watchdog._log, "warning", log)
  monkeypatch.setattr(input_pipeline, "train_batches", batches)
  with pytest.raises(DataError, match="enough"):
    loop.train(tiny.config(tiny_data), tmp_path / "run")
  assert said.text.startswith("no step for 0 s: waiting for the data of step 1 (")
  assert not any(thread.name == "watchdog" for thread in threading.enumerate())
