"""A run as the published PyTorch code exports it: python torch_onnx.py runs/quickstart out.onnx

Puts the weights of a run (block type `ms`, stream `joint`) into torch_step.py's network, exports
that by torch.onnx, which folds the norms that follow a convolution, and compares it with the run.
python exported.py times it beside what `mstgcn export` writes, and takes --run WORKDIR.
"""

import argparse
import pathlib
import warnings

import numpy as np
import torch
from torch import nn
from torch_step import MSTGCN

from mstgcn_jax import files, torch_weights
from mstgcn_jax.training import checkpoints
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.use import export
from mstgcn_jax.use.classifier import Classifier

OPSET = 17


class Exported(nn.Module):
  """Clips [batch, person, frame, joint, channel] -> probabilities [batch, class]."""

  def __init__(self, network: nn.Module):
    super().__init__()
    self.network = network

  def forward(self, clips):
    return self.network(clips.permute(0, 4, 2, 3, 1))[1].softmax(-1)


def reference(workdir: pathlib.Path) -> tuple[nn.Module, tuple[int, ...]]:
  """The published network with a run's weights, and the shape of a clip."""
  facts = workdir_lib.read(workdir)
  config, sampling = facts.model, facts.sampling
  if facts.streams != ("joint",) or (config.network, config.block_type) != ("mstgcn", "ms"):
    raise SystemExit(f"{workdir} is no run of the joint stream and MST-GCN's block type ms")
  model, variables, _ = checkpoints.load_trained(
    workdir, checkpoint="newest", stream=None, trust=False
  )
  if variables["normalization"] is not None:
    raise SystemExit(f"{workdir} normalises by statistics, which the published code does not")
  network = MSTGCN(
    {
      "num_class": config.num_classes,
      "num_point": config.skeleton.num_joints,
      "num_person": config.num_persons,
      "block_args": [tuple(vars(block).values()) for block in config.blocks],
      "kernel_size": config.kernel_size,
      "s_scale": config.spatial_scales,
      "t_scale": config.temporal_scales,
    },
    config.adjacency(),
  )
  state = torch_weights.state_dict(model)
  network.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
  shape = (sampling.num_persons, sampling.window, config.skeleton.num_joints, config.in_channels)
  return Exported(network).eval(), shape


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("workdir", type=pathlib.Path)
  parser.add_argument("out", type=pathlib.Path)
  args = parser.parse_args()
  model, shape = reference(args.workdir)
  clips = torch.randn(2, *shape) * 0.3
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that this exporter gives way to another, which needs more
    torch.onnx.export(
      model,
      (clips,),
      str(args.out),
      dynamo=False,
      opset_version=OPSET,
      input_names=[export.INPUT],
      output_names=[export.OUTPUT],
      dynamic_axes={export.INPUT: {0: "batch"}, export.OUTPUT: {0: "batch"}},
    )
  facts = {"format": "onnx", "input": {"shape": ["batch", *shape]}}
  files.write_json(args.out.with_name(args.out.name + ".json"), facts)
  found = export.FORMATS["onnx"].load(args.out)(clips.numpy())
  expected = Classifier(args.workdir)(clips.numpy())
  print(f"{args.out} differs from the run by {np.abs(found - expected).max():.1e} on random clips")


if __name__ == "__main__":
  main()
