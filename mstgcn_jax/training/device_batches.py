"""Batches on their way from the host to the devices, ahead of the step that needs them."""

import collections
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
from jax.sharding import Mesh, PartitionSpec

from mstgcn_jax.data import temporal_sampling
from mstgcn_jax.training import train_step

AHEAD = 2  # batches on the devices beside the one in use


@functools.lru_cache(maxsize=8)
def expander(mesh: Mesh, scale: float, center: int | None):
  """`temporal_sampling.expand(frames, shown)`, jitted for a mesh; every device has the frames of
  its own clips, so nothing travels between them."""
  expand = functools.partial(temporal_sampling.expand, scale=scale, center=center)
  split = PartitionSpec(train_step.DATA_AXIS)
  return jax.jit(jax.shard_map(expand, mesh=mesh, in_specs=(split, split), out_specs=split))


def on_devices(
  batches: Iterable[dict[str, Any]],
  fields: Sequence[str],
  meshes: Iterable[Mesh],
  *,
  scale: float,
  center: int | None,
) -> Iterator[dict[Mesh, dict[str, jax.Array]]]:
  """Puts host batches on the devices of each mesh, `AHEAD` batches before they are taken.

  Args:
    batches: from `input_pipeline`, with as many shares as a mesh has devices of this process.
    fields: what to put there beside the clips.
    meshes: of equally many devices.
    scale, center: as for `temporal_sampling.expand`.
  Yields:
    mesh -> clips float32 [batch, person, frame, joint, channel], and the fields; global arrays.
  """
  meshes = dict.fromkeys(meshes)  # each once

  def put(batch: dict[str, Any]) -> dict[Mesh, dict[str, jax.Array]]:
    result = {}
    for mesh in meshes:
      placed = train_step.shard_batch(mesh, {k: batch[k] for k in ("frames", "shown", *fields)})
      clips = expander(mesh, scale, center)(placed.pop("frames"), placed.pop("shown"))
      result[mesh] = {"clips": clips, **placed}
    return result

  batches = iter(batches)
  ready = collections.deque(map(put, itertools.islice(batches, AHEAD)))
  while ready:
    yield ready.popleft()
    ready.extend(map(put, itertools.islice(batches, 1)))
