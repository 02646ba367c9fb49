"""The training loop: from a config and a workdir to a trained, evaluated model."""

import collections
import contextlib
import dataclasses
import logging
import os
import pathlib
import signal
import statistics
import threading
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from mstgcn_jax import files, words
from mstgcn_jax.data.data_set import say_copies
from mstgcn_jax.errors import ConfigError, DataError, RunError
from mstgcn_jax.evaluation import fusion, metrics, plots
from mstgcn_jax.training import checkpoints, devices, optimizer, predict, run_log, train_step
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.training.experiment import Experiment, set_up
from mstgcn_jax.training.watchdog import Watchdog

# Steps between dispatching a step and reading its figures, so that devices never wait for the
# host.
LAG = 2
# Exit status after SIGTERM or Ctrl-C: sysexits' EX_TEMPFAIL, "try again later".
EXIT_PREEMPTED = 75
_log = logging.getLogger("mstgcn_jax")


class Preempted(Exception):
  """The run was asked to end, has saved, and goes on when started again."""


def train(
  config: ConfigDict | str | pathlib.Path,
  workdir: str | pathlib.Path,
  *,
  stop: "StopSignal | None" = None,
) -> predict.Figures:
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
  with contextlib.ExitStack() as stack:
    if stop is None:
      stop = stack.enter_context(StopSignal())
    if jax.process_index() == 0:  # of several processes the first one writes
      stack.enter_context(files.only_writer(workdir))
    stack.enter_context(run_log.logging_to(workdir, quiet=jax.process_index() != 0))
    return (_train_seeds if config.seeds else _train_seed)(config, workdir, stop)


