"""Layers of a config's network, with shapes, parameters and FLOPs.

Any field can be set for it: --config.model.width=64.
"""

import pathlib

from mstgcn_jax.commands import process
from mstgcn_jax.data.data_set import open_data_set
from mstgcn_jax.model import summary
from mstgcn_jax.model.config import own_code
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import own_parts


def main(argv: list[str]) -> int:
  changes, argv = process.config_changes(argv)
  parser = process.parser("summary", __doc__)
  parser.add_argument("--config", required=True, help="an experiment file, or the name of one")
  unprepared = parser.add_argument_group("where the data set is not prepared, or to try others")
  unprepared.add_argument("--skeleton", help="name or .json file; default ntu_rgbd")
  unprepared.add_argument("--classes", type=int, help="default 60")
  unprepared.add_argument("--channels", type=int, help="of a joint; default 3")
  args = parser.parse_args(argv)
  config = config_lib.load(args.config, changes)
  config_lib.validate(config)
  folder = pathlib.Path(config.data.dir) / config.data.name
  if folder.is_dir():
    data = open_data_set(folder)
    skeleton, classes, channels = data.skeleton, len(data.class_names), data.channels
    source = f"those of {data.path}, where no flag says otherwise"
  else:
    skeleton, classes, channels = "ntu_rgbd", 60, 3
    source = f"{folder} is not prepared: --skeleton, --classes, --channels or NTU RGB+D 60's"
  channels = channels if args.channels is None else args.channels
  model = config_lib.model_config(
    config,
    skeleton=args.skeleton or skeleton,
    num_classes=classes if args.classes is None else args.classes,
    channels=channels,
  )
  if own_code(model):
    own_parts.network(model, config.data.window)  # or says in a line what is wrong with it
  print(
    f"{model.skeleton.num_joints} joints ({model.skeleton.name}), {model.num_classes} classes, "
    f"{channels} channels ({source})"
  )
  print(summary.table(model, config.data.window))
  return 0
