"""Commands that end the process, in tests that go on."""

import pytest

from mstgcn_jax.commands import process


class Ended(BaseException):
  """Stands for the end of the process."""


def catch_ends(monkeypatch: pytest.MonkeyPatch) -> list[int]:
  """Has `process` raise `Ended` instead of ending; the exit statuses go into the list."""
  statuses = []

  def end(status):
    statuses.append(status)
    raise Ended

  monkeypatch.setattr(process.os, "_exit", end)
  monkeypatch.setattr(process.logging, "shutdown", lambda: None)
  return statuses
