"""Kills a run again and again and compares its end with an uninterrupted one's, bit by bit.

By hand: python tests/kill_test.py [--kills 20] [--seed 0]. pytest runs it with fewer kills.
"""

import argparse
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import tiny


def command(data: pathlib.Path, workdir: pathlib.Path, epochs: int) -> list[str]:
  """The command of a run that takes some seconds and saves every seventh step."""
  return [
    *tiny.TRAIN,
    f"--config={tiny.CONFIG}",
    f"--workdir={workdir}",
    f"--config.data.dir={data}",
    f"--config.epochs={epochs}",
    "--config.save_every_steps=7",
    "--config.eval_every=5",
  ]


def run_with_kills(argv: list[str], kills: int, seed: int, log: pathlib.Path) -> tuple[int, int]:
  """Starts a run until it ends, killing it at random moments; returns (kills, exit status)."""
  rng = random.Random(seed)
  done = 0
  while True:
    with open(log, "wb") as output:
      process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT)
    if done < kills:
      # Most often among the steps and checkpoints, now and then during the start.
      if rng.random() < 0.8:
        while process.poll() is None and b"first step" not in log.read_bytes():
          time.sleep(0.05)
        time.sleep(rng.uniform(0.0, 1.5))
      else:
        time.sleep(rng.uniform(0.0, 6.0))
      process.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM]))
      if process.wait() != 0:
        done += 1
        continue
    return done, process.wait()


def compare(kills: int, seed: int, root: pathlib.Path, epochs: int) -> tuple[int, list[str]]:
  """Runs both and returns how often it was killed and what differs in the end."""
  data = tiny.prepare(root / "data")
  whole, killed = root / "whole", root / "killed"
  subprocess.run(command(data, whole, epochs), check=True, stdout=subprocess.DEVNULL)
  done, status = run_with_kills(command(data, killed, epochs), kills, seed, root / "killed.log")
  if status:
    return done, [f"the last start ended with {status}: {(root / 'killed.log').read_text()}"]
  (step_a, arrays_a), (step_b, arrays_b) = tiny.arrays(whole), tiny.arrays(killed)
  rows_a, rows_b = ((workdir / "metrics.csv").read_bytes() for workdir in (whole, killed))
  different = [name for name in arrays_a if arrays_a[name] != arrays_b.get(name)]
  different += ["step"] * (step_a != step_b) + ["metrics.csv"] * (rows_a != rows_b)
  return done, different


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--kills", type=int, default=20)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--epochs", type=int, default=64, help="enough for the kills (default 64)")
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as root:
    done, different = compare(args.kills, args.seed, pathlib.Path(root), args.epochs)
  if done < args.kills:
    print(f"the run ended after {done} kills; --epochs is too small for {args.kills}")
  print(f"killed {done} times; " + (f"DIFFERENT: {different}" if different else "bitwise equal"))
  return 1 if different or done < args.kills else 0


if __name__ == "__main__":
  sys.exit(main())
