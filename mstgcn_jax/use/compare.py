"""Several experiments on the same clips, side by side: accuracy over seeds, size and speed."""

import dataclasses
import pathlib
import statistics
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from mstgcn_jax.errors import ConfigError
from mstgcn_jax.evaluation import metrics, plots
from mstgcn_jax.evaluation.scores import Scores
from mstgcn_jax.model import summary
from mstgcn_jax.training import loop, run_log, train_step
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.training.experiment import Experiment, set_up

_STEPS = 5  # timed, after one that compiles


@dataclasses.dataclass(frozen=True)
class Row:
  """One experiment of a comparison.

  Attributes:
    name: of its config.
    top1: last epoch's accuracy of each seed, from 0 to 1.
    difference: mean over clips and seeds of the accuracy above the first experiment's.
    interval: 95 % of its paired bootstrap over clips; it does not cover other seeds.
    parameters: of one network.
    flops: of a forward pass of one clip, 2 per multiply-add.
    training, inference: clips per second on this machine, without reading them.
  """

  name: str
  top1: tuple[float, ...]
  difference: float
  interval: tuple[float, float]
  parameters: int
  flops: int
  training: float
  inference: float


def compare(
  configs: Mapping[str, ConfigDict],
  workdir: str | pathlib.Path,
  *,
  seeds: Sequence[int] | None = None,
) -> list[Row]:
  """Trains experiments, each with every seed, and compares what they say of the same clips.

  Every experiment trains in `workdir`/NAME (its seeds in seed_N there), where it goes on when it is
  called again; `workdir`/learning_curves.png shows them all.

  Args:
    configs: name -> experiment; the first is what the others are compared to.
    seeds: of every experiment; by default those of the first config.
  Raises:
    ConfigError: they are not evaluated on the same clips, a seed repeats, or `workdir` is a run's.
    Otherwise as `loop.train`.
  """
  workdir = pathlib.Path(workdir)
  if (workdir / workdir_lib.FILE).exists():
    raise ConfigError(f"{workdir} is the workdir of a run, whose curves would go; take another")
  first_config = next(iter(configs.values()))
  seeds = (first_config.seeds or (first_config.seed,)) if seeds is None else seeds
  if not seeds or len(set(seeds)) != len(seeds):
    raise ConfigError(f"seeds are {tuple(seeds)}; give each once, and at least one")
  runs = {name: set_up(_seeded(config, seeds)) for name, config in configs.items()}
  first = next(iter(runs.values()))
  for name, run in runs.items():
    same = run.data_set.identity == first.data_set.identity
    if not same or not np.array_equal(run.split.eval, first.split.eval):
      raise ConfigError(
        f"{name} is not evaluated on the clips of {next(iter(runs))}; give all configs one "
        "data set and protocol (--config.data.name, --config.data.protocol)"
      )
  rows, curves, right = [], {}, {}
  for name, run in runs.items():
    loop.train(run.config, workdir / name)
    folders = [workdir / name / f"seed_{s}" for s in seeds] if len(seeds) > 1 else [workdir / name]
    scores = [Scores.load(folder / "scores.npz") for folder in folders]
    right[name] = np.asarray([metrics.ranks(s.logits, s.labels) < 1 for s in scores], np.float64)
    curves[name] = [run_log.read_curves(folder / "metrics.csv") for folder in folders]
    gain = (right[name] - next(iter(right.values()))).mean(0)
    layers = summary.rows(run.model_config, run.config.data.window)
    training, inference = _speed(run)
    rows.append(
      Row(
        name=name,
        top1=tuple(right[name].mean(1).tolist()),
        difference=float(gain.mean()),
        interval=metrics.bootstrap_interval(gain),
        parameters=sum(layer.parameters for layer in layers),
        flops=sum(layer.flops for layer in layers),
        training=training,
        inference=inference,
      )
    )
  plots.curves_of_several(curves, workdir / "learning_curves.png")
  return rows


def _seeded(config: ConfigDict, seeds: Sequence[int]) -> ConfigDict:
  config = config.copy_and_resolve_references()
  config.seeds, config.seed = (tuple(seeds), seeds[0]) if len(seeds) > 1 else ((), seeds[0])
  return config


def _speed(run: Experiment) -> tuple[float, float]:
  """Clips per second of training and of evaluation, each on one batch over and over."""
  name, mesh = next(iter(run.meshes.items()))
  batch = next(run.train_batches(0))[mesh]
  stop = {"stop": np.zeros(run.config.batch_size // jax.process_count(), np.int32)}
  batch = batch | train_step.shard_batch(mesh, stop)
  state = run.initial_states()[name]
  variables = train_step.eval_variables(state)
  evaluate = train_step.make_eval_step(run.task, mesh)
  inference = _seconds(lambda: evaluate(variables, batch, np.int32(0)))
  update = train_step.make_train_step(run.task, mesh)

  def step():
    nonlocal state
    state, figures = update(state, batch, np.int32(0))
    return figures

  return run.config.batch_size / _seconds(step), run.config.batch_size / inference


def _seconds(call) -> float:
  """Median time of a call, the first left out."""
  times = []
  for _ in range(1 + _STEPS):
    start = time.perf_counter()
    jax.block_until_ready(call())
    times.append(time.perf_counter() - start)
  return statistics.median(times[1:])


def as_text(rows: Sequence[Row]) -> str:
  """The rows as a table in Markdown."""
  first = rows[0].name
  lines = [
    f"| | top-1, % | difference to {first} | parameters | GFLOP per clip | training, clips/s "
    "| inference, clips/s |",
    "| --- " * 7 + "|",
  ]
  for row in rows:
    mean = f"{100 * statistics.mean(row.top1):.2f}"
    spread = f" ± {100 * statistics.stdev(row.top1):.2f}" if len(row.top1) > 1 else ""
    low, high = (f"{100 * value:+.2f}" for value in row.interval)
    gain = f"{100 * row.difference:+.2f} ({low} to {high})" if row.name != first else ""
    lines.append(
      f"| {row.name} | {mean}{spread} | {gain} | {row.parameters:,} | {row.flops / 1e9:.3f} "
      f"| {row.training:.0f} | {row.inference:.0f} |"
    )
  return "\n".join(lines)
