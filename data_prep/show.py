"""Draw a clip of a prepared data set."""

import argparse

from mstgcn_jax.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The sub-command's arguments."""


def run(args: argparse.Namespace) -> None:
  """Not written yet."""
  raise ConfigError("not written yet")
