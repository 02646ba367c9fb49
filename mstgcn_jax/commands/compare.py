"""Trains several experiments and lays them side by side: mstgcn compare a.py b.py --seeds 0 1 2

Accuracy of the last epoch with mean and deviation over the seeds, its difference to the first
config with a paired bootstrap interval over clips, parameters, FLOPs, clips per second in training
and inference on this machine, and the learning curves in one picture. Any field but the seeds
can be set for all of them: --config.epochs=20. The same command again goes on.
"""

import pathlib

from mstgcn_jax import files
from mstgcn_jax.commands import process
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.use import compare


def main(argv: list[str]) -> int:
  changes, argv = process.config_changes(argv)
  parser = process.parser("compare", __doc__)
  parser.add_argument(
    "configs", nargs="+", metavar="CONFIG", help="files, or names of shipped ones"
  )
  parser.add_argument("--seeds", nargs="+", type=int, help="default those of the first config")
  parser.add_argument(
    "--workdir", type=pathlib.Path, default="runs/compare", help="default runs/compare"
  )
  args = parser.parse_args(argv)
  if fields := {"seed", "seeds"} & {field for field, _ in changes}:
    raise ConfigError(f"config.{min(fields)} is set by --seeds here, for all configs alike")
  configs = {}
  for path in args.configs:
    name = config_lib.name_of(path)
    if name in configs:
      raise ConfigError(f"two configs are called {name}; rename one of the files")
    configs[name] = config_lib.load(path, changes)
  process.start(trains=True)
  text = compare.as_text(compare.compare(configs, args.workdir, seeds=args.seeds))
  with files.written_whole(args.workdir / "comparison.md") as aside:
    aside.write_text(text + "\n", encoding="utf-8")
  print(f"{text}\nin {args.workdir}: comparison.md, learning_curves.png, a workdir for each config")
  return 0
