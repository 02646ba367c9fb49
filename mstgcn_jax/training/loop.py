"""The training loop: from a config and a workdir to a trained, evaluated model."""

import collections
import contextlib
import dataclasses
import logging
import pathlib
import statistics
import threading
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from mstgcn_jax import __version__, files
from mstgcn_jax.errors import ConfigError, DataError, Preempted, RunError
from mstgcn_jax.evaluation import fusion, metrics, plots
from mstgcn_jax.training import (
  checkpoints,
  distributed,
  notes,
  optimizer,
  own_parts,
  run_log,
  split_logits,
  train_step,
)
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.training.experiment import Experiment, set_up
from mstgcn_jax.training.preemption import StopSignal
from mstgcn_jax.training.watchdog import Watchdog

# Stream or fusion -> `metrics.FIGURES`.
Figures = dict[str, dict[str, float]]
# Steps between dispatching a step and reading its figures, so that devices never wait for the
# host.
LAG = 2
# Held by the thread that trains: of two in one process Orbax mixes up the checkpoints, and may wait
# for ever.
_training = threading.RLock()
_log = logging.getLogger("mstgcn_jax")


def train(
  config: ConfigDict | str | pathlib.Path,
  workdir: str | pathlib.Path,
  *,
  stop: StopSignal | None = None,
) -> Figures:
  """Trains in `workdir`, from its newest good checkpoint where there is one.

      config = mst.config.load("quickstart")
      config.epochs, config.model.blocks = 1, ((3, 16, False, 1), (16, 32, True, 2))
      figures = mst.train(config, "runs/one_epoch")

  Of several `config.seeds` each trains in `workdir`/seed_N, and `workdir`/seeds.json tells of all.

  Args:
    config: a config, or the file or name of one (`config.load`).
    stop: asks the run to save and end; by default SIGTERM and Ctrl-C do, where this is the main
      thread.
  Returns:
    The last evaluation: stream or fusion -> loss, top1, top5, mean_class; of several seeds the
    mean.
  Raises:
    ConfigError, DataError, RunError: with one clear message.
    Preempted: it was asked to end, and the state is saved.
  """
  workdir = pathlib.Path(workdir)
  if not isinstance(config, ConfigDict):
    config = config_lib.load(config)
  config_lib.validate(config)
  checkpoints.check_path(workdir)
  said = config_lib.flatten(config.to_dict()) | {"version": (__version__, jax.__version__)}
  del said["data.dir"]  # a machine may have a copy of its own
  said["JAX_ENABLE_X64"] = jax.config.jax_enable_x64
  said["JAX_DEFAULT_MATMUL_PRECISION"] = jax.config.jax_default_matmul_precision
  if not _training.acquire(blocking=False):
    raise ConfigError(
      f"{workdir}: another thread of this process is training; train one after the other, or in "
      "processes of their own"
    )
  with contextlib.ExitStack() as stack:
    stack.callback(_training.release)
    stack.enter_context(distributed.naming_lost_processes())
    if stop is None:
      stop = stack.enter_context(StopSignal())
    if jax.process_index() == 0:  # of several processes the first one writes
      stack.enter_context(files.only_writer(workdir))
    distributed.check_alike(said)
    stack.enter_context(run_log.logging_to(workdir, quiet=jax.process_index() != 0))
    return (_train_seeds if config.seeds else _train_seed)(config, workdir, stop)


def _train_seeds(config: ConfigDict, workdir: pathlib.Path, stop: StopSignal) -> Figures:
  found = []
  for seed in config.seeds:
    stop.check(f"seeds before {seed} are finished")
    one = config.copy_and_resolve_references()
    one.seed, one.seeds = seed, ()
    found.append(train(one, workdir / f"seed_{seed}", stop=stop))
  summary, lines = {}, []
  for stream in found[0]:
    values = [100 * results[stream]["top1"] for results in found]
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    summary[stream] = {"mean": mean, "deviation": deviation, "of_seeds": values}
    lines.append(f"  {stream}: {mean:.2f} ± {deviation:.2f} %")
  if jax.process_index() == 0:
    files.write_json(workdir / "seeds.json", {"seeds": list(config.seeds), "top1": summary})
    _log.info(
      "last epoch, top-1 over seeds %s:\n%s\nin %s: seeds.json, and a workdir for each seed",
      tuple(config.seeds),
      "\n".join(lines),
      workdir,
    )
  return {
    stream: {name: statistics.mean(results[stream][name] for results in found) for name in figures}
    for stream, figures in found[0].items()
  }


