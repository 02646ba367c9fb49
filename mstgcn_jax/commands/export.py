"""Writes a trained run for other programs: mstgcn export runs/quickstart --to onnx quickstart.onnx

Joints in, probabilities out; the stream, the normalisation and the window's layout inside or in
OUT.json. Formats: stablehlo (JAX, XLA), savedmodel (TensorFlow), onnx (onnxruntime and others),
tflite (phones; one clip at a time).
What is written is compared with the run on 100 clips. docs/export.md has the rest.
"""

import pathlib

from mstgcn_jax.commands import process
from mstgcn_jax.training import workdir as workdir_lib


def main(argv: list[str]) -> int:
  parser = process.parser("export", __doc__)
  parser.add_argument("workdir", type=pathlib.Path, help="of a trained run")
  parser.add_argument("--to", required=True, help="stablehlo, savedmodel, onnx or tflite")
  parser.add_argument("out", type=pathlib.Path, help="file to write; a folder for savedmodel")
  parser.add_argument(
    "--quantize", metavar="TYPE", help="round weights: float16 (onnx, tflite), int8 (tflite)"
  )
  process.add_checkpoint_arguments(parser)
  args = parser.parse_args(argv)
  process.start()
  from mstgcn_jax.use import export

  options = {"checkpoint": args.checkpoint, "stream": args.stream, "trust": args.trust}
  comparison = export.export(args.workdir, args.to, args.out, quantize=args.quantize, **options)
  print(f"wrote {args.out} and {args.out.name}.json beside it")
  facts = workdir_lib.read(args.workdir)
  stream = facts.stream(args.stream)
  if len(facts.streams) > 1:
    print(f"stream {stream} alone, of {', '.join(facts.streams)}: --stream names another")
  if comparison.temperature != 1:
    print(
      f"probabilities are calibrated: temperature {comparison.temperature:.3g}, as those of "
      f"predict --stream {stream}"
    )
  if comparison.difference is None:
    print("not compared with the run: onnxruntime is not installed")
  else:
    print(
      f"probabilities of {comparison.clips} differ from the run's by at most "
      f"{comparison.difference:.1e}"
    )
  if args.quantize and comparison.agreement is not None:
    print(f"the likeliest class is the same for {100 * comparison.agreement:.0f} % of them")
  return 0
