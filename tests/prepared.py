"""Data sets made of arrays, and the command that prepares them, for tests."""

import argparse
import csv
import functools
import os
import pathlib
import time

import numpy as np

from data_prep import prepare as preparation
from data_prep.readers.interface import Clip, Recordings, Source
from mstgcn_jax import skeletons
from mstgcn_jax.data.data_set import DataSet, open_data_set

NTU = skeletons.get("ntu_rgbd")


def arguments(out: pathlib.Path, **changes) -> argparse.Namespace:
  """What the command line would give."""
  defaults = {
    "raw": out,
    "out": out,
    "name": "fake",
    "overwrite": False,
    "workers": 1,
    "max_bad": 1.0,
    "ignore_list": None,
  }
  return argparse.Namespace(**(defaults | changes))


def source(clips, **fields) -> Source:
  """A source of clips (or of exceptions to raise) that are in memory."""

  def read(index):
    if isinstance(clips[index], Exception):
      raise clips[index]
    return clips[index]

  values = {"skeleton": NTU, "class_names": tuple("abcdef"), "center": NTU.center} | fields
  return Source(
    "fake",
    "for tests",
    lambda raw, args: Recordings(keys=range(len(clips)), read=read, parallel=False, **values),
    makes_raw=True,
  )


def prepare(out: pathlib.Path, clips, *, arguments_=None, **fields) -> DataSet:
  """Writes the clips as a data set below `out` and opens it."""
  args = arguments(out, **(arguments_ or {}))
  preparation.prepare(source(clips, **fields), args)
  return open_data_set(out / args.name)


def random_clips(count: int, seed: int = 0, frames=(5, 30)) -> list[Clip]:
  """NTU-like clips of unequal lengths; person 1 is there in every second."""
  rng = np.random.default_rng(seed)
  clips = []
  for i in range(count):
    sequences = [
      rng.normal(size=(int(rng.integers(*frames)), NTU.num_joints, 3)).astype(np.float32)
      for _ in range(1 + i % 2)
    ]
    facts = {"subject": 1 + i % 7, "camera": 1 + i % 3, "setup": 1 + i % 4}
    clips.append(Clip(f"clip{i:03d}", i % 6, sequences, facts))
  return clips


def slow_clip(pids: pathlib.Path, index: int) -> Clip:
  """A clip that takes its time; says in a file who read it."""
  with pids.open("a") as file:
    file.write(f"{os.getpid()}\n")
  time.sleep(0.02)
  return Clip(f"c{index:04d}", 0, [np.ones((4, 25, 3), np.float32)])


def prepare_slowly(out: pathlib.Path, pids: pathlib.Path, count: int, **arguments_) -> None:
  """A preparation in worker processes that can be killed meanwhile."""
  recordings = Recordings(
    keys=range(count),
    read=functools.partial(slow_clip, pids),
    skeleton=NTU,
    class_names=("a",),
  )
  slow = Source("fake", "for tests", lambda raw, args: recordings, makes_raw=True)
  preparation.prepare(slow, arguments(out, workers=2, **arguments_))


def report(data_set):
  """Recordings that a data set left out, and why."""
  with (data_set.path / "report.csv").open() as file:
    return {row["name"]: row["reason"] for row in csv.DictReader(file)}
