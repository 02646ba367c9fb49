"""Published PyTorch checkpoints in and out.

  mstgcn weights import WEIGHTS.pt REFERENCE.yaml WORKDIR [--stream joint]
  mstgcn weights import WEIGHTS.pth stgcnpp WORKDIR         (PYSKL's, by the network's name)
      [--skeleton ntu_rgbd] [--persons 2]
  mstgcn weights export WORKDIR WEIGHTS.pt [--checkpoint newest]

WEIGHTS may also be a .safetensors file, which does not need PyTorch.
"""

import pathlib

from mstgcn_jax import torch_weights, words
from mstgcn_jax.commands import process
from mstgcn_jax.model.config import NETWORKS, own_code
from mstgcn_jax.model.unpublished import unpublished
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import devices
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.use import weights


def main(argv: list[str]) -> int:
  parser = process.parser("weights", __doc__)
  commands = parser.add_subparsers(dest="command", required=True, parser_class=words.Subcommand)
  into = commands.add_parser("import", help="a PyTorch checkpoint -> a workdir")
  into.add_argument("weights", help=".pt or .safetensors file of the reference")
  into.add_argument("yaml", help="YAML file that it was trained with, or the network's name")
  into.add_argument("workdir", help="new folder")
  into.add_argument("--stream", default="joint", help="that it was trained on; default joint")
  into.add_argument("--data-name", default="ntu60", help="prepared data set; default ntu60")
  into.add_argument("--window", type=int, default=300, help="frames that it sees; default 300")
  into.add_argument("--sampling", default="loop", help="which frames it sees; default loop")
  into.add_argument(
    "--skeleton", help="layout of the joints, where a name is given; a name or a .json file"
  )
  into.add_argument("--persons", type=int, help="in a clip, where a name is given")
  out = commands.add_parser("export", help="a workdir -> a PyTorch state dict")
  out.add_argument("workdir")
  out.add_argument("weights", help=".pt or .safetensors file to write")
  process.add_checkpoint_arguments(out)
  args = parser.parse_args(argv)
  devices.start()
  (_import if args.command == "import" else _export)(args)
  return 0


def _import(args) -> None:
  how = {name: getattr(args, name) for name in ("stream", "data_name", "window", "sampling")}
  how |= {"skeleton": args.skeleton, "num_persons": args.persons}
  unused = weights.import_checkpoint(args.weights, args.yaml, args.workdir, **how)
  unexpected = [name for name in unused if torch_weights.UNUSED_THERE not in name]
  if len(unused) > len(unexpected):
    print(f"{len(unused) - len(unexpected)} tensors left out that the reference has and never uses")
  if unexpected:
    print(f"{len(unexpected)} tensors left out, without counterpart: {', '.join(unexpected)}")
  if args.yaml in NETWORKS:
    print(f"{args.weights}: {weights.taken_for(workdir_lib.read(args.workdir).model)}")
  print(
    f"{args.workdir}: ready for mstgcn evaluate, Classifier and --config.init_from; stream "
    f"{args.stream} of {args.data_name}, {args.window} frames by {args.sampling}"
  )


def _export(args) -> None:
  # Read first: nothing is written of a run that is damaged.
  stream = workdir_lib.read(args.workdir).stream(args.stream)
  config = config_lib.read(pathlib.Path(args.workdir, "config.json"))
  model, step = weights.export_checkpoint(
    args.workdir,
    args.weights,
    checkpoint=args.checkpoint,
    stream=args.stream,
    trust=args.trust,
  )
  otherwise = []
  if own_code(model.config):
    what = "the reference has no counterpart of its own layers"
  elif otherwise := unpublished(model.config):
    what = "under the names of the reference's model"
  else:
    what = "for load_state_dict of the reference's model"
  print(f"{args.weights}: the state dict of stream {stream}, step {step}; {what}")
  if otherwise:
    print(f"warning: the reference has no {', '.join(otherwise)}, so it computes something else")
  if config.data.normalize:
    print("warning: of clips normalised by the run's mean and deviation, which it does not hold")