def _train_seeds(config: ConfigDict, workdir: pathlib.Path, stop: "StopSignal") -> predict.Figures:
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
def _train_seed(config: ConfigDict, workdir: pathlib.Path, stop: "StopSignal") -> predict.Figures:
  # Data, model, optimiser.
  run = set_up(config)
  total_steps = config.epochs * run.steps_per_epoch
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
  multihost_utils.assert_equal(np.int32(step), "processes restored different steps")
  for what in changed:
    _log.info("note: going on with another config, %s", what)
  if config.data.normalize and any(what.startswith("data") for what in changed):
    _log.info("note: data.normalize goes on with the mean and deviation of the clips before")
  other = any(map(_is_measured_otherwise, changed))
  if other:  # figures from before, and an early end by them, are of other clips or another network
    progress = checkpoints.Progress()
    checkpoints.forget_figures(manager)
    if is_first:
      (workdir / "summary.json").unlink(missing_ok=True)
  # Where it was not evaluated, as when it was stopped, it goes on to the next evaluation.
  ends = progress.judged_step == step and _ends_early(config, progress)
  total_steps = step if ends else max(step, total_steps)
  if not other and step == total_steps and (figures := _finished(workdir, step)):
    manager.close()
    return figures
  if is_first:
    config_lib.write(config, workdir / "config.json")
    run.facts().write(workdir)
  _log.info("%s", describe(run, step, total_steps))
  for line in notes(run) + (start_notes(run) if step == 0 else []):
    _log.info("note: %s", line)

  # Steps.
  record = run_log.Recorder(
    workdir,
    first_step=step,
    evaluated=progress.judged_step == step,
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
        record.bar.busy("evaluating …")
        results, logits = _evaluate(run, states)
        _record_evaluation(record, step, results, states)
        progress = progress.judged(step, _judged_top1(results))
        record.flush()
        checkpoints.set_evaluated(manager, step, _judged_top1(results), progress)
        if step < total_steps and _ends_early(config, progress):
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
          checkpoints.read_back(manager, step, states)
          proven = True
        clock.restart(step)
        watchdog.step_done()
      if stopping:
        checkpoints.wait(manager)
        raise Preempted(f"asked to end: saved step {step}; the same command goes on from there")

    # End.
    watchdog.waits_for("the results to be written")
    if not results:  # evaluated before, but its results were not written
      results, logits = _evaluate(run, states)
    record.flush()
    if is_first:
      _write_results(run, workdir, step, progress, results, logits)
  return results["eval"]


def _evaluates(run: Experiment, step: int, total_steps: int) -> bool:
  """Whether the state after this step is evaluated."""
  epoch, within = divmod(step, run.steps_per_epoch)
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
  return changed


def _is_measured_otherwise(what: str) -> bool:
  """Whether a change of a config makes the accuracy of checkpoints another."""
  return what.startswith(("data", "model")) and not what.startswith(
    ("model.dropout", "model.dtype")
  )


def describe(run: Experiment, step: int, total_steps: int) -> str:
  """What is about to happen, in a line."""
  config, split = run.config, run.split
  start = f"resuming from step {step} of {total_steps}" if step else f"{total_steps} steps"
  hidden = int((run.data_set.table["persons"] > config.data.num_persons).sum())
  held = f" and {len(split.holdout):,} held-out" if len(split.holdout) else ""
  evaluated = words.counted(len(split.eval), f"evaluation{held} clip")
  both = int(np.isin(split.eval, split.train).sum())
  parts = [
    f"{run.data_set.name} ({config.data.protocol}), {', '.join(config.streams)}: "
    f"{len(split.train):,} training, {evaluated}, {words.counted(run.task.num_classes, 'class')}",
    devices.in_words(),
    start,
  ]
  if hidden:
    seen = config.data.num_persons
    parts.append(f"of {words.counted(hidden, 'clip')} with more people, {seen} seen")
  if both:
    parts.append(f"{both:,} {'clip is' if both == 1 else 'clips are'} trained on and evaluated")
  return "; ".join(parts)


def notes(run: Experiment) -> list[str]:
  """What the config says and has no effect, with these data, a line each."""
  lines = config_lib.notes(run.config)
  most, persons = int(run.data_set.table["persons"].max()), run.config.data.num_persons
  if most < persons:
    lines.append(
      f"data.num_persons is {persons}, but no clip has more than {words.counted(most, 'person')}: "
      "the others stay empty and cost as much as those who are there"
    )
  lines += _notes_of_split(run)
  if run.data_set.center is None:
    asked = {"center": run.config.data.center != "frame", "body_size": run.config.data.body_size}
    for field in (name for name, is_asked in asked.items() if is_asked):
      lines.append(f"data.{field} has no effect: the clips of {run.data_set.name} are not centred")
  if devices.dtype_for_use(run.model_config.dtype) != run.model_config.dtype:
    lines.append(
      "model.dtype is bfloat16 on a CPU: most are slower in it, and with jaxlib from 0.11 on some "
      "networks come out wrong (docs/networks.md)"
    )
  wanted, done = config_lib.augmentation(run.config), run.task.augmentation
  if wanted.mirror != done.mirror:
    layout = run.data_set.skeleton.name
    lines.append(f"augment.mirror has no effect: the layout {layout} names no `mirror` pairs")
  if wanted.rotation != done.rotation:
    lines.append("augment.rotation has an effect about z only: the clips are taken to be flat")
  return lines


def _notes_of_split(run: Experiment) -> list[str]:
  """What makes the figures of a split others than they seem, a line each."""
  lines, split = [], run.split
  consequences = (
    ("evaluation", split.eval, "mstgcn evaluate says how many of the others are right"),
    ("held-out", split.holdout, "what is fitted on these takes them for unseen"),
  )
  for kind, rows, consequence in consequences:
    if copies := run.data_set.copies_of(split.train, rows):
      clips = words.counted(len(rows), f"{kind} clip")
      said = say_copies(list(copies.items()), run.data_set.column("name"))
      lines.append(
        f"{len(copies):,} of {clips} are copies of training clips ({said}); {consequence}"
      )
  labels = run.data_set.table["label"]
  if len(untrained := np.setdiff1d(labels[split.eval], labels[split.train])):
    some = [run.data_set.class_names[label] for label in untrained[:3]]
    some += ["…"] if len(untrained) > len(some) else []
    lines.append(
      f"{words.counted(len(untrained), 'class')} evaluated without a training clip: "
      f"{', '.join(some)}; hardly any of their clips can be right"
    )
  return lines


def start_notes(run: Experiment) -> list[str]:
  """In what `init_from` was trained on something else although its tensors fit, a line each."""
  config = run.config
  if not config.init_from:
    return []
  lines, facts = [], workdir_lib.read(config.init_from)
  differences = facts.clip_differences(run.facts())
  if (path := pathlib.Path(config.init_from) / "config.json").is_file():
    said = [f"with data.normalize={c.data.normalize}" for c in (config_lib.read(path), config)]
    differences += [tuple(said)] if len(set(said)) == 2 else []
  for was, now in differences:
    lines.append(f"init_from was trained on clips {was}; these are {now}")
  others = ("num_classes", "skeleton", "num_persons", "dropout")  # said below, or free
  model = [
    what for what in facts.model_differences(run.model_config) if not what.startswith(others)
  ]
  if model:
    lines.append(
      f"init_from's network is another one ({'; '.join(model[:4])}{'; …' * (len(model) > 4)})"
    )
  there, here = facts.model.skeleton, run.data_set.skeleton
  ignored = lambda name: any(part in name for part in config.init_ignore)
  by_joint = ("norm_in.scale", "learned_adjacency")
  if there.joints != here.joints and not all(map(ignored, by_joint)):
    lines.append(
      f"init_from has joints of {there.name}, these clips those of {here.name}: what it learned of "
      "one joint is taken for another's; init_ignore can keep learned_adjacency and norm_in fresh"
    )
  if other := [name for name in config.streams if name not in facts.streams]:
    lines.append(f"init_from was trained on {', '.join(facts.streams)}, not {', '.join(other)}")
  known = facts.data_name is not None  # an imported model's classes are numbers
  if (
    known
    and not ignored("classifier.kernel")
    and facts.class_names != tuple(run.data_set.class_names)
  ):
    lines.append(
      "init_from's classes, or their order, are not those of these data: what it learned of one is "
      "taken for another's; init_ignore=('classifier',) starts the classifier fresh"
    )
  return lines


class StopSignal:
  """Notes SIGTERM and Ctrl-C instead of dying of them, so that the loop can save first.

  A second Ctrl-C ends at once. Outside the main thread, where Python allows no handlers, nothing
  is noted.
  """

  def __init__(self):
    self.received = False
    self._previous = {}

  def __enter__(self):
    if threading.current_thread() is threading.main_thread():
      for number in (signal.SIGTERM, signal.SIGINT):
        self._previous[number] = signal.signal(number, self._note)
    return self

  def _note(self, number, _):
    if number == signal.SIGINT:
      if self.received:
        raise KeyboardInterrupt
      # Not print: the main thread may be in the middle of it.
      os.write(2, b"\nsaving and ending after this step; Ctrl-C once more ends at once\n")
    self.received = True

  def check(self, done: str) -> None:
    """Raises Preempted if any process was asked to end; to be called by all of them."""
    if np.any(multihost_utils.process_allgather(np.int32(self.received))):
      raise Preempted(f"asked to end: {done}; the same command goes on from there")

  def __exit__(self, *_):
    for number, previous in self._previous.items():
      signal.signal(number, previous)


def _read_step(record: run_log.Recorder, step: int, outputs) -> bool:
  """Records a step that is done; returns whether any process was asked to end.

  Every process reads the same values at the same step, so that all of them stop together.
  """
  figures = {name: jax.device_get(values) for name, values in outputs.items()}
  for name, values in figures.items():
    if not values["finite"]:
      raise RunError(
        f"step {step}, stream {name}: the loss ({values['loss']}) or gradient norm "
        f"({values['grad_norm']}) is not finite. No checkpoint holds that step "
        "or a later one. A lower optimizer.learning_rate or "
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
  splits = predict.predict_splits(run, variables)
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


def _finished(workdir: pathlib.Path, step: int) -> predict.Figures | None:
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
      figures = {"loss", "top1", "top5", "mean_class"}
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
  scores = predict.scores(run, "eval", logits)
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
  epoch = lambda step: -(-step // run.steps_per_epoch)  # that it is part of, from 1
  text = (
    f"last epoch ({epoch(step)}{ended}), {main}: "
    f"{metrics.in_words(last, run.task.num_classes)}\n"
    f"best epoch ({epoch(progress.best_step)}, selected on {selected_on}): "
    f"top-1 there {100 * progress.best_top1:.2f} %"
  )
  _log.info("%s\n%s", text, _whereabouts(workdir))
  summary = {"step": step, "last": results, "best": dataclasses.asdict(progress), "text": text}
  files.write_json(workdir / "summary.json", summary)
