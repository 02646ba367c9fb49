"""Writes one page of runs: mstgcn report runs/joint runs/bone --out report.html

Settings, curves, confusion matrix, table per class, calibration, the worst mistakes as moving
skeletons, runs side by side. The page needs nothing beside it and no network.
"""

import pathlib

from mstgcn_jax.commands import process


def main(argv: list[str]) -> int:
  parser = process.parser("report", __doc__)
  parser.add_argument("workdirs", nargs="+", type=pathlib.Path, help="of finished runs")
  parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("report.html"))
  parser.add_argument("--data", type=pathlib.Path, help="prepared data set to draw clips from")
  args = parser.parse_args(argv)
  from mstgcn_jax.use import report

  for note in report.write(args.workdirs, args.out, data_set=args.data):
    print(f"note: {note}")
  print(f"wrote {args.out} ({args.out.stat().st_size / 1e6:.1f} MB)")
  return 0
