"""Speed, memory and size of data preparation, and the speed of the input pipeline.

  python benchmarks/data.py [--recordings 2000] [--frames 100] [--workers 1 2] [--folder DIR]

Prints CPU milliseconds to read and normalise one `.skeleton` recording; wall time, speed-up and
resident memory of whole preparations over numbers of worker processes; bytes per clip, frame and
person of the prepared data sets, and what that makes of the published ones; clips per second of the
input pipeline, up to the host batch, over numbers of threads; what the device does with it.
"""

import argparse
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

from data_prep import prepare
from data_prep.readers import ntu
from data_prep.readers.interface import Clip, Recordings, Source
from data_prep.synthetic import skeleton_files
from mstgcn_jax import skeletons
from mstgcn_jax.data.data_set import DataSet, open_data_set

# Clips of all protocols together; four streams as arrays padded to 300 frames and two people, in GB
# (published for joint and bone, twice that for four); assumed frames and people a clip: for NTU
# above what its recordings have, for Kinetics the most there can be.
PUBLISHED = {
  "NTU RGB+D 60": (56_578, 81, 100, 1.5),
  "NTU RGB+D 120": (113_945, 164, 100, 1.5),
  "Kinetics-skeleton": (260_232, 135, 300, 2.0),
}


def make_recordings(folder: pathlib.Path, count: int, frames: int) -> list[pathlib.Path]:
  """The generator's `.skeleton` files, at least `count` of this length; the first `count`."""
  cameras = 2
  performers = -(-count // (len(skeleton_files.CLASS_NAMES) * cameras))
  paths = skeleton_files.generate(
    folder, performers=performers, repetitions=1, cameras=cameras, frames=frames
  )
  for path in paths[count:]:
    path.unlink()
  return paths[:count]


def reading(paths: list[pathlib.Path]) -> None:
  """CPU time of reading and normalising, in this process."""
  classes = len(skeleton_files.CLASS_NAMES)
  for path in paths[:20]:  # imports, caches
    ntu.read_recording(path, source="benchmark", num_classes=classes)
  start = time.process_time()
  clips = [ntu.read_recording(p, source="benchmark", num_classes=classes) for p in paths]
  seconds = time.process_time() - start
  persons = np.mean([len(clip.persons) for clip in clips])
  frames = np.mean([max(map(len, clip.persons), default=0) for clip in clips])
  print(
    f"reading and normalising: {1e3 * seconds / len(paths):.2f} ms CPU a recording "
    f"({len(paths)} of {frames:.0f} frames, {persons:.2f} people)"
  )


def preparation(raw: pathlib.Path, out: pathlib.Path, workers: int) -> tuple[float, float, float]:
  """Wall seconds, CPU seconds and peak resident megabytes of one preparation, all its processes."""
  command = [sys.executable, "-m", "data_prep", "ntu60", "--raw", str(raw), "--out", str(out)]
  command += ["--name", "benchmark", "--overwrite", "--workers", str(workers)]
  start, cpu = time.monotonic(), _children_cpu()
  process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  peak = 0.0
  while process.poll() is None:
    peak = max(peak, sum(map(_resident, _family(process.pid))))
    time.sleep(0.02)
  if process.returncode:
    raise SystemExit(f"failed: {' '.join(command)}")
  return time.monotonic() - start, _children_cpu() - cpu, peak


def _children_cpu() -> float:
  """CPU seconds of the processes that this one started, and of those they started, so far."""
  usage = resource.getrusage(resource.RUSAGE_CHILDREN)
  return usage.ru_utime + usage.ru_stime


def _family(pid: int) -> list[int]:
  """A process and all below it, on Linux."""
  try:
    tasks = pathlib.Path(f"/proc/{pid}/task")
    children = [int(c) for t in tasks.iterdir() for c in (t / "children").read_text().split()]
  except OSError:
    return []
  return [pid, *(below for child in children for below in _family(child))]


def _resident(pid: int) -> float:
  try:
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
  except OSError:
    return 0.0
  return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def scaling(paths: list[pathlib.Path], folder: pathlib.Path, workers: list[int]) -> None:
  """Whole preparations; a quarter of the recordings shows that memory doesn't grow with them."""
  quarter = folder / "quarter"
  quarter.mkdir(exist_ok=True)
  for path in paths[: len(paths) // 4]:
    link = quarter / path.name
    if not link.exists():
      link.symlink_to(path.resolve())
  for count in workers:
    wall, cpu, peak = preparation(paths[0].parent, folder, count)
    small_wall, small_cpu, small_peak = preparation(quarter, folder, count)
    # the difference leaves out what starting costs, which does not depend on the recordings
    more = len(paths) - len(paths) // 4
    print(
      f"preparing with {count} worker(s): {wall:.1f} s for {len(paths)} recordings; after the "
      f"start {more / (wall - small_wall):.0f} a second, {1e3 * (cpu - small_cpu) / more:.2f} ms "
      f"CPU each in all processes; {peak:.0f} MB resident "
      f"({small_peak:.0f} MB for {len(paths) // 4} recordings)"
    )
  preparation(paths[0].parent, folder, max(workers))  # the whole set, for what follows


def bytes_per_frame(data_set: DataSet) -> float:
  """Stored bytes per clip, frame and person; the clip table counts."""
  frames = sum(len(person) for row in range(len(data_set)) for person in data_set.read([row])[0])
  stored = sum(path.stat().st_size for path in data_set.path.iterdir())
  return stored / frames


def openpose_like(index: int) -> Clip:
  """Two people walking about in an image, 300 frames: OpenPose's noise, gaps and three decimals."""
  rng = np.random.default_rng(index)
  shape = (2, 300, 18)
  place = rng.uniform(0.3, 0.7, (2, 1, 1, 2)) + rng.normal(0, 0.12, (2, 1, 18, 2))
  walk = rng.normal(0, 0.004, (2, 300, 1, 2)) + rng.normal(0, 0.004, (*shape, 2))
  joints = place + np.cumsum(walk, axis=1) + rng.normal(0, 0.003, (*shape, 2))
  score = rng.uniform(0.4, 0.9, (2, 1, 18)) + rng.normal(0, 0.06, shape)
  score[rng.random(shape) < 0.05] = 0
  score = np.round(score.clip(0, 1), 3)[..., None]
  joints = np.where(score > 0, np.round(joints, 3).clip(0, 1) - 0.5, 0)
  return Clip(f"c{index}", 0, list(np.concatenate([joints, score], axis=-1).astype(np.float32)))


def openpose_data_set(folder: pathlib.Path) -> DataSet:
  """A data set like Kinetics-skeleton, stored as its source stores it."""
  recordings = Recordings(
    keys=range(200),
    read=openpose_like,
    skeleton=skeletons.get("kinetics"),
    class_names=("walk",),
    fill="zero",
    storage_scale=1000,
    parallel=False,
  )
  args = argparse.Namespace(
    raw=folder, out=folder, name="openpose", overwrite=True, workers=1, max_bad=1.0
  )
  prepare.prepare(Source("openpose", "", lambda raw, args: recordings, makes_raw=True), args)
  return open_data_set(folder / "openpose")


def sizes(folder: pathlib.Path) -> None:
  """Measured bytes, and the published data sets' at these."""
  three_d = bytes_per_frame(open_data_set(folder / "benchmark"))
  two_d = bytes_per_frame(openpose_data_set(folder))
  print(f"stored: {three_d:.0f} bytes per clip, frame and person (25 joints, float32)")
  print(f"stored: {two_d:.0f} bytes per clip, frame and person (18 joints, three decimals)")
  for name, (clips, arrays, frames, persons) in PUBLISHED.items():
    gigabytes = clips * frames * persons * (two_d if "Kinetics" in name else three_d) / 1e9
    print(
      f"{name}: {clips:,} clips of {frames} frames and {persons} people make {gigabytes:.1f} GB; "
      f"four streams as arrays {arrays} GB: {arrays / gigabytes:.0f} times"
    )


def pipeline(data_set: DataSet, threads: int, steps: int = 24, repeats: int = 20) -> None:
  """Clips per second with nothing else to do, 300 frames, 2 people, batches of 64.

  The best of several short runs, because other programs may use the same cores.
  """
  from mstgcn_jax.data import input_pipeline

  input_pipeline.THREADS = threads
  batches = input_pipeline.train_batches(
    data_set, np.arange(len(data_set)), data_set.sampling(300), batch_size=64, seed=0
  )
  for _ in range(10):
    batch = next(batches)
  runs = []
  for _ in range(repeats):
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
      batch = next(batches)
    runs.append((time.perf_counter() - wall, time.process_time() - cpu))
  batches.close()
  wall, cpu = np.min(runs, axis=0)
  clips = steps * 64
  print(
    f"input pipeline, {threads} thread(s): {clips / wall:.0f} clips per second, "
    f"{1e6 * cpu / clips:.0f} us CPU a clip ({data_set.skeleton.num_joints} joints), "
    f"{(batch['frames'].nbytes + batch['shown'].nbytes) / 64e3:.0f} kB a clip to the device"
  )


def expansion(data_set: DataSet, repeats: int = 50) -> None:
  """Time of making clips of such a batch, on JAX's first device."""
  import jax

  from mstgcn_jax.data import input_pipeline
  from mstgcn_jax.training import device_batches, train_step

  mesh = train_step.make_mesh(jax.devices()[:1])
  batches = input_pipeline.train_batches(
    data_set, np.arange(len(data_set)), data_set.sampling(300), batch_size=64, seed=0
  )
  batch = next(batches)
  batches.close()
  arrays = train_step.shard_batch(mesh, {name: batch[name] for name in ("frames", "shown")})
  expand = device_batches.expander(mesh, data_set.scale, data_set.center)
  seconds = []
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(expand(arrays["frames"], arrays["shown"]))
    seconds.append(time.perf_counter() - start)
  print(
    f"clips of a batch, {jax.devices()[0].device_kind}: {1e6 * min(seconds) / 64:.1f} us a clip"
  )


def main() -> None:
  """All of it."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--recordings", type=int, default=2000)
  parser.add_argument("--frames", type=int, default=100)
  parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
  parser.add_argument("--folder", type=pathlib.Path, help="kept; a temporary one if not given")
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as temporary:
    folder = args.folder or pathlib.Path(temporary)
    paths = make_recordings(folder / "raw", args.recordings, args.frames)
    reading(paths)
    scaling(paths, folder, args.workers)
    sizes(folder)
    data_set = open_data_set(folder / "benchmark")
    for threads in (1, 2, 4, 8):
      pipeline(data_set, threads)
    expansion(data_set)


if __name__ == "__main__":
  main()
