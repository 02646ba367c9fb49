"""What a run tells: log lines, metrics.csv, TensorBoard events and the progress bar."""

import array
import collections
import contextlib
import csv
import functools
import logging
import os
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from mstgcn_jax import files
from mstgcn_jax.data import input_pipeline
from mstgcn_jax.errors import DataError, RunError, first_line
from mstgcn_jax.evaluation import metrics, plots

_FIGURES = (*metrics.FIGURES, "learning_rate", "grad_norm")
COLUMNS = ("step", "epoch", "split", "stream", *_FIGURES)
# What `read_curves` keeps of them.
_CURVE = ("step", "epoch", "loss", "top1", "learning_rate")
_log = logging.getLogger("mstgcn_jax")


class _Console(logging.Handler):
  """Prints beside a live progress bar without tearing it."""

  def emit(self, record):
    # A program that calls `train` may print in fewer letters, which is no reason to end it.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = self.format(record).encode(encoding, "replace").decode(encoding)
    with contextlib.suppress(BrokenPipeError):  # a run outlives a `tee` beside; log.txt has it all
      tqdm.write(text, file=sys.stdout)
      sys.stdout.flush()


@contextlib.contextmanager
def logging_to(workdir: pathlib.Path, *, quiet: bool = False) -> Iterator[None]:
  """Sends the project's messages to stdout and, with the time, to `workdir`/log.txt.

  The file is made by the first message. Within another, the inner one's file gets them.

  Args:
    quiet: say nothing (every process but the first).
  """
  before = _log.handlers, _log.level, _log.propagate
  file = logging.FileHandler(workdir / "log.txt", encoding="utf-8", delay=True)
  file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
  _log.handlers = [logging.NullHandler()] if quiet else [_Console(), file]
  _log.setLevel(logging.INFO)
  _log.propagate = False
  try:
    yield
  finally:
    file.close()
    _log.handlers, _log.level, _log.propagate = before


class MetricsFile:
  """metrics.csv: one row per step and evaluation, without anything that differs between machines.

  Opening it cuts off the rows after `step`, and those of an evaluation at `step` unless
  `evaluated`, so that a resumed run writes what an uninterrupted one would have written. Numbers
  are written with all their digits.
  """

  def __init__(self, path: pathlib.Path, step: int, *, evaluated: bool):
    keeps = lambda row: int(row["step"]) < step + (row["split"] == "train" or evaluated)
    last = 0
    with files.written_whole(path) as aside, open(aside, "w", newline="") as file:
      writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
      writer.writeheader()
      if step and path.exists():
        for row in filter(keeps, read_metrics(path)):
          writer.writerow(row)
          last = int(row["step"])
    if last < step:
      _log.info("note: %s has no rows of steps %d to %d any more", path, last + 1, step)
    self._path = path
    self._file = open(path, "a", newline="")  # noqa: SIM115 (open as long as the run)
    self._writer = csv.DictWriter(self._file, COLUMNS, lineterminator="\n")

  def add(self, **row: Any) -> None:
    """Adds a row; absent columns stay empty."""
    self._writer.writerow(row)

  def flush(self) -> None:
    """Returns when all rows are on the disk: before a checkpoint says they happened.

    Raises:
      RunError: the file was moved or deleted, so that checkpoints would come without it.
    """
    self._file.flush()
    os.fsync(self._file.fileno())
    if not self._path.exists():
      raise RunError(
        f"{self._path} is gone: was its folder moved or deleted, or a disk taken away? Where the "
        "folder is whole, the same command goes on"
      )

  def close(self) -> None:
    self.flush()
    self._file.close()


def read_metrics(path: pathlib.Path) -> Iterator[dict[str, str]]:
  """The rows of a metrics.csv, but for half of one that a killed run may have left at its end.

  Raises:
    DataError: a line is none that a run writes.
  """
  try:
    with open(path, newline="") as file:
      whole = (line for line in file if line.endswith("\n"))
      lines = csv.reader(whole, quoting=csv.QUOTE_NONE)  # no row is of several lines
      if tuple(next(lines, COLUMNS)) != COLUMNS:
        raise ValueError(f"expected {','.join(COLUMNS)}")
      for values in lines:
        if len(values) != len(COLUMNS):
          raise ValueError(f"it has {len(values)} values; expected {len(COLUMNS)}")
        row = dict(zip(COLUMNS, values, strict=True))
        if not (row["step"].isdecimal() and row["epoch"].isdecimal() and int(row["epoch"])):
          raise ValueError(f"step {row['step']!r} and epoch {row['epoch']!r} count from 1")
        for value in filter(None, map(row.get, _FIGURES)):
          float(value)
        yield row
  except (ValueError, csv.Error) as error:
    raise DataError(
      f"{path}: line {lines.line_num} is damaged ({first_line(error)}); delete that line, or the "
      "file, to go on"
    ) from error


