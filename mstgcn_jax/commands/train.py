"""Trains a network, or goes on training: mstgcn train --config ntu_joint

The config is a file, or the name of one that comes with the package. Any field of it can be set:
--config.model.width=64. The results lie in --workdir (default runs/NAME_OF_CONFIG); the same
command again resumes.
"""

import pathlib

from ml_collections import ConfigDict

from mstgcn_jax import words
from mstgcn_jax.commands import process
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import distributed

_USAGE = "mstgcn train --config FILE|NAME [--workdir DIR] [--config.FIELD=VALUE …]"
_FLAGS = {
  "config": "file of the experiment, or the name of one of configs/",
  "workdir": "where results go; default runs/NAME_OF_CONFIG",
  "coordinator": "HOST:PORT of process 0, of several",
  "num_processes": "number of processes, of several",
  "process_id": "this process, from 0, of several",
}


def parse(argv: list[str]) -> tuple[dict[str, str], ConfigDict | None]:
  """The flags given, and the config of the file that --config names with its changes.

  Both --flag=value and --flag value are understood.

  Raises:
    ConfigError: a flag or a field does not exist, or a value is none of it.
  """
  given = {}
  changes, argv = process.config_changes(argv)
  arguments = iter(argv)
  for argument in arguments:
    name, equals, value = argument.lstrip("-").partition("=")
    if not argument.startswith("-"):
      raise ConfigError(
        f"unexpected argument {argument!r}; the config is named by --config, its fields are set by "
        "--config.FIELD=VALUE"
      )
    if name not in _FLAGS:
      raise ConfigError(
        f"no such flag: --{name}{words.did_you_mean(name, _FLAGS)}\nusage: {_USAGE}"
      )
    if not equals and (value := next(arguments, None)) is None:
      raise ConfigError(f"--{name} needs a value\nusage: {_USAGE}")
    given[name] = value
  if "config" not in given:
    if changes:
      raise ConfigError(f"--config is missing: the file whose fields are changed\nusage: {_USAGE}")
    return given, None
  return given, config_lib.load(given["config"], changes)


def print_help(argv: list[str]) -> None:
  """What the command takes; with --config, every field and its value, as they can be typed."""
  _, config = parse(argv)
  print(f"{__doc__}\nusage: {_USAGE}\n")
  for name, text in _FLAGS.items():
    print(f"  --{name:14} {text}")
  if config is None:
    print("\nwith --config FILE, --help prints every field that --config.FIELD=VALUE can set")
    return
  print("\nfields of this config:")
  for name, value in config_lib.flatten(config.to_dict()).items():
    print(f"  {config_lib.typed(name, value)}")


def main(argv: list[str]) -> int:
  """Trains; returns the exit status."""
  if {"-h", "--help"} & set(argv):
    print_help([argument for argument in argv if argument not in ("-h", "--help")])
    return 0
  given, config = parse(argv)
  if config is None:
    raise ConfigError(f"--config is missing\nusage: {_USAGE}")
  config_lib.validate(config)
  distributed.initialize(
    coordinator=given.get("coordinator"),
    num_processes=_number(given, "num_processes"),
    process_id=_number(given, "process_id"),
    heartbeat_timeout=config.heartbeat_timeout,
  )
  process.start(trains=True)
  workdir = pathlib.Path(given.get("workdir") or f"runs/{config_lib.name_of(given['config'])}")
  with process.interrupted_at_once():
    from mstgcn_jax.training import loop  # after distributed: it touches devices and TensorFlow

  loop.train(config, workdir)
  return 0


def _number(given: dict[str, str], name: str) -> int | None:
  if name not in given:
    return None
  if not given[name].isdecimal():
    raise ConfigError(f"--{name} is {given[name]!r}; it must be a whole number from 0")
  return int(given[name])
