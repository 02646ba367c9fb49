"""Compiles the project's own steps for CUDA GPUs, on a machine without one, and counts their work.

  make gpu-check                                # all programs beside gpu_programs.json
  export PYTHONPATH=.                           # in the environment that this has made:
  .venv-gpu/bin/python benchmarks/gpu_program.py --dtype bfloat16 --devices 4 --clips 256 --top 20
  .venv-gpu/bin/python benchmarks/gpu_program.py --update     # writes what --check compares with

XLA compiles against a description of the card. Without the card nothing is tuned: which kernels a
real run takes differs in detail, the list of fusions and what they read and write hardly does. The
time is a floor: for each kernel the larger of its bytes / bandwidth and its FLOPs / peak. It needs
jax's CUDA plugin of the same version as jaxlib, no driver and no GPU.

All programs take XLA ten minutes and more. So beside the figures of each stands a digest of what
it was compiled from (the lowered program, the card, the versions of jax and jaxlib, XLA's flags)
and of hlo.py, which counts: where that is the same, it is not compiled again. What is a fault
(`Report.faults`) is not part of it: after a change there delete gpu_programs.json and --update.
"""

import argparse
import concurrent.futures
import dataclasses
import hashlib
import json
import multiprocessing
import os
import pathlib
import sys
import time

os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
os.environ["JAX_PLATFORMS"] = ""
os.environ["JAX_COMPILATION_CACHE_DIR"] = ""
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_autotune_level=0"

import hlo
import jax
import jaxlib
import numpy as np
import published as published_task
from flax import nnx
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mstgcn_jax.model import ModelConfig, abstract_network, make_network, platform
from mstgcn_jax.model.config import NETWORKS
from mstgcn_jax.training import train_step

FIGURES = pathlib.Path(__file__).with_name("gpu_programs.json")
TOLERANCE = 1.05
_DESCRIPTION = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: {shared} threads_per_core_limit: {threads} core_count: {cores}
  fpus_per_core: {fpus} block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 memory_bandwidth: {nominal} l2_cache_size: {l2} clock_rate_ghz: {clock}
  device_memory_size: {memory} shared_memory_per_block_optin: {optin}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 7 }}
