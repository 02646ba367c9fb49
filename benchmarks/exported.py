"""Time of one clip by exported files, on one core: python exported.py quickstart.onnx …

Takes what `mstgcn export` wrote (.stablehlo, .onnx, .tflite, a SavedModel's folder) and prints the
median and the 99th percentile of 200 calls, in milliseconds, by the clock and of CPU time.
"""

import os
import pathlib
import sys
import time

os.environ |= {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
if hasattr(os, "sched_setaffinity"):
  os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])

import numpy as np

from mstgcn_jax import files
from mstgcn_jax.use import export

CALLS, WARM_UP = 200, 10


def main(paths: list[str]) -> None:
  print(f"{'file':32} {'median':>8} {'p99':>8} {'CPU median':>11} {'CPU p99':>8}")
  for path in map(pathlib.Path, paths):
    facts = files.read_json(path.with_name(path.name + ".json"))
    run = export.FORMATS[facts["format"]][2](path)
    shape = (1, *facts["input"]["shape"][1:])
    clip = np.random.default_rng(0).normal(0, 0.3, shape).astype(np.float32)
    times = []
    for _ in range(WARM_UP + CALLS):
      start = time.perf_counter(), time.process_time()
      np.asarray(run(clip))
      times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    ms = 1e3 * np.array(times[WARM_UP:])
    clock, cpu = (np.quantile(ms[:, i], [0.5, 0.99]) for i in (0, 1))
    print(f"{path.name:32} {clock[0]:8.1f} {clock[1]:8.1f} {cpu[0]:11.1f} {cpu[1]:8.1f}")


if __name__ == "__main__":
  main(sys.argv[1:])
