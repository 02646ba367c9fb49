"""Speed of MST-GCN as its published PyTorch code computes it, to compare with step.py.

  python benchmarks/torch_step.py [--clips 64] [--width 112] [--dtype float32|tf32|bfloat16]
    [--compile]
  python benchmarks/torch_step.py --check FILE.npz

The same sequence of eager operations on [clip · person, channel, frame, joint], written anew, and
the same tensor names, so that checkpoints load: block type `ms`, published configuration (Chen et
al., AAAI 2021). bfloat16 is autocast. `--check` compares logits with those that a file of the
published code's inputs, weights and outputs holds. Needs no JAX.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch
from torch import nn

from mstgcn_jax import graph, skeletons

PUBLISHED = {  # the published code's own names; a block: in, out, residual, stride
  "num_class": 60,
  "num_point": 25,
  "num_person": 2,
  "block_args": [
    *([3, 112, False, 1], [112, 112, True, 1], [112, 112, True, 1], [112, 112, True, 1]),
    *([112, 224, True, 2], [224, 224, True, 1], [224, 224, True, 1]),
    *([224, 448, True, 2], [448, 448, True, 1], [448, 448, True, 1]),
  ],
  "kernel_size": 9,
  "s_scale": 4,
  "t_scale": 4,
}


class GraphConv(nn.Module):
  """[N, C, T, V] -> [N, C_out, T, V]: 1×1 convolution to K · C_out, summed over links A + PA."""

  def __init__(self, c_in: int, c_out: int, adjacency: torch.Tensor):
    super().__init__()
    self.register_buffer("A", adjacency.clone())
    self.PA = nn.Parameter(adjacency.clone())
    self.gcn = nn.Conv2d(c_in, len(adjacency) * c_out, 1)

  def forward(self, x):
    x = self.gcn(x)
    x = x.view(x.shape[0], len(self.A), -1, *x.shape[2:])
    return torch.einsum("nkctv,kvw->nctw", x, self.A + self.PA).contiguous()


def temporal_conv(c_in: int, c_out: int, kernel: int, stride: int) -> nn.Conv2d:
  return nn.Conv2d(c_in, c_out, (kernel, 1), (stride, 1), (kernel // 2, 0))


class Layer(nn.Module):
  """What spatial and temporal layers share: a residual, then the activation."""

  def __init__(self, c_in: int, c_out: int, residual: bool, stride: int):
    super().__init__()
    self.same = c_in == c_out and stride == 1
    if not residual:
      self.residual = lambda x: 0
    elif self.same:
      self.residual = lambda x: x
    else:
      conv = nn.Conv2d(c_in, c_out, 1, (stride, 1))
      self.residual = nn.Sequential(conv, nn.BatchNorm2d(c_out))
    self.act = nn.ReLU(inplace=True)

  def forward(self, x):
    return self.act(self.body(x) + self.residual(x))


class Basic(Layer):
  def __init__(self, conv: nn.Module, c_in: int, c_out: int, residual: bool, stride: int = 1):
    super().__init__(c_in, c_out, residual, stride)
    self.conv, self.bn = conv, nn.BatchNorm2d(c_out)

  def body(self, x):
    return self.bn(self.conv(x))


class MultiScale(Layer):
  """Channel groups in turn, each with its predecessor's output added if shapes are kept."""

  def __init__(self, make, scales, norm_in, c_in, c_out, residual, stride=1):
    super().__init__(c_in, c_out, residual, stride)
    self.norm_in = norm_in
    self.bn_in = nn.BatchNorm2d(c_in if norm_in else c_out)  # the temporal one is never used
    groups = [(make(c_in // scales, c_out // scales), c_out // scales) for _ in range(scales)]
    self.conv_bn = nn.ModuleList(nn.Sequential(c, nn.BatchNorm2d(width)) for c, width in groups)

  def body(self, x):
    if self.norm_in:
      x = self.bn_in(x)
    outputs = []
    for branch, group in zip(self.conv_bn, x.chunk(len(self.conv_bn), 1), strict=True):
      outputs.append(branch(group + outputs[-1] if self.same and outputs else group))
    return torch.cat(outputs, 1)


class Block(nn.Module):
  def __init__(self, args: dict, adjacency, first, c_in, c_out, residual, stride):
    super().__init__()

    def spatial(c_in, c_out):
      return GraphConv(c_in, c_out, adjacency)

    def temporal(c_in, c_out):
      return temporal_conv(c_in, c_out, args["kernel_size"], stride)

    if first:
      self.msgcn = Basic(spatial(c_in, c_out), c_in, c_out, residual)
      self.mstcn = Basic(temporal(c_out, c_out), c_out, c_out, residual, stride)
    else:
      self.msgcn = MultiScale(spatial, args["s_scale"], True, c_in, c_out, residual)
      self.mstcn = MultiScale(temporal, args["t_scale"], False, c_out, c_out, residual, stride)

  def forward(self, x):
    return self.mstcn(self.msgcn(x))


class MSTGCN(nn.Module):
  """[clip, channel, frame, joint, person] -> features, logits.

  The graph is the published one of so many joints, unless an adjacency [K, V, V] is given.
  """

  def __init__(self, args: dict, adjacency: np.ndarray | None = None):
    super().__init__()
    if adjacency is None:
      layout = "ntu_rgbd" if args["num_point"] == 25 else "kinetics"
      adjacency = graph.adjacency(skeletons.get(layout))
    adjacency = torch.tensor(adjacency, dtype=torch.float32)
    blocks = args["block_args"]
    self.data_bn = nn.BatchNorm1d(args["num_person"] * args["num_point"] * blocks[0][0])
    self.layers = nn.ModuleList(Block(args, adjacency, b is blocks[0], *b) for b in blocks)
    self.fc = nn.Linear(blocks[-1][1], args["num_class"])

  def forward(self, x):
    n, c, t, v, m = x.shape
    x = self.data_bn(x.permute(0, 4, 3, 1, 2).contiguous().view(n, m * v * c, t))
    x = x.view(n, m, v, c, t).permute(0, 1, 3, 4, 2).contiguous().view(n * m, c, t, v)
    for layer in self.layers:
      x = layer(x)
    pooled = nn.functional.adaptive_avg_pool2d(x, 1).view(n, m, -1).mean(1)
    return x, self.fc(pooled)


def of_width(width: int) -> dict:
  """The published configuration with other numbers of channels."""
  wide = lambda channels: channels if channels == 3 else channels * width // 112
  blocks = [(wide(c_in), wide(c_out), *rest) for c_in, c_out, *rest in PUBLISHED["block_args"]]
  return PUBLISHED | {"block_args": blocks}


def check(path: str, device: str) -> float:
  """Largest absolute difference of evaluation logits from a file's."""
  arrays = np.load(path)
  model = MSTGCN(json.loads(str(arrays["config"])))
  names = [name for name in arrays.files if name.startswith("state/")]
  model.load_state_dict({n.removeprefix("state/"): torch.tensor(arrays[n]) for n in names})
  with torch.no_grad():
    _, logits = model.to(device).eval()(torch.tensor(arrays["input"], device=device))
  return float(np.abs(logits.cpu().numpy() - arrays["eval/logits"]).max())


def report(name: str, run, args: argparse.Namespace) -> None:
  """Prints the median time of a call, the first two left out: they choose algorithms."""
  cuda = args.device == "cuda"
  if cuda:
    torch.cuda.reset_peak_memory_stats()
  times = []
  for _ in range(2 + args.steps):
    start = time.perf_counter()
    run()
    if cuda:
      torch.cuda.synchronize()
    times.append(time.perf_counter() - start)
  taken = statistics.median(times[2:])
  peak = f"; {torch.cuda.max_memory_allocated() / 1e9:.2f} GB at the peak" if cuda else ""
  first = f"first call {times[0]:.1f} s"
  print(f"{name}: {taken:.4f} s, {args.clips / taken:.1f} clips/s; {first}{peak}", flush=True)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--clips", type=int, default=64)
  parser.add_argument("--frames", type=int, default=300)
  parser.add_argument("--width", type=int, default=112, help="channels of the first blocks")
  parser.add_argument("--dtype", default="float32", choices=("float32", "tf32", "bfloat16"))
  parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
  parser.add_argument("--compile", action="store_true", help="torch.compile instead of eager")
  parser.add_argument("--steps", type=int, default=7, help="timed calls")
  parser.add_argument("--check", metavar="FILE", help="compare logits with this file's, and end")
  args = parser.parse_args()
  torch.backends.cudnn.benchmark = True  # as the published program
  # Else autocast's float32 rest; PyTorch's own default is TF32 in convolutions only.
  torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.dtype != "float32"
  if args.check:
    return print(f"{args.check}: logits differ by {check(args.check, args.device):.2e} at most")

  model = MSTGCN(of_width(args.width)).to(args.device)
  network = torch.compile(model) if args.compile else model
  clips = torch.randn(args.clips, 3, args.frames, 25, 2, device=args.device)
  labels = torch.arange(args.clips, device=args.device) % 60
  optimizer = torch.optim.SGD(
    model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-4
  )
  autocast = torch.autocast(args.device, torch.bfloat16, enabled=args.dtype == "bfloat16")

  def forward():
    with torch.no_grad(), autocast:
      return network(clips)[1]

  def step():
    with autocast:
      loss = nn.functional.cross_entropy(network(clips)[1], labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

  name = torch.cuda.get_device_name() if args.device == "cuda" else args.device
  mode = "compiled" if args.compile else "eager"
  version = f"torch {torch.__version__} {mode}"
  print(f"{name}, {version}, {args.dtype}, {args.clips} clips of {args.frames} frames, ", end="")
  print(f"width {args.width}", flush=True)
  model.eval()
  report("forward pass", forward, args)
  model.train()
  report("training step", step, args)


if __name__ == "__main__":
  main()
