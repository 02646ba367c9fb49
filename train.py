"""Trains an MST-GCN, or goes on training: python train.py --config configs/ntu_joint.py

Any field of the config can be set: --config.model.width=64. The results lie in --workdir
(default runs/NAME_OF_CONFIG); the same command again resumes.
"""

import pathlib
import statistics
import sys

from mstgcn_jax import command

command.quiet_libraries()

import jax  # noqa: E402
from absl import flags  # noqa: E402
from ml_collections import config_flags  # noqa: E402

from mstgcn_jax import distributed  # noqa: E402
from mstgcn_jax.errors import ConfigError  # noqa: E402

_CONFIG = config_flags.DEFINE_config_file("config", None, "File of the experiment, see configs/.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; default runs/NAME_OF_CONFIG.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, of several.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of processes, of several.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "This process, from 0, of several.")


def parse(argv: list[str]) -> None:
  """Parses flags and overrides; ConfigError where absl and ml_collections raise many types."""
  try:
    rest = flags.FLAGS(argv)
    if _CONFIG.value is not None:
      _CONFIG.value.to_dict()  # a file that could not be loaded says so only when it is used
  except Exception as error:
    message = " ".join(str(error).split()) or type(error).__name__
    raise ConfigError(f"{message}\nusage: {__doc__.splitlines()[0]}") from error
  if len(rest) > 1:
    raise ConfigError(f"unexpected argument {rest[1]!r}; overrides are --config.FIELD=VALUE")
  if _CONFIG.value is None:
    raise ConfigError(f"--config is missing\nusage: {__doc__.splitlines()[0]}")


def main() -> int:
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
  # After distributed: they touch devices and TensorFlow.
  from mstgcn_jax import config as config_lib
  from mstgcn_jax import loop

  name = pathlib.Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
  workdir = pathlib.Path(_WORKDIR.value or f"runs/{name}")
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
    for stream in accuracies[0]:
      values = [row[stream] for row in accuracies]
      deviation = statistics.stdev(values) if len(values) > 1 else 0.0
      print(f"  {stream}: {statistics.mean(values):.2f} ± {deviation:.2f} %")
    return 0
  except loop.Preempted as reason:
    print(reason)
    return loop.EXIT_PREEMPTED


if __name__ == "__main__":
  with command.errors_in_one_line():
    status = main()
  sys.exit(status)
