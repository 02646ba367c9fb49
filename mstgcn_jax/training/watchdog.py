"""Says what a run waits for when no step has come for a while."""

import logging
import threading
import time

_log = logging.getLogger("mstgcn_jax")


class Watchdog:
  """Logs a line after a minute without a step, and after 2, 4, 8, …; a context manager.

  with Watchdog() as watchdog:
    for step in …:
      watchdog.waits_for(f"batch {step}")
      …
      watchdog.step_done()
  """

  SECONDS = 60.0
  _SECONDS_BETWEEN_LOOKS = 1.0

  def __init__(self):
    self._reason = "the first step"
    self._ended = threading.Event()
    self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
    self.step_done()

  def waits_for(self, reason: str) -> None:
    """Notes what keeps the run from its next step from now on."""
    self._reason = reason

  def step_done(self) -> None:
    """Notes that a step has ended, or a batch of an evaluation."""
    self._last_step, self._patience = time.monotonic(), self.SECONDS

  def line(self, now: float) -> str | None:
    """What there is to say at this time of `time.monotonic`, if anything; once."""
    seconds = now - self._last_step
    if seconds < self._patience:
      return None
    while self._patience <= seconds:
      self._patience *= 2
    return f"no step for {seconds:.0f} s: waiting for {self._reason}"

  def _watch(self) -> None:
    while not self._ended.wait(self._SECONDS_BETWEEN_LOOKS):
      if line := self.line(time.monotonic()):
        _log.warning("%s", line)

  def __enter__(self) -> "Watchdog":
    self._thread.start()
    return self

  def __exit__(self, *_) -> None:
    self._ended.set()
    self._thread.join()
