"""Ending a run when it is asked to: by SIGTERM, as clusters do, or by Ctrl-C."""

import contextlib
import os
import signal
import threading

import numpy as np
from jax.experimental import multihost_utils

from mstgcn_jax.errors import Preempted


class StopSignal:
  """Notes SIGTERM and Ctrl-C instead of dying of them, so that the loop can save first.

  A second Ctrl-C ends at once. Outside the main thread, where Python allows no handlers, nothing
  is noted.
  """

  def __init__(self):
    self.received = False
    self._previous = {}

  def __enter__(self):
    if threading.current_thread() is threading.main_thread():
      for number in (signal.SIGTERM, signal.SIGINT):
        self._previous[number] = signal.signal(number, self._note)
    return self

  def _note(self, number, _):
    if number == signal.SIGINT:
      if self.received:
        raise KeyboardInterrupt
      # Not print: the main thread may be in the middle of it. Ctrl-C ends a `tee` beside, too.
      with contextlib.suppress(OSError):
        os.write(2, b"\nsaving and ending after this step; Ctrl-C once more ends at once\n")
    self.received = True

  def check(self, done: str) -> None:
    """Raises Preempted if any process was asked to end; to be called by all of them."""
    if np.any(multihost_utils.process_allgather(np.int32(self.received))):
      raise Preempted(f"asked to end: {done}; the same command goes on from there")

  def __exit__(self, *_):
    for number, previous in self._previous.items():
      signal.signal(number, previous)
