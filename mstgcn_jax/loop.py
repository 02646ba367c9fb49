"""The training loop: from a config and a workdir to a trained, evaluated model."""

import collections
import contextlib
import logging
import pathlib
import signal

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from mstgcn_jax import (
  checkpoints,
  evaluation,
  files,
  metrics,
  optimizer,
  plots,
  run_log,
  train_step,
)
from mstgcn_jax import config as config_lib
from mstgcn_jax.errors import ConfigError, DataError, RunError
from mstgcn_jax.experiment import Experiment, data_differences, set_up
from mstgcn_jax.watchdog import Watchdog

# Steps between dispatching a step and reading its figures, so that devices never wait for the
# host.
LAG = 2
# Exit status after SIGTERM: sysexits' EX_TEMPFAIL, "try again later".
EXIT_PREEMPTED = 75
_log = logging.getLogger("mstgcn_jax")


class Preempted(Exception):
  """The run was asked to end (SIGTERM), has saved, and goes on when started again."""


def train(
  config: ConfigDict, workdir: pathlib.Path, *, stop: "StopSignal | None" = None
) -> evaluation.Figures:
  """Trains in `workdir`, from its newest good checkpoint where there is one.

  Args:
    stop: of a command that does more than one run; SIGTERM is otherwise heeded during this one.
  Returns:
    The last evaluation: stream or fusion -> loss, top1, top5, mean_class.
  Raises:
    ConfigError, DataError, RunError: with one clear message.
    Preempted: after SIGTERM, when the state is saved.
  """
  if stop is None:
    with StopSignal() as stop:
      return train(config, workdir, stop=stop)

  # Data, model, optimiser.
  run = set_up(config)
  total_steps = config.epochs * run.steps_per_epoch

  # Restore.
  is_first = jax.process_index() == 0
  workdir.mkdir(parents=True, exist_ok=True)
  run_log.start_logging(workdir, quiet=not is_first)
  manager = checkpoints.make_manager(workdir)
  changed = [] if manager.latest_step() is None else check_same_run(workdir, run)
  restored = checkpoints.restore_newest(manager, run.abstract_states())
  if restored is not None:
    step, states, progress = restored
  else:
    step, states = 0, run.initial_states()
    progress = checkpoints.NO_PROGRESS
  multihost_utils.assert_equal(np.int32(step), "processes restored different steps")
  total_steps = step if _ends_early(config, progress) else max(step, total_steps)
  if any(what.startswith("data") for what in changed):
    # Figures from before were measured on something else.
    progress = checkpoints.NO_PROGRESS
    checkpoints.forget_figures(manager)
    if is_first:
      (workdir / "summary.json").unlink(missing_ok=True)
  elif step == total_steps and (figures := _finished(workdir, step)):
    manager.close()
    return figures
  if is_first:
    config_lib.write(config, workdir / "config.json")
    checkpoints.write_model_facts(workdir, run.facts())
  _log.info("%s", describe(run, step, total_steps))

  # Steps.
  record = run_log.Recorder(
    workdir,
    first_step=step,
    evaluated=progress["judged_step"] == step,
    total_steps=total_steps,
    steps_per_epoch=run.steps_per_epoch,
    batch_size=config.batch_size,
    hyperparameters=config_lib.flatten(config.to_dict()),
    enabled=is_first,
  )
  updates = {mesh: train_step.make_train_step(run.task, mesh) for mesh in run.meshes.values()}
  clock = run_log.Clock(step)
  tracer = run_log.Tracer(workdir, first=step + 10, steps=config.profile_steps)
  batches = run.train_batches(first_step=step)
  pending: collections.deque = collections.deque()
  results, logits, stopping = {}, {}, False
  watchdog = Watchdog()
  with record, manager, tracer, watchdog:
    while step < total_steps and not stopping:
      watchdog.waits_for(f"the data of step {step + 1} ({run.data_set.path})")
      with clock.waiting():
        shards = next(batches)
      watchdog.waits_for(f"step {step + 1} to be compiled or started")
      asked = {"stop": np.full(config.batch_size // jax.process_count(), stop.received, np.int32)}
      shards = {mesh: s | train_step.shard_batch(mesh, asked) for mesh, s in shards.items()}
      outputs = {}
      for number, (name, mesh) in enumerate(run.meshes.items()):
        states[name], outputs[name] = updates[mesh](states[name], shards[mesh], np.int32(number))
      step += 1
      clock.dispatched(step, outputs)
      tracer.step(step)
      pending.append((step, outputs))

      epoch, within = divmod(step, run.steps_per_epoch)
      evaluates = step == total_steps or (within == 0 and epoch % config.eval_every == 0)
      saves = config.save_every_steps and step % config.save_every_steps == 0
      while len(pending) > (0 if evaluates or saves or stopping else LAG):
        watchdog.waits_for(f"the devices to end step {pending[0][0]}")
        stopping |= _read_step(record, *pending.popleft())
        watchdog.step_done()
      if evaluates:
        watchdog.waits_for(f"the evaluation after step {step}")
        record.scalars(step, clock.figures(step, config.batch_size))
        results, logits = _evaluate(run, states)
        _record_evaluation(record, step, results, states)
        progress = _judge(progress, results, step)
        if _ends_early(config, progress):
          _log.info("no new best in %d evaluations: ending early", config.early_stopping)
          total_steps = step
      if evaluates or saves or stopping:
        watchdog.waits_for(f"the checkpoint of step {step}")
        record.flush()
        top1 = _judged_top1(results) if evaluates else None
        checkpoints.save(manager, step, states, progress, top1=top1)
        clock.restart(step)
        watchdog.step_done()
    watchdog.waits_for("the last checkpoint to be on the disk")
    checkpoints.wait(manager)
    if step < total_steps:
      raise Preempted(f"asked to end: saved step {step}; the same command goes on from there")

    # End.
    watchdog.waits_for("the results to be written")
    if not results:  # ended between its last checkpoint and here, or asked for fewer epochs
      results, logits = _evaluate(run, states)
      if progress["judged_step"] != step:
        _record_evaluation(record, step, results, states)
        progress = _judge(progress, results, step)
    record.flush()
    if is_first:
      _write_results(run, workdir, step, progress, results, logits)
  return results["eval"]


def check_same_run(workdir: pathlib.Path, run: Experiment) -> list[str]:
  """In what a workdir's checkpoints belong to another computation, where the config allows that.

  Raises:
    ConfigError: they do, and it is not allowed.
  """
  facts, now = checkpoints.read_model_facts(workdir), run.facts()
  changed = config_lib.differences(config_lib.read(workdir / "config.json"), run.config)
  # An imported model doesn't know its data.
  changed += [f"data set: {what}" for what in data_differences(facts, run.data_set)]
  if facts["model"] != now["model"] and not changed:
    changed = ["data set: skeleton, channels or classes"]
  if changed and not run.config.allow_config_change:
    raise ConfigError(
      f"{workdir} holds a run of another config; it differs in\n  "
      + "\n  ".join(changed)
      + "\nTake another --workdir, or resume all the same with --config.allow_config_change=True"
    )
  return changed


def describe(run: Experiment, step: int, total_steps: int) -> str:
  """What is about to happen, in a line."""
  config, split = run.config, run.split
  start = f"resuming from step {step} of {total_steps}" if step else f"{total_steps} steps"
  hidden = int((run.data_set.table["persons"] > config.data.num_persons).sum())
  held = f" and {len(split.holdout)} held-out" if len(split.holdout) else ""
  both = int(np.isin(split.eval, split.train).sum())
  return (
    f"{run.data_set.name} ({config.data.protocol}), {', '.join(config.streams)}: "
    f"{len(split.train)} training, {len(split.eval)} evaluation{held} clips, "
    f"{run.task.num_classes} classes; {jax.device_count()} device(s); {start}"
    + (f"; of {hidden} clips with more people, {config.data.num_persons} seen" if hidden else "")
    + (f"; {both} clips are trained on and evaluated" if both else "")
  )


class StopSignal:
  """Notes SIGTERM instead of dying of it, so that the loop can save first."""

  def __init__(self):
    self.received = False

  def __enter__(self):
    self._previous = signal.signal(signal.SIGTERM, self._note)
    return self

  def _note(self, *_):
    self.received = True

  def check(self, done: str) -> None:
    """Raises Preempted if any process was asked to end; to be called by all of them."""
    if np.any(multihost_utils.process_allgather(np.int32(self.received))):
      raise Preempted(f"asked to end: {done}; the same command goes on from there")

  def __exit__(self, *_):
    signal.signal(signal.SIGTERM, self._previous)


def _read_step(record: run_log.Recorder, step: int, outputs) -> bool:
  """Records a step that is done; returns whether any process was asked to end.

  Every process reads the same values at the same step, so that all of them stop together.
  """
  figures = {name: jax.device_get(values) for name, values in outputs.items()}
  for name, values in figures.items():
    if not values["finite"]:
      raise RunError(
        f"step {step}, stream {name}: the loss ({values['loss']}) or gradient norm "
        f"({values['grad_norm']}) is not finite. That step and those after it are not saved; "
        "the newest checkpoint is from before. A lower optimizer.learning_rate or "
        "optimizer.clip_norm may help"
      )
  record.step(step, figures)
  return any(values["stop"] for values in figures.values())


def _evaluate(run: Experiment, states):
  """Evaluates every stream and their fusions.

  Returns:
    Figures by split, {'holdout': …, 'eval': …}, and the logits of the eval split.
  """
  variables = {name: train_step.eval_variables(state) for name, state in states.items()}
  labels = run.data_set.table["label"]
  splits = evaluation.predict_splits(run, variables)
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
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.params["blocks"]):
      tag = f"adjacency/{name}/block_{path[0].key}"  # the first one of each block
      if optimizer.is_learned_adjacency(path) and tag not in images:
        images[tag] = plots.adjacency_image(np.asarray(leaf.addressable_data(0)))
  record.images(step, images)


def _judged_top1(results) -> float:
  """The accuracy that selects: of held-out subjects where there are such."""
  return evaluation.headline(results.get("holdout", results["eval"]))["top1"]


def _judge(progress: dict, results, step: int) -> dict:
  top1 = _judged_top1(results)
  if top1 > progress["best_top1"]:
    return {"best_top1": top1, "best_step": step, "since_best": 0, "judged_step": step}
  return progress | {"since_best": progress["since_best"] + 1, "judged_step": step}


def _ends_early(config: ConfigDict, progress: dict) -> bool:
  return 0 < config.early_stopping <= progress["since_best"]


def _finished(workdir: pathlib.Path, step: int) -> evaluation.Figures | None:
  """The last evaluation of a run that ended at this step, if all its results are written."""
  summary = {}
  with contextlib.suppress(DataError):  # missing or damaged, it is written again
    summary = files.read_json(workdir / "summary.json")
  # All processes have to agree, or some would wait for others that have ended.
  written = isinstance(summary, dict) and summary.get("step") == step
  if not multihost_utils.broadcast_one_to_all(np.int32(written)):
    return None
  _log.info("this run is finished.\n%s\n%s", summary["text"], _whereabouts(workdir))
  return summary["last"]


def _whereabouts(workdir: pathlib.Path) -> str:
  return (
    f"in {workdir}: checkpoints/, scores.npz, confusion_matrix.png, learning_curves.png, "
    "metrics.csv, log.txt, tensorboard/"
  )


def _write_results(run: Experiment, workdir: pathlib.Path, step, progress, results, logits):
  """Scores, pictures and, last, the summary that marks the run as finished."""
  selected_on = "held-out subjects" if "holdout" in results else "the evaluation split"
  results = results["eval"]
  main = evaluation.headline_name(results)
  scores = evaluation.eval_scores(run, logits)
  for name, of_clips in scores.items():
    of_clips.save(workdir / f"scores{evaluation.suffix(name, scores)}.npz", step=step)
  last = results[main]
  title = f"{run.data_set.name}, {run.config.data.protocol}, {main}: {100 * last['top1']:.1f} %"
  matrix = metrics.confusion_matrix(scores[main].logits, scores[main].labels)
  plots.confusion_matrix(
    matrix, run.data_set.class_names, workdir / "confusion_matrix.png", title=title
  )
  plots.learning_curves(workdir / "metrics.csv", workdir / "learning_curves.png", title=title)
  ended = f", an end selected on {selected_on}" if _ends_early(run.config, progress) else ""
  text = "\n".join(
    [
      f"last epoch ({step // run.steps_per_epoch}{ended}), {main}: "
      + metrics.in_words(last, run.task.num_classes),
      f"best epoch ({progress['best_step'] // run.steps_per_epoch}, selected on {selected_on}): "
      f"top-1 there {100 * progress['best_top1']:.2f} %",
    ]
  )
  _log.info("%s\n%s", text, _whereabouts(workdir))
  summary = {"step": step, "last": results, "best": progress, "text": text}
  files.write_json(workdir / "summary.json", summary)
