"""How a run is asked to end."""

import os
import signal

import numpy as np
import pytest
from jax.experimental import multihost_utils

from mstgcn_jax.errors import Preempted
from mstgcn_jax.training import preemption


def test_the_first_ctrl_c_is_noted_and_the_second_ends(capfd):
  before = signal.getsignal(signal.SIGINT)  # ignored where a shell started the tests with &
  with preemption.StopSignal() as stop:
    signal.raise_signal(signal.SIGINT)
    assert stop.received
    assert "Ctrl-C once more ends at once" in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)
  assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_between_two_runs_of_a_command_is_heeded(capfd):
  with preemption.StopSignal() as stop:
    stop.check("nothing")
    for _ in range(2):  # clusters may say it twice
      signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Preempted, match="asked to end: seeds before 1 are finished"):
      stop.check("seeds before 1 are finished")
  assert "Ctrl-C" not in capfd.readouterr().err


def test_ctrl_c_is_noted_although_nobody_reads_what_is_said_of_it(capfd):
  kept = os.dup(2)
  read, write = os.pipe()  # as under `2>&1 | tee log`, whose tee Ctrl-C has ended
  os.close(read)
  os.dup2(write, 2)
  try:
    with preemption.StopSignal() as stop:
      signal.raise_signal(signal.SIGINT)
      assert stop.received
  finally:
    os.dup2(kept, 2)
    for number in (kept, write):
      os.close(number)


def test_all_processes_end_where_one_was_asked_to(monkeypatch):
  monkeypatch.setattr(multihost_utils, "process_allgather", lambda ours: np.stack([ours, 1]))
  with pytest.raises(Preempted):
    preemption.StopSignal().check("seeds before 1 are finished")