def read_curves(path: pathlib.Path) -> plots.Curves:
  """What a metrics.csv has to draw: step, epoch, loss, top1 and learning_rate of every split and
  stream, nan where a row has none; errors as of `read_metrics`."""
  found = collections.defaultdict(lambda: array.array("d"))  # a long run has a million rows
  for row in read_metrics(path):
    found[row["split"], row["stream"]].extend(float(row[name] or "nan") for name in _CURVE)
  return {
    key: dict(zip(_CURVE, np.reshape(values, (-1, len(_CURVE))).T, strict=True))
    for key, values in found.items()
  }


class ProgressBar:
  """A live bar on a terminal; elsewhere a plain line now and then."""

  SECONDS_BETWEEN_LINES = 30.0

  def __init__(self, *, first: int, total: int, batch_size: int, enabled: bool):
    self._live = enabled and sys.stdout.isatty()
    self._lines = enabled and not self._live
    self._batch_size = batch_size
    self._first, self._total = first, total
    self._bar: tqdm | None = None
    self._start: float | None = None
    self._busy = 0.0  # seconds since then that were no steps
    self._last_line = time.monotonic()

  def update(self, step: int, *, epoch: int, loss: float, learning_rate: float) -> None:
    """Shows the figures of a step that is done."""
    now = time.monotonic()
    if self._start is None:  # the first step compiles: rate and estimate count from its end
      self._start, self._first, self._busy = now, step, 0.0
      if self._live:
        self._bar = self._new_bar()
    steps, seconds = step - self._first, now - self._start
    rate = self._batch_size * steps / max(seconds - self._busy, 1e-9)
    text = f"epoch {epoch}  {rate:.0f} clips/s  loss {loss:.3f}  lr {learning_rate:.2g}"
    if self._bar is not None:
      self._bar.set_postfix_str(text, refresh=False)
      self._bar.update(step - self._bar.n)
    elif self._lines and steps and now - self._last_line > self.SECONDS_BETWEEN_LINES:
      self._last_line = now
      left = (self._total - step) * seconds / steps  # with evaluations as often as so far
      _log.info("step %d/%d  %s  %s left", step, self._total, text, tqdm.format_interval(left))

  @contextlib.contextmanager
  def busy(self, what: str) -> Iterator[None]:
    """Says beside the bar what takes long and is no step, so that clips/s don't count its time."""
    if self._bar is not None:
      self._bar.set_postfix_str(what)
    start = time.monotonic()
    yield
    self._busy += time.monotonic() - start

  def _new_bar(self) -> tqdm:
    wide = os.get_terminal_size(sys.stdout.fileno()).columns > 0  # some terminals don't know
    return tqdm(
      total=self._total,
      initial=self._first,
      unit="step",
      file=sys.stdout,
      dynamic_ncols=wide,
      ncols=None if wide else 80,
      smoothing=0.05,
    )

  def close(self) -> None:
    if self._bar is not None:
      self._bar.close()


@contextlib.contextmanager
def _says_why_not(workdir: pathlib.Path):
  """A full disk becomes a RunError that says so."""
  try:
    yield
  except (DataError, RunError):
    raise
  except Exception as error:  # TensorFlow raises types of its own
    raise RunError(
      f"metrics.csv or the TensorBoard events in {workdir} could not be written "
      f"({first_line(error)}); older checkpoints are whole, and the same command goes on from "
      "the newest"
    ) from error


def _written(method):
  """Does nothing where recording is off, and says why where it fails."""

  @functools.wraps(method)
  def wrapper(self, *args, **kwargs):
    if self._enabled:
      with _says_why_not(self._workdir):
        method(self, *args, **kwargs)

  return wrapper