# Long: what happens in a run, and in which order, is read here from top to bottom.
def _train_seed(config: ConfigDict, workdir: pathlib.Path, stop: StopSignal) -> Figures:
  # Data, model, optimiser.
  run = set_up(config)
  # The first process holds the lock; a workdir on another disk may be there, too, and has none.
  there = workdir.is_dir(), (workdir / files.LOCK).exists(), checkpoints.exist(workdir)
  facts = run.facts()
  network = run.model_config.to_dict(), facts.code, facts.loss_code
  distributed.check_alike(
    {
      "data set": run.data_set.identity,
      "network (own code or a graph's file)": network,
      "what is in the workdir (to be shared)": there,
    }
  )
  total_steps = config.epochs * run.task.steps_per_epoch
  # Before anything is written, since init_from may be refused.
  states = None if checkpoints.exist(workdir) else run.initial_states()

  # Restore.
  is_first = jax.process_index() == 0
  workdir.mkdir(parents=True, exist_ok=True)
  manager = checkpoints.make_manager(workdir)
  step, progress, changed = 0, checkpoints.Progress(), []
  if states is None:
    changed = check_same_run(workdir, run)
    step, states, progress = checkpoints.restore_newest(manager, run.abstract_states())
  # Each process has read init_from, or drawn them, by itself.
  values = checkpoints.digests(states)
  distributed.check_alike(
    {
      "the step to go on from": (step, dataclasses.asdict(progress)),
      "values to start from (init_from or unlike machines)": values,
    }
  )
  for line in notes.of_resumption(run, step, changed):
    _log.info("note: %s", line)
  other = any(map(_is_measured_otherwise, changed))
  if other:  # figures from before, and an early end by them, are of other clips or another network
    progress = checkpoints.Progress()
    checkpoints.forget_figures(manager)
    if is_first:
      (workdir / "summary.json").unlink(missing_ok=True)
  # Where it was not evaluated, as when it was stopped, it goes on to the next evaluation.
  ends = progress.judged_step == step and _ends_early(config, progress)
  total_steps = step if ends else max(step, total_steps)
  if step == total_steps and (figures := _finished(workdir, step)):
    manager.close()
    return figures
  if is_first:
    config_lib.write(config, workdir / "config.json")
    facts.write(workdir)
  _log.info("%s", notes.describe(run, step, total_steps))
  for line in notes.of_run(run) + (notes.of_start(run) if step == 0 else []):
    _log.info("note: %s", line)

  # Steps.
  record = run_log.Recorder(
    workdir,
    first_step=step,
    evaluated=progress.judged_step == step,
    total_steps=total_steps,
    steps_per_epoch=run.task.steps_per_epoch,
    batch_size=config.batch_size,
    hyperparameters=config_lib.flatten(config.to_dict()),
    enabled=is_first,
  )
  updates = {mesh: train_step.make_train_step(run.task, mesh) for mesh in run.meshes.values()}
  clock = run_log.Clock(step)
  tracer = run_log.Tracer(workdir, first=step + 10, steps=config.profile_steps)
  batches = run.train_batches(first_step=step)
  pending: collections.deque = collections.deque()
  results, logits, stopping, proven = {}, {}, False, False
  watchdog = Watchdog()
  with record, checkpoints.ending(manager), tracer, watchdog:
    # A run that ended between saving and evaluating evaluates first.
    evaluates = step > 0 and _evaluates(run, step, total_steps) and progress.judged_step != step
    if step < total_steps:
      _log.info("compiling the first step …")
    while True:
      if evaluates:
        watchdog.waits_for(f"the evaluation after step {step}")
        with record.bar.busy("evaluating …"):
          results, logits = _evaluate(run, states, watchdog)
        _record_evaluation(record, step, results, states)
        progress = progress.judged(step, _judged_top1(results))
        record.flush()
        checkpoints.set_evaluated(manager, step, _judged_top1(results), progress)
        if step < total_steps and _all_end_early(config, progress):
          _log.info("no new best in %d evaluations: ending early", config.early_stopping)
          total_steps = step
        clock.restart(step)
        watchdog.step_done()
      if step >= total_steps:
        break
      watchdog.waits_for(f"the data of step {step + 1} ({run.data_set.path})")
      with clock.waiting():
        shards = next(batches)
      watchdog.waits_for(f"step {step + 1} to be compiled or started")
      asked = {"stop": np.full(config.batch_size // jax.process_count(), stop.received, np.int32)}
      shards = {mesh: s | train_step.shard_batch(mesh, asked) for mesh, s in shards.items()}
      outputs = {}
      with own_parts.blamed(run.model_config, config.loss):
        for number, (name, mesh) in enumerate(run.meshes.items()):
          states[name], outputs[name] = updates[mesh](states[name], shards[mesh], np.int32(number))
      step += 1
      clock.dispatched(step, outputs)
      tracer.step(step)
      pending.append((step, outputs))

      evaluates = _evaluates(run, step, total_steps)
      saves = config.save_every_steps and step % config.save_every_steps == 0
      while len(pending) > (0 if evaluates or saves or stopping else LAG):
        watchdog.waits_for(f"the devices to end step {pending[0][0]}")
        stopping |= _read_step(record, *pending.popleft())
        watchdog.step_done()
      if evaluates or saves or stopping:  # saved before it is evaluated, which may take long
        watchdog.waits_for(f"the checkpoint of step {step}")
        if evaluates:
          record.scalars(step, clock.figures(step, config.batch_size))
        record.flush()
        checkpoints.save(manager, step, states, progress)
        if not proven:
          checkpoints.read_back(manager, step)
          proven = True
        clock.restart(step)
        watchdog.step_done()
      if stopping:
        checkpoints.wait(manager)
        raise Preempted(f"asked to end: saved step {step}; the same command goes on from there")

    # End.
    watchdog.waits_for("the results to be written")
    if not results:  # evaluated before, but its results were not written
      results, logits = _evaluate(run, states, watchdog)
    record.flush()
    if is_first:
      _write_results(run, workdir, step, progress, results, logits)
  return results["eval"]


def _evaluates(run: Experiment, step: int, total_steps: int) -> bool:
  """Whether the state after this step is evaluated."""
  epoch, within = divmod(step, run.task.steps_per_epoch)
  return step == total_steps or (within == 0 and epoch % run.config.eval_every == 0)


def check_same_run(workdir: pathlib.Path, run: Experiment) -> list[str]:
  """In what a workdir's checkpoints belong to another computation, where the config allows that.

  Raises:
    ConfigError: they do, and it is not allowed.
  """
  facts = workdir_lib.read(workdir)
  changed = config_lib.differences(config_lib.read(workdir / "config.json"), run.config)
  changed += [f"data set: {what}" for what in facts.data_differences(run.data_set)]
  if not changed:  # such as a skeleton's, or those of a graph's file
    changed = [f"model: {what}" for what in facts.model_differences(run.model_config)]
  if changed and not run.config.allow_config_change:
    raise ConfigError(
      f"{workdir} holds a run of another config; it differs in\n  "
      + "\n  ".join(changed)
      + "\nTake another --workdir, or resume all the same with --config.allow_config_change=True"
    )
  return changed + facts.code_differences(run.facts())


def _is_measured_otherwise(what: str) -> bool:
  """Whether a change of a config makes the accuracy of checkpoints another."""
  return what.startswith(("data", "model")) and not what.startswith(
    ("model.dropout", "model.dtype")
  )


def _read_step(record: run_log.Recorder, step: int, outputs) -> bool:
  """Records a step that is done; returns whether any process was asked to end.

  Every process reads the same values at the same step, so that all of them stop together.
  """
  figures = {name: jax.device_get(values) for name, values in outputs.items()}
  for name, values in figures.items():
    if not values["finite"]:
      raise RunError(
        f"step {step}, stream {name}: the loss ({values['loss']}) or gradient norm "
        f"({values['grad_norm']}) is not finite. No checkpoint holds that step or a later one. "
        "A lower optimizer.learning_rate or optimizer.clip_norm may help"
      )
  record.step(step, figures)
  return any(values["stop"] for values in figures.values())


def _evaluate(run: Experiment, states, watchdog: Watchdog):
  """Evaluates every stream and their fusions.

  Returns:
    Figures by split, {'holdout': …, 'eval': …}, and the logits of the eval split.
  """
  variables = {name: train_step.eval_variables(state) for name, state in states.items()}
  labels = run.data_set.table["label"]
  splits = split_logits.predict_splits(run, variables, batch_done=watchdog.step_done)
  results = {
    split: {
      name: metrics.summarize(values, labels[getattr(run.split, split)])
      for name, values in logits.items()
    }
    for split, logits in splits.items()
  }
  return results, splits["eval"]


def _record_evaluation(record: run_log.Recorder, step: int, results, states) -> None:
  for split, figures in results.items():
    record.evaluation(step, split, figures)
    accuracies = "  ".join(f"{name} {100 * row['top1']:.2f} %" for name, row in figures.items())
    _log.info("epoch %d, %s: top-1 %s", record.epoch(step), split, accuracies)
  images = {}
  for name, state in states.items():
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.params.get("blocks", ())):
      tag = f"adjacency/{name}/block_{path[0].key}"  # the first one of each block
      if optimizer.is_learned_adjacency(path) and tag not in images:
        images[tag] = plots.adjacency_image(np.asarray(leaf.addressable_data(0)))
  record.images(step, images)


def _judged_top1(results) -> float:
  """The accuracy that selects: of held-out subjects where there are such."""
  return fusion.headline(results.get("holdout", results["eval"]))["top1"]


def _ends_early(config: ConfigDict, progress: checkpoints.Progress) -> bool:
  return 0 < config.early_stopping <= progress.since_best


def _all_end_early(config: ConfigDict, progress: checkpoints.Progress) -> bool:
  """`_ends_early`, as the first process finds: others, fitting fusion weights, may round otherwise.

  Where one ended and another did not, that one would wait for ever.
  """
  return bool(multihost_utils.broadcast_one_to_all(np.int32(_ends_early(config, progress))))


def _finished(workdir: pathlib.Path, step: int) -> Figures | None:
  """The last evaluation of a run that ended at this step, if all its results are written."""
  summary = None
  with contextlib.suppress(DataError):  # missing or damaged, it is written again
    summary = files.read_json(workdir / "summary.json")
  # All processes have to agree, or some would wait for others that have ended.
  written = _is_summary(summary) and summary["step"] == step
  if not multihost_utils.broadcast_one_to_all(np.int32(written)):
    return None
  _log.info("this run is finished.\n%s\n%s", summary["text"], _whereabouts(workdir))
  return summary["last"]


def _is_summary(value: Any) -> bool:
  """Whether this is what `_write_results` writes."""
  match value:
    case {"step": _, "last": dict(last), "best": _, "text": str()} if last:
      figures = set(metrics.FIGURES)
      return all(isinstance(row, dict) and set(row) == figures for row in last.values())
  return False


def _whereabouts(workdir: pathlib.Path) -> str:
  return (
    f"in {workdir}: checkpoints/, scores.npz, confusion_matrix.png, learning_curves.png, "
    "metrics.csv, log.txt, tensorboard/"
  )


def _write_results(run: Experiment, workdir: pathlib.Path, step, progress, results, logits):
  """Scores, pictures and, last, the summary that marks the run as finished."""
  selected_on = "held-out subjects" if "holdout" in results else "the evaluation split"
  results = results["eval"]
  main = fusion.headline_name(results)
  scores = split_logits.scores(run, "eval", logits)
  for name, of_clips in scores.items():
    of_clips.save(workdir / f"scores{fusion.suffix(name, scores)}.npz", step=step)
  last = results[main]
  title = f"{run.data_set.name}, {run.config.data.protocol}, {main}: {100 * last['top1']:.1f} %"
  matrix = metrics.confusion_matrix(scores[main].logits, scores[main].labels)
  plots.confusion_matrix(
    matrix, run.data_set.class_names, workdir / "confusion_matrix.png", title=title
  )
  curves = run_log.read_curves(workdir / "metrics.csv")
  plots.learning_curves(curves, workdir / "learning_curves.png", title=title)
  ended = f", an end selected on {selected_on}" if _ends_early(run.config, progress) else ""
  epoch = lambda step: -(-step // run.task.steps_per_epoch)  # that it is part of, from 1
  text = (
    f"last epoch ({epoch(step)}{ended}), {main}: "
    f"{metrics.in_words(last, run.task.num_classes)}\n"
    f"best epoch ({epoch(progress.best_step)}, selected on {selected_on}): "
    f"top-1 there {100 * progress.best_top1:.2f} %"
  )
  _log.info("%s\n%s", text, _whereabouts(workdir))
  summary = {"step": step, "last": results, "best": dataclasses.asdict(progress), "text": text}
  files.write_json(workdir / "summary.json", summary)
