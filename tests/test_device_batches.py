"""Batches arrive whole on the devices, ahead of the step that needs them."""

import itertools

import numpy as np
import pytest
from prepared import prepare, random_clips

from mstgcn_jax.data import input_pipeline
from mstgcn_jax.training import device_batches, train_step


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
  return prepare(tmp_path_factory.mktemp("data"), random_clips(9))


def on_devices(data_set, batches, meshes, *fields):
  return device_batches.on_devices(
    batches, fields, meshes, scale=data_set.scale, center=data_set.center
  )


def test_clips_on_a_device_are_those_of_the_data_set(data_set, monkeypatch):
  mesh, how = train_step.make_mesh(), data_set.sampling(12)
  shard_batch, put = train_step.shard_batch, []
  spied = lambda mesh, arrays: put.append(mesh) or shard_batch(mesh, arrays)
  monkeypatch.setattr(train_step, "shard_batch", spied)
  host = input_pipeline.eval_batches(data_set, range(9), how, batch_size=4, shares=mesh.size)
  seen = []
  for batch in on_devices(data_set, host, [mesh, mesh], "index", "valid"):
    assert batch.keys() == {mesh}
    arrays = {name: np.asarray(array) for name, array in batch[mesh].items()}
    assert arrays.keys() == {"clips", "index", "valid"}
    for clip, row in zip(arrays["clips"][arrays["valid"]], arrays["index"], strict=False):
      np.testing.assert_array_equal(clip, data_set.sample(row, 12))
      seen.append(int(row))
  assert seen == list(range(9))
  assert put == [mesh] * 3  # each once, however many streams sit there
  assert device_batches.expander(mesh, 1.0, 1) is device_batches.expander(mesh, 1.0, 1)  # compiled


def test_two_batches_are_on_the_devices_before_they_are_needed(data_set):
  taken = []

  def host():
    for number in itertools.count():
      taken.append(number)
      shown = np.zeros((4, 2, 12), np.int32)
      yield {"frames": np.ones((8, 25, 3), np.float32), "shown": shown, "label": np.full(4, number)}

  mesh = train_step.make_mesh()
  batches = on_devices(data_set, host(), [mesh], "label")
  labels = []
  for number in range(3):
    labels.append(int(next(batches)[mesh]["label"][0]))
    assert len(taken) == number + 2
  assert labels == [0, 1, 2]
