"""Trains an MST-GCN, or goes on training: python train.py --config configs/ntu_joint.py

Any field of the config can be set: --config.model.width=64. The results lie in --workdir
(default runs/NAME_OF_CONFIG); the same command again resumes.
"""

import contextlib
import itertools
import pathlib
import statistics
import sys

from mstgcn_jax import command

command.quiet_libraries()

import jax  # noqa: E402
from absl import flags  # noqa: E402
from ml_collections import ConfigDict, config_flags  # noqa: E402

from mstgcn_jax import config as config_lib  # noqa: E402
from mstgcn_jax import distributed, files  # noqa: E402
from mstgcn_jax.errors import ConfigError  # noqa: E402

_CONFIG = config_flags.DEFINE_config_file("config", None, "File of the experiment, see configs/.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; default runs/NAME_OF_CONFIG.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, of several.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of processes, of several.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "This process, from 0, of several.")


_USAGE = "python train.py --config FILE [--workdir DIR] [--config.FIELD=VALUE …]"


def parse(argv: list[str]) -> None:
  """Parses flags and overrides; ConfigError where absl and ml_collections raise many types."""
  try:
    rest = flags.FLAGS(argv)
    if _CONFIG.value is not None:
      _CONFIG.value.to_dict()  # a file that could not be loaded says so only when it is used
  except Exception as error:
    for flag, value in itertools.pairwise(argument for a in argv for argument in a.split("=", 1)):
      if flag.lstrip("-") == "config":
        config_lib.load(value)  # says better what is wrong with a file
    message = " ".join(str(error.args[0] if error.args else type(error).__name__).split())
    unknown = "no such field: " if isinstance(error, KeyError | AttributeError) else ""
    raise ConfigError(f"{unknown}{message}\nusage: {_USAGE}") from error
  if len(rest) > 1:
    raise ConfigError(f"unexpected argument {rest[1]!r}; overrides are --config.FIELD=VALUE")
  if _CONFIG.value is None:
    raise ConfigError(f"--config is missing\nusage: {_USAGE}")


def print_help(argv: list[str]) -> None:
  """What the command takes; with --config, every field and its value."""
  print(f"{__doc__}\nusage: {_USAGE}\n")
  for flag in (_CONFIG, _WORKDIR, _COORDINATOR, _NUM_PROCESSES, _PROCESS_ID):
    print(f"  --{flag.name:14} {flags.FLAGS[flag.name].help}")
  if len(argv) == 1:
    print("\nwith --config FILE, --help prints every field that --config.FIELD=VALUE can set")
    return
  parse(argv)
  print("\nfields of this config:")
  for name, value in config_lib.flatten(_CONFIG.value.to_dict()).items():
    print(f"  --config.{name}={value!r}")


def main() -> int:
  if {"-h", "--help"} & set(sys.argv):
    print_help([argument for argument in sys.argv if argument not in ("-h", "--help")])
    return 0
  parse(sys.argv)
  config = _CONFIG.value
  distributed.initialize(
    coordinator=_COORDINATOR.value,
    num_processes=_NUM_PROCESSES.value,
    process_id=_PROCESS_ID.value,
    heartbeat_timeout=config.heartbeat_timeout,
  )
  command.fuse_elementwise_on_cpu()
  command.use_compilation_cache()
  name = pathlib.Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
  workdir = pathlib.Path(_WORKDIR.value or f"runs/{name}")
  # Of several processes the first one writes.
  with contextlib.nullcontext() if jax.process_index() else files.only_writer(workdir):
    return run(config, workdir)


def run(config: ConfigDict, workdir: pathlib.Path) -> int:
  """Trains the config's seed or seeds; returns the exit status."""
  from mstgcn_jax import loop  # after distributed: it touches devices and TensorFlow

  try:
    if not config.seeds:
      loop.train(config, workdir)
      return 0
    config_lib.validate(config)
    accuracies = []
    with loop.StopSignal() as stop:
      for seed in config.seeds:
        stop.check(f"seeds before {seed} are finished")
        one = config.copy_and_resolve_references()
        one.seed, one.seeds = seed, ()
        results = loop.train(one, workdir / f"seed_{seed}", stop=stop)
        accuracies.append({name: 100 * row["top1"] for name, row in results.items()})
    if jax.process_index():
      return 0
    print(f"last epoch, top-1 over seeds {tuple(config.seeds)}:")
    summary = {}
    for stream in accuracies[0]:
      values = [row[stream] for row in accuracies]
      mean = statistics.mean(values)
      deviation = statistics.stdev(values) if len(values) > 1 else 0.0
      summary[stream] = {"mean": mean, "deviation": deviation, "of_seeds": values}
      print(f"  {stream}: {mean:.2f} ± {deviation:.2f} %")
    files.write_json(workdir / "seeds.json", {"seeds": list(config.seeds), "top1": summary})
    print(f"in {workdir}: seeds.json, and a workdir for each seed")
    return 0
  except loop.Preempted as reason:
    print(reason)
    return loop.EXIT_PREEMPTED


if __name__ == "__main__":
  with command.errors_in_one_line():
    status = main()
  sys.exit(status)
