"""Speed of a forward pass and a training step of the published configuration.

  python benchmarks/step.py [--clips 4] [--frames 300] [--width 112] [--dtype float32]
    [--remat] [--steps 7] [--profile DIR]

Prints seconds, clips per second, GFLOP/s (2 per multiply-add of convolutions, aggregation and
classifier; a training step counts as three forward passes), the rate of a large matrix product in
the same process, their ratio, and how long compiling took.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from mstgcn_jax.commands import process
from mstgcn_jax.model import MSTGCN, ModelConfig, platform
from mstgcn_jax.model.summary import forward_flops


def seconds(function, *args, repeats: int) -> float:
  """Median time of a call, the first one left out."""
  jax.block_until_ready(function(*args))
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    times.append(time.perf_counter() - start)
  return statistics.median(times)


def matmul_rate(dtype: str, size: int) -> float:
  """GFLOP/s of a square matrix product."""
  a = jnp.ones((size, size), dtype)
  return 2 * size**3 / seconds(jax.jit(jnp.matmul), a, a, repeats=7) / 1e9


def compile_timed(function, *args, **jit_options):
  """The compiled function, and the seconds that tracing and compiling took."""
  start = time.perf_counter()
  jit_options["compiler_options"] = platform.compiler_options(jax.devices()[0])
  compiled = jax.jit(function, **jit_options).lower(*args).compile()
  return compiled, time.perf_counter() - start


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--clips", type=int, default=4)
  parser.add_argument("--frames", type=int, default=300)
  parser.add_argument("--width", type=int, default=112, help="channels of the first blocks")
  parser.add_argument("--dtype", default="float32", choices=("float32", "tf32", "bfloat16"))
  parser.add_argument("--steps", type=int, default=7, help="timed calls")
  parser.add_argument("--remat", action="store_true")
  parser.add_argument("--profile", help="folder for a trace of three training steps")
  args = parser.parse_args()
  process.fuse_elementwise_on_cpu()
  gpu = jax.default_backend() == "gpu"
  if gpu and args.dtype == "float32":  # else XLA multiplies float32 in TF32
    jax.config.update("jax_default_matmul_precision", "highest")
  dtype = args.dtype.replace("tf32", "float32")

  config = ModelConfig(num_classes=60, width=args.width, dtype=dtype, remat=args.remat)
  model = MSTGCN(config, rngs=nnx.Rngs(0))
  inference, constants = nnx.split(model.fold())
  graphdef, *variables = nnx.split(model, nnx.Param, nnx.BatchStat)
  params, stats = map(nnx.to_pure_dict, variables)
  clips = jax.random.normal(jax.random.key(0), (args.clips, 2, args.frames, 25, 3))
  labels = jnp.arange(args.clips) % 60
  sgd = optax.sgd(1e-3, momentum=0.9, nesterov=True)
  optimizer = optax.chain(optax.add_decayed_weights(1e-4), sgd)

  def forward(constants, clips):
    return nnx.merge(inference, constants)(clips)

  def train_step(state, clips, labels):
    params, stats, momentum = state

    def loss_fn(params):
      model = nnx.merge(graphdef, params, stats)
      model.train()
      loss = optax.softmax_cross_entropy_with_integer_labels(model(clips), labels).mean()
      return loss, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    (loss, new_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
    updates, momentum = optimizer.update(grads, momentum, params)
    return (optax.apply_updates(params, updates), new_stats, momentum), loss

  print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {args.dtype}, ", end="")
  print(f"{args.clips} clips of {args.frames} frames, ", end="")
  print(f"width {args.width}{', remat' * args.remat}", flush=True)
  gemm = matmul_rate(dtype, 8192 if gpu else 2048)
  print(f"matrix product: {gemm:.0f} GFLOP/s", flush=True)

  def report(name: str, flops: float, call, compiled, compiling: float) -> None:
    memory = compiled.memory_analysis().temp_size_in_bytes / 1e9
    built = f"compiled in {compiling:.1f} s; {memory:.2f} GB of temporaries"
    taken = seconds(call, repeats=args.steps)
    rate = flops / taken / 1e9
    print(f"{name}: {taken:.4f} s, {args.clips / taken:.1f} clips/s, {rate:.0f} GFLOP/s, ", end="")
    print(f"{rate / gemm:.2f} of the matrix product; {built}", flush=True)

  folded, compiling = compile_timed(forward, constants, clips)
  flops = args.clips * forward_flops(config, args.frames)
  report("forward pass", flops, lambda: folded(constants, clips), folded, compiling)

  state = (params, stats, optimizer.init(params))
  step, compiling = compile_timed(train_step, state, clips, labels, donate_argnums=0)

  def run():
    nonlocal state
    state, loss = step(state, clips, labels)
    return loss

  report("training step", 3 * flops, run, step, compiling)
  if args.profile:
    with jax.profiler.trace(args.profile):
      for _ in range(3):
        run().block_until_ready()


if __name__ == "__main__":
  main()
