"""Preparing a data set and looking at one: what python -m data_prep does."""

from data_prep.__main__ import main


def prepare(argv: list[str]) -> int:
  """mstgcn prepare SOURCE --raw DIR --out DATA_DIR"""
  return main(argv, prog="mstgcn prepare")


def info(argv: list[str]) -> int:
  """mstgcn info DATA_SET"""
  return main(["info", *argv], prog="mstgcn")


def show(argv: list[str]) -> int:
  """mstgcn show DATA_SET --out clip.gif"""
  return main(["show", *argv], prog="mstgcn")