class Recorder(contextlib.AbstractContextManager):
  """Writes a run's figures to metrics.csv, TensorBoard and the progress bar.

  In every process but the first it writes nothing.

  Args:
    first_step: that the run goes on from.
    evaluated: whether the state of that step was evaluated, and metrics.csv says so.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    *,
    first_step: int,
    evaluated: bool,
    total_steps: int,
    steps_per_epoch: int,
    batch_size: int,
    hyperparameters: dict[str, Any],
    enabled: bool,
  ):
    self._enabled = enabled
    self._workdir = workdir
    self._steps_per_epoch = steps_per_epoch
    self.bar = ProgressBar(
      first=first_step, total=total_steps, batch_size=batch_size, enabled=enabled
    )
    if enabled:
      input_pipeline.tensorflow()
      from clu import metric_writers  # which imports it

      with _says_why_not(workdir):
        self._file = MetricsFile(workdir / "metrics.csv", first_step, evaluated=evaluated)
        self._board = metric_writers.SummaryWriter(str(workdir / "tensorboard"))
        self._board.write_hparams(hyperparameters)

  def epoch(self, step: int) -> int:
    """The epoch that a step (counted from 1) is part of, counted from 1."""
    return (step - 1) // self._steps_per_epoch + 1

  @_written
  def step(self, step: int, outputs: dict[str, dict[str, Any]]) -> None:
    """Records a training step: stream -> figures."""
    scalars = {}
    for stream, values in outputs.items():
      row = {name: values[name] for name in ("loss", "top1", "learning_rate", "grad_norm")}
      self._file.add(step=step, epoch=self.epoch(step), split="train", stream=stream, **row)
      scalars |= _tagged("train", stream, row, alone=len(outputs) == 1)
    self._board.write_scalars(step, scalars)
    first = next(iter(outputs.values()))
    self.bar.update(
      step, epoch=self.epoch(step), loss=first["loss"], learning_rate=first["learning_rate"]
    )

  @_written
  def evaluation(self, step: int, split: str, results: dict[str, dict[str, float]]) -> None:
    """Records an evaluation: stream or fusion -> figures of `metrics.summarize`."""
    for stream, row in results.items():
      self._file.add(step=step, epoch=self.epoch(step), split=split, stream=stream, **row)
      self._board.write_scalars(step, _tagged(split, stream, row, alone=len(results) == 1))

  @_written
  def scalars(self, step: int, values: dict[str, float]) -> None:
    """Records figures of the run itself (speed, memory), which metrics.csv leaves out."""
    self._board.write_scalars(step, values)

  @_written
  def images(self, step: int, images: dict[str, np.ndarray]) -> None:
    """Records images [1, height, width, 3] in 0 to 1."""
    self._board.write_images(step, images)

  @_written
  def flush(self) -> None:
    """Returns when metrics.csv is on the disk: before a checkpoint says that it happened."""
    self._file.flush()
    self._board.flush()

  @_written
  def close(self) -> None:
    self._file.close()
    self._board.close()

  def __exit__(self, kind, *_):
    self.bar.close()
    # What ended the run must not be hidden by a second error, of a disk that is full.
    with contextlib.suppress(RunError) if kind else contextlib.nullcontext():
      self.close()


def _tagged(split: str, stream: str, row: dict[str, Any], *, alone: bool) -> dict[str, Any]:
  """Figures by TensorBoard's tags, of which the stream is part where there are several."""
  suffix = "" if alone else f"/{stream}"
  return {f"{split}/{name}{suffix}": value for name, value in row.items()}


class Clock:
  """Speed of the steps, without what lies between them (compiling, evaluating, saving)."""

  def __init__(self, step: int):
    self._first_step_seconds: float | None = None
    self.restart(step)

  def restart(self, step: int) -> None:
    self._start, self._step, self._waited = time.monotonic(), step, 0.0

  @contextlib.contextmanager
  def waiting(self):
    """Counts the time inside as waiting for data."""
    start = time.monotonic()
    yield
    self._waited += time.monotonic() - start

  def dispatched(self, step: int, outputs: Any) -> None:
    """Sets the first step, which compiles, apart from the others."""
    if self._first_step_seconds is None:
      jax.block_until_ready(outputs)
      self._first_step_seconds = time.monotonic() - self._start
      _log.info("compiled and ran the first step in %.1f s", self._first_step_seconds)
      self.restart(step)

  def figures(self, step: int, batch_size: int) -> dict[str, float]:
    """TensorBoard scalars: clips per second, share of time waiting for data, the first step's
    time, which compiles, and device memory."""
    seconds, steps = max(time.monotonic() - self._start, 1e-9), step - self._step
    result = {"run/first_step_seconds": self._first_step_seconds}
    if not steps:  # the first step, which compiles, was all there was
      return result
    result["run/clips_per_second"] = steps * batch_size / seconds
    result["run/data_wait_share"] = self._waited / seconds
    memory = jax.local_devices()[0].memory_stats()
    if memory:  # None on a CPU
      result["run/device_memory_gib"] = memory["peak_bytes_in_use"] / 2**30
    _log.info(
      "%.1f clips/s, %.1f %% of the time waiting for data",
      result["run/clips_per_second"],
      100 * result["run/data_wait_share"],
    )
    return result


class Tracer(contextlib.AbstractContextManager):
  """Traces the `steps` steps after step `first` for TensorBoard's profile tab; 0 traces none."""

  def __init__(self, workdir: pathlib.Path, *, first: int, steps: int):
    self._directory = str(workdir / "tensorboard")
    self._first, self._last = first, first + steps
    self._running, self._done = False, not steps

  def __exit__(self, *_):
    if self._running:
      jax.profiler.stop_trace()
    elif not self._done:
      _log.info("the run ended before step %d: no step was profiled", self._first)

  def step(self, step: int) -> None:
    """Starts or ends the trace after this step."""
    if not self._running and step == self._first < self._last:
      jax.profiler.start_trace(self._directory)
      self._running = self._done = True
    elif self._running and step >= self._last:
      jax.profiler.stop_trace()
      self._running = False
      _log.info("profile of %d steps in %s", self._last - self._first, self._directory)
