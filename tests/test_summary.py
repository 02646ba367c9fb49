"""The table of layers."""

from mstgcn_jax import summary
from mstgcn_jax.model import ModelConfig


def test_the_published_configuration_has_the_published_parameters_and_flops():
  rows = summary.rows(ModelConfig(num_classes=60), frames=300)
  # 2,896,055 in the publication's code, 4,704 of them in normalisations that it never uses.
  assert sum(row.parameters for row in rows) == 2_896_055 - 4_704
  assert round(sum(row.flops for row in rows) / 1e9, 2) == 34.67
  assert rows[-2].shape == (2, 75, 25, 448)


def test_other_block_types_have_the_published_parameters():
  # The publication's counts, less the unused normalisations of temporal `ms` layers.
  published = {"basic": 9_666_902, "bottle": 4_460_358, "ms_bottle": 2_732_871, "sep": 2_054_710}
  for block_type, parameters in published.items():
    config = ModelConfig(num_classes=60, block_type=block_type)
    assert sum(row.parameters for row in summary.rows(config)) == parameters, block_type


def test_flops_are_those_of_arithmetic_done_by_hand():
  config = ModelConfig(num_classes=7, num_persons=1, blocks=((3, 8, False, 2),))
  rows = {row.name: row for row in summary.rows(config, frames=10)}
  positions = 10 * 25
  project, aggregate = 2 * 3 * 3 * 8, 2 * 3 * 25 * 8  # K · C_in · C_out, K · V · C_out
  assert rows["blocks.0.spatial"].flops == positions * (project + aggregate)
  assert rows["blocks.0.temporal"].flops == positions // 2 * 2 * 9 * 8 * 8
  assert rows["classifier"].flops == 2 * 8 * 7


def test_the_command_prints_a_line_for_every_layer(capsys):
  summary.main(["--config", "configs/quickstart.py"])
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith("layer")
  assert any(line.startswith("blocks.1.temporal") for line in lines)
  assert lines[-1].endswith("GFLOP a clip")
