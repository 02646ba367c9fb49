"""Features of a data set's clips: mstgcn embed runs/ntu_joint data/ntu60 --out features.npz

The archive holds features [clip, channel], names, labels and class_names, in the order of the clip
table. --projector writes files that tensorboard --logdir DIR shows under Projector.
"""

import pathlib
import shlex

from mstgcn_jax.commands import process
from mstgcn_jax.data.data_set import open_data_set
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.use import embed
from mstgcn_jax.use.classifier import Classifier


def main(argv: list[str]) -> int:
  parser = process.parser("embed", __doc__)
  parser.add_argument("run", type=pathlib.Path, help="workdir of a trained run")
  parser.add_argument("data_set", type=pathlib.Path, help="a prepared one, such as data/ntu60")
  parser.add_argument("--out", type=pathlib.Path, metavar="FILE.npz", help="the archive")
  parser.add_argument("--projector", type=pathlib.Path, metavar="DIR", help="for TensorBoard")
  process.add_checkpoint_arguments(parser)
  args = parser.parse_args(argv)
  if not args.out and not args.projector:
    raise ConfigError("nothing is to be written; say --out FILE.npz, --projector DIR, or both")
  if args.out and args.out.suffix != ".npz":
    raise ConfigError(f"--out {args.out} must end in .npz")
  process.start()
  data_set = open_data_set(args.data_set)
  classify = Classifier(args.run, checkpoint=args.checkpoint, stream=args.stream, trust=args.trust)
  found = embed.features(classify, data_set)
  said = f"{len(found):,} clips, {found.shape[1]} channels of stream {classify.stream}"
  if args.out:
    embed.save(args.out, found, data_set)
    print(f"{args.out}: {said}")
  if args.projector:
    embed.save_projector(args.projector, found, data_set)
    folder = shlex.quote(str(args.projector))
    print(f"{args.projector}: {said}; look: tensorboard --logdir {folder}")
  return 0
