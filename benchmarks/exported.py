"""Time of one clip by exported files, on one core: python exported.py quickstart.onnx …

Takes what `mstgcn export` wrote (.stablehlo, .onnx, .tflite, a SavedModel's folder) and prints the
median and the 99th percentile of 200 calls, in milliseconds, by the clock and of CPU time. With
--run WORKDIR, top-1 on the run's evaluation clips instead.
"""

import argparse
import os
import pathlib
import time

os.environ |= {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
if hasattr(os, "sched_setaffinity"):
  os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])

import numpy as np

from mstgcn_jax import files
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import experiment
from mstgcn_jax.use import export
from mstgcn_jax.use.classifier import Classifier

CALLS, WARM_UP = 200, 10


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("files", nargs="+", type=pathlib.Path)
  parser.add_argument("--run", type=pathlib.Path, help="its evaluation clips are classified")
  args = parser.parse_args()
  if args.run:
    accuracy(args.files, args.run)
  else:
    times(args.files)


def accuracy(paths: list[pathlib.Path], workdir: pathlib.Path) -> None:
  """Prints how many of a run's evaluation clips each file gets right, one clip a call."""
  config = config_lib.read(workdir / "config.json")
  data_set, classify = experiment.data_set_of(workdir), Classifier(workdir)
  rows = experiment.make_split(config, data_set).eval
  clips = [classify.from_data_set(data_set, row) for row in rows.tolist()]
  labels = data_set.table["label"][rows]
  for path in paths:
    run, _ = load(path)
    said = np.array([np.asarray(run(clip[None]))[0].argmax() for clip in clips])
    right = int((said == labels).sum())
    print(f"{path.name:32} {right} of {len(clips)} clips right, {100 * right / len(clips):.2f} %")


def load(path: pathlib.Path):
  """The file as a function of clips, and what OUT.json says of it."""
  facts = files.read_json(path.with_name(path.name + ".json"))
  return export.FORMATS[facts["format"]].load(path), facts


def times(paths: list[pathlib.Path]) -> None:
  """Prints what a call with one clip takes."""
  print(f"{'file':32} {'median':>8} {'p99':>8} {'CPU median':>11} {'CPU p99':>8} {'MB':>6}")
  for path in paths:
    run, facts = load(path)
    shape = (1, *facts["input"]["shape"][1:])
    clip = np.random.default_rng(0).normal(0, 0.3, shape).astype(np.float32)
    taken = []
    for _ in range(WARM_UP + CALLS):
      start = time.perf_counter(), time.process_time()
      np.asarray(run(clip))
      taken.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    ms = 1e3 * np.array(taken[WARM_UP:])
    clock, cpu = (np.quantile(ms[:, i], [0.5, 0.99]) for i in (0, 1))
    size = sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file()) / 1e6
    print(
      f"{path.name:32} {clock[0]:8.1f} {clock[1]:8.1f} {cpu[0]:11.1f} {cpu[1]:8.1f} {size:6.2f}",
      flush=True,
    )


if __name__ == "__main__":
  main()