runtime_version {{ major: 12 minor: 8 }} device_description_str: "{name}"
"""


@dataclasses.dataclass(frozen=True)
class Card:
  """A card as XLA sees it, and what large copies and products reach on it."""

  description: dict
  speed: hlo.Speed


def _card(bandwidth, peak, **description) -> Card:
  return Card(description, hlo.Speed(bandwidth, peak))


CARDS = {
  "h100": _card(
    3.0e12, {"f32": 400e12, "bf16": 800e12},
    name="NVIDIA H100 80GB HBM3", major=9, minor=0, cores=132, fpus=128, threads=2048,
    shared=233472, optin=232448, nominal=3352320000000, l2=52428800, clock=1.98,
    memory=84929347584,
  ),
  "a100": _card(
    1.8e12, {"f32": 130e12, "bf16": 260e12},
    name="NVIDIA A100-SXM4-80GB", major=8, minor=0, cores=108, fpus=64, threads=2048,
    shared=167936, optin=166912, nominal=2039000000000, l2=41943040, clock=1.41,
    memory=85100000000,
  ),
  "t4": _card(
    0.27e12, {"f32": 7e12, "bf16": 7e12},
    name="Tesla T4", major=7, minor=5, cores=40, fpus=64, threads=1024, shared=65536,
    optin=65536, nominal=320000000000, l2=4194304, clock=1.59, memory=15800000000,
  ),
  "rtx4090": _card(
    0.9e12, {"f32": 80e12, "bf16": 160e12},
    name="NVIDIA GeForce RTX 4090", major=8, minor=9, cores=128, fpus=128, threads=1536,
    shared=102400, optin=101376, nominal=1008000000000, l2=75497472, clock=2.52,
    memory=25300000000,
  ),
  "b200": _card(
    7.0e12, {"f32": 1000e12, "bf16": 2000e12},
    name="NVIDIA B200", major=10, minor=0, cores=148, fpus=128, threads=2048, shared=233472,
    optin=232448, nominal=8000000000000, l2=132644864, clock=1.965, memory=191000000000,
  ),
}  # fmt: skip

# One of each kind that a network is published with.
_FOUR_BLOCKS = ((3, 64, False, 1), (64, 64, True, 1), (64, 128, True, 2), (128, 256, True, 2))

# What `--check` compiles: MST-GCN at the published size, the other networks with fewer blocks.
PROGRAMS = {
  "h100 float32": {},
  "h100 bfloat16": {"dtype": "bfloat16"},
  "h100 bfloat16, remat": {"dtype": "bfloat16", "remat": True},
  "h100 bfloat16, 4 devices, 64 clips each": {"dtype": "bfloat16", "devices": 4, "clips": 256},
  "h100 bfloat16, evaluation": {"dtype": "bfloat16", "evaluate": True},
  "h100 bfloat16, folded": {"dtype": "bfloat16", "folded": True},
  "a100 float32": {"card": "a100"},
  **{
    f"h100 bfloat16, {network}, four blocks of {frames} frames": {
      "dtype": "bfloat16", "network": network, "frames": frames, "blocks": _FOUR_BLOCKS,
    }
    for network, frames in (
      ("stgcn", 300), ("agcn", 300), ("aagcn", 300), ("ctrgcn", 300), ("stgcnpp", 300),
      ("dgstgcn", 300), ("pyskl_msg3d", 100),
    )
  },
}  # fmt: skip

# Variants of a small network: that they compile, and exchange what they should, is what is checked.
_SMALL = {"num_classes": 5, "blocks": ((3, 8, False, 1), (8, 16, True, 2))}
_SMALL |= {"spatial_scales": 2, "temporal_scales": 2, "kernel_size": 3}
_ABOVE = sorted({p["network"] for p in PROGRAMS.values() if "network" in p})  # in bfloat16
_VARIANTS = [
  variant | precision
  for variant in (
    # Every block type, attention and activation once.
    {"block_type": "basic", "attention": "stja", "activation": "swish"},
    {"block_type": "bottle", "attention": "stcja", "activation": "hswish"},
    {"block_type": "sep", "attention": "pa", "activation": "acon"},
    {"block_type": "ms", "attention": "ca", "activation": "meta_acon"},
    {"block_type": "ms_bottle", "attention": "fa"},
    {"layer_type": "sep", "expand_ratio": 2, "attention": "ja"},
    {"block_type": "ctrgcn/ms"},
    {},
    *({"network": name} for name in NETWORKS if name not in (*_ABOVE, "mstgcn")),
  )
  for precision in ({"dtype": "float32"}, {"dtype": "bfloat16", "remat": True})
] + [{"network": name, "dtype": "float32", "remat": True} for name in _ABOVE]


def _small_programs() -> dict[str, dict]:
  """Each variant for a card and a number of devices in turn."""
  places = ("rtx4090", 1), ("a100", 2), ("t4", 4), ("b200", 8)
  programs = {}
  for i, fields in enumerate(_VARIANTS):
    card, devices = places[(i + i // len(places)) % len(places)]
    name = ", ".join(f"{field} {value}" for field, value in fields.items())
    programs[f"small, {name}, {devices} × {card}"] = {**fields, "card": card, "devices": devices}
  return programs


SMALL = _small_programs()


@dataclasses.dataclass
class Report:
  """A compiled program, counted."""

  kernels: list[hlo.Kernel]
  speed: hlo.Speed
  collectives: list[tuple[str, int]]
  clips_per_device: int
  temporaries: float
  state_bytes: int
  compile_seconds: float

  @property
  def gb_per_clip(self) -> float:
    return sum(k.bytes for k in self.kernels) / self.clips_per_device / 1e9

  @property
  def floor(self) -> float:
    """Seconds that a step takes at least."""
    return sum(self.speed.seconds(k) for k in self.kernels)

  def figures(self) -> dict[str, float]:
    return {
      "gb_per_clip": round(self.gb_per_clip, 3),
      "clips_per_second": round(self.clips_per_device / self.floor),
      "temporaries_gb": round(self.temporaries, 1),
      "kernels": len(self.kernels),
    }

  def faults(self, *, training: bool) -> list[str]:
    """What its exchanges between devices should not be."""
    if not training:
      return [f"evaluation exchanges {operation}" for operation, _ in self.collectives]
    faults = [
      f"{operation} of {size} bytes"
      for operation, size in self.collectives
      if operation.removesuffix("-start") != "all-reduce"
    ]
    total = sum(size for _, size in self.collectives)
    if total > 1.2 * self.state_bytes:
      faults.append(
        f"all-reduces of {total} bytes; parameters and statistics have {self.state_bytes}"
      )
    return faults

  def text(self, top: int = 0) -> str:
    flops = sum(k.flops for k in self.kernels)
    exchanged = sum(size for _, size in self.collectives)
    lines = [
      f"{self.gb_per_clip:.3f} GB moved per clip, {flops / 1e12:.2f} TFLOP counted, "
      f"{self.temporaries:.1f} GB of temporaries, {len(self.kernels)} kernels; "
      f"compiled in {self.compile_seconds:.0f} s",
      f"floor {self.floor * 1e3:.1f} ms: at most {self.clips_per_device / self.floor:.0f} clips/s "
      f"per device; {len(self.collectives)} collectives of {exchanged / 1e6:.2f} MB",
      "by kind:",
      *hlo.by_kind(self.kernels, self.speed)[:10],
      "by source file:",
      *hlo.by_room(self.kernels, self.speed)[:14],
    ]
    for k in sorted(self.kernels, key=self.speed.seconds, reverse=True)[:top]:
      origin = (k.instruction.attribute(r'op_name="([^"]+)"') or "")[-60:]
      lines.append(
        f"    {self.speed.seconds(k) * 1e3:7.3f} ms {k.bytes / 1e9:6.3f} GB "
        f"{k.flops / 1e9:7.1f} GFLOP {k.kind} {k.instruction.name} {origin}"
      )
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Step:
  """A step for cards that are not there, to be compiled."""

  lowered: jax.stages.Lowered
  options: dict  # what `lowered` asks of XLA
  card: str
  clips_per_device: int
  state_bytes: int

  def digest(self) -> str:
    """Of what its figures depend on: the program, the card, XLA and its flags, how we count."""
    asked = "".join(f"{name}={value}" for name, value in self.options.items())
    parts = (
      self.lowered.as_text() + asked, CARDS[self.card], jax.__version__, jaxlib.__version__,
      os.environ["XLA_FLAGS"], pathlib.Path(hlo.__file__).read_text(),
    )  # fmt: skip
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

  def compile(self) -> Report:
    start = time.perf_counter()
    compiled = self.lowered.compile()
    program = hlo.Program(compiled.as_text())
    return Report(
      program.kernels(),
      CARDS[self.card].speed,
      [
        (i.opcode, sum(hlo.nbytes(program.shape(n)) for n in i.operands))
        for i in program.collectives()
      ],
      self.clips_per_device,
      compiled.memory_analysis().temp_size_in_bytes / 1e9,
      self.state_bytes,
      time.perf_counter() - start,
    )


def lower_for_absent_gpus() -> None:
  """Has jax lower programs for the platform 'cuda' though it has no device of it."""
  import jax._src.xla_bridge as bridge

  known = bridge.canonicalize_platform

  def canonical(name: str) -> str:  # lowering for a platform without a device: jax issue 23971
    try:
      return known(name)
    except RuntimeError:
      return "cuda"

  bridge.canonicalize_platform = canonical
  jax.devices("cpu")


def mesh_of(card: str, devices: int) -> Mesh:
  """A mesh of cards that are not there.

  Raises:
    Exception: of whatever kind, where this jax cannot describe them (the CUDA plugin is missing or
      has changed).
  """
  topology = topologies.get_topology_desc(
    platform="cuda",
    target_config=_DESCRIPTION.format(**CARDS[card].description),
    topology=f"1x1x{devices}",
  )
  return topologies.make_mesh(topology, (devices,), (train_step.DATA_AXIS,))


def lower_step(
  config: ModelConfig,
  *,
  card: str,
  devices: int,
  clips: int,
  frames: int,
  evaluate: bool = False,
  folded: bool = False,
  whole_groups: bool = True,
) -> Step:
  """The project's training or evaluation step for a mesh of cards.

  Args:
    clips: in the global batch.
    folded: the forward pass of a network with its norms folded, in place of a step.
    whole_groups: as on a GPU, with zeros appended to channel groups (`model.alignment`).
  """
  mesh = mesh_of(card, devices)
  whole, share = (
    NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), (train_step.DATA_AXIS,))
  )
  place = lambda tree, sharding: jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
  )
  shape = (clips, config.num_persons, frames, config.skeleton.num_joints, config.in_channels)
  batch = {
    "clips": jax.ShapeDtypeStruct(shape, np.float32, sharding=share),
    "label": jax.ShapeDtypeStruct((clips,), np.int32, sharding=share),
    "stop": jax.ShapeDtypeStruct((clips,), np.int32, sharding=share),
  }
  model = abstract_network(config)
  task, params, batch_stats = published_task.make_task(model, clips)
  init = lambda params, stats: train_step.init_state(task, params, stats, seed=0)
  state = place(jax.eval_shape(init, params, batch_stats), whole)
  number = jax.ShapeDtypeStruct((), np.int32, sharding=whole)
  # The forms of any platform leave groups as they are.
  with platform.forced("gpu" if whole_groups else "any"):
    if folded:
      structure, constants = nnx.split(
        nnx.eval_shape(lambda: make_network(config, rngs=nnx.Rngs(0)).fold())
      )
      forward = jax.jit(lambda constants, clips: nnx.merge(structure, constants)(clips))
      lowered = forward.lower(place(constants, whole), batch["clips"])
    elif evaluate:
      variables = train_step.eval_variables(state)
      lowered = train_step.make_eval_step(task, mesh).lower(variables, batch, number)
    else:
      lowered = train_step.make_train_step(task, mesh).lower(state, batch, number)
  state_bytes = sum(x.size * 4 for x in jax.tree.leaves((params, batch_stats)))
  options = {} if folded else platform.compiler_options(mesh.devices.flat[0])
  return Step(lowered, options, card, clips // devices, state_bytes)


def published(
  *,
  network="mstgcn",
  card="h100",
  devices=1,
  clips=64,
  frames=300,
  dtype="float32",
  remat=False,
  blocks=None,
  **kind,
) -> Step:
  """The step of a network's published configuration on NTU RGB+D 60, or with other blocks."""
  config = ModelConfig(num_classes=60, network=network, dtype=dtype, remat=remat, blocks=blocks)
  return lower_step(config, card=card, devices=devices, clips=clips, frames=frames, **kind)


