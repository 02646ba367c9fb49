"""Writes one page of runs: mstgcn report runs/joint runs/bone --out report.html

Settings, curves, confusion matrix, table per class, calibration; the classes that are most confused
and the worst mistakes as moving skeletons, with what decided them; runs side by side. The page
needs nothing beside it and no network.
"""

import pathlib

from mstgcn_jax.commands import process


def main(argv: list[str]) -> int:
  parser = process.parser("report", __doc__)
  parser.add_argument("workdirs", nargs="+", type=pathlib.Path, help="of finished runs")
  parser.add_argument(
    "--out", type=pathlib.Path, default=pathlib.Path("report.html"), help="default report.html"
  )
  parser.add_argument("--data", type=pathlib.Path, help="prepared data set to draw clips from")
  parser.add_argument("--trust", action="store_true", help="import layers that a run names")
  args = parser.parse_args(argv)
  process.start()
  from mstgcn_jax.use import report

  for note in report.write(args.workdirs, args.out, data_set=args.data, trust=args.trust):
    print(f"note: {note}")
  print(f"wrote {args.out} ({args.out.stat().st_size / 1e6:.1f} MB)")
  return 0
