"""How long a stream takes to answer: python benchmarks/stream.py runs/quickstart

Frames of two people who walk about, an answer at every frame, on one core. The time is from the
frame to the probabilities: ring buffer, turning and centring, sampling, network.
"""

import argparse
import os
import pathlib
import time

import numpy as np


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("run", type=pathlib.Path)
  parser.add_argument("--frames", type=int, help="as of mstgcn stream")
  parser.add_argument("--hops", type=int, default=500)
  args = parser.parse_args()
  if hasattr(os, "sched_setaffinity"):  # before XLA counts the cores
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
  from mstgcn_jax.commands import process

  process.quiet_libraries()
  process.start()
  from mstgcn_jax.use.stream import Stream

  stream = Stream(args.run, frames=args.frames, hop=1)
  rng = np.random.default_rng(0)
  shape = (2, stream.classifier.skeleton.num_joints, stream.classifier.channels)
  frame = rng.normal(size=shape).astype(np.float32)
  times = []
  while len(times) < args.hops:
    frame = frame + rng.normal(0, 0.01, shape).astype(np.float32)
    start = time.perf_counter()
    if stream.push(frame) is not None:
      times.append(time.perf_counter() - start)
  ms = 1000 * np.array(times[5:])
  print(
    f"{stream.frames} frames, {len(ms)} hops: median {np.median(ms):.1f} ms, "
    f"p99 {np.percentile(ms, 99):.1f} ms, {1000 / ms.mean():.0f} hops a second on one core"
  )


if __name__ == "__main__":
  main()