def small(*, card: str, devices: int, **fields) -> Step:
  """The training step of a small network."""
  config = ModelConfig(**_SMALL, **fields)
  return lower_step(config, card=card, devices=devices, clips=2 * devices, frames=8)


def compare(pool: concurrent.futures.Executor, *, update: bool) -> tuple[list[str], int]:
  """Compares all programs with the committed figures, or writes these.

  Returns:
    What is wrong, a line each, and how many programs were compiled.
  """
  known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
  names = [*PROGRAMS, *SMALL]
  before = [known.get(name, {}) for name in names]
  found, faults, compiled = {}, [], 0
  for name, old, (new, wrong) in zip(names, before, pool.map(_measure, names, before), strict=True):
    found[name] = new
    compiled += new != old
    print(f"{name}: {'as it was' if new == old else new}", flush=True)
    limit = old.get("gb_per_clip", 0) * TOLERANCE
    if not update and new.get("gb_per_clip", 0) > limit:
      wrong += [f"{new['gb_per_clip']} GB per clip, more than {limit:.3f}"]
    faults += [f"{name}: {fault}" for fault in wrong]
  if update and not faults:
    FIGURES.write_text(json.dumps(found, indent=2) + "\n")
  return faults, compiled


def _measure(name: str, known: dict) -> tuple[dict, list[str]]:
  """A program's digest, a published one's figures, and faults; `known` where it is that program."""
  try:
    step = published(**PROGRAMS[name]) if name in PROGRAMS else small(**SMALL[name])
    digest = step.digest()
    if digest == known.get("digest"):
      return known, []
    report = step.compile()
  except Exception as error:
    return {}, [f"does not compile: {str(error).splitlines()[0]}"]
  options = PROGRAMS.get(name, {})
  training = not (options.get("evaluate") or options.get("folded"))
  figures = report.figures() if name in PROGRAMS else {}
  return {**figures, "digest": digest}, report.faults(training=training)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--check", action="store_true", help="all programs, beside the figures")
  parser.add_argument("--update", action="store_true", help="write the figures")
  parser.add_argument("--network", choices=NETWORKS, default="mstgcn")
  parser.add_argument("--card", choices=CARDS, default="h100")
  parser.add_argument("--devices", type=int, default=1)
  parser.add_argument("--clips", type=int, default=64, help="in the global batch")
  parser.add_argument("--frames", type=int, default=300)
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
  parser.add_argument("--remat", action="store_true")
  parser.add_argument("--evaluate", action="store_true", help="the evaluation step")
  parser.add_argument("--folded", action="store_true", help="the forward pass for inference")
  parser.add_argument(
    "--groups-as-they-are", dest="whole_groups", action="store_false", help="no zeros appended"
  )
  parser.add_argument("--top", type=int, default=0, help="list that many kernels")
  args = vars(parser.parse_args())
  check, update, top = args.pop("check"), args.pop("update"), args.pop("top")
  try:
    lower_for_absent_gpus()
    mesh_of("h100", 1)
  except Exception as error:
    reason = str(error).splitlines()[0]
    print(f"SKIPPED gpu_program: jax {jax.__version__} describes no GPU here: {reason}")
    return
  if not (check or update):
    print(published(**args).compile().text(top))
    return
  # XLA compiles a program on one core.
  with concurrent.futures.ProcessPoolExecutor(
    mp_context=multiprocessing.get_context("spawn"), initializer=lower_for_absent_gpus
  ) as pool:
    faults, compiled = compare(pool, update=update)
  if faults:
    sys.exit("\n".join(["gpu_program: FAILED", *faults]))
  same = len(PROGRAMS) + len(SMALL) - compiled
  print(f"gpu_program: jax {jax.__version__}, {compiled} programs compile, {same} are as they were")


if __name__ == "__main__":
  main()
