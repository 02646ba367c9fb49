"""Batches on their way from the host to the devices, ahead of the step that needs them."""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh, PartitionSpec

from mstgcn_jax.data import temporal_sampling
from mstgcn_jax.training import train_step

_Item = TypeVar("_Item")


def one_ahead(items: Iterable[_Item]) -> Iterator[_Item]:
  """The items, each given when the next one has been made.

  Where making one starts what devices do, they have work while the host waits for their results.
  """
  for item, _ in itertools.pairwise(itertools.chain(items, (None,))):
    yield item


@functools.lru_cache(maxsize=8)
def expander(mesh: Mesh, scale: float, center: int | None):
  """`temporal_sampling.expand(frames, shown, **placement)`, jitted for a mesh; every device has the
  frames of its own clips, so nothing travels between them."""
  split = PartitionSpec(train_step.DATA_AXIS)

  @functools.partial(jax.shard_map, mesh=mesh, in_specs=split, out_specs=split)
  def expand(frames, shown, placement):
    return temporal_sampling.expand(frames, shown, scale, center, **placement)

  return jax.jit(lambda frames, shown, **placement: expand(frames, shown, placement))


def on_devices(
  batches: Iterable[dict[str, Any]],
  fields: Sequence[str],
  meshes: Iterable[Mesh],
  *,
  scale: float,
  center: int | None,
) -> Iterator[dict[Mesh, dict[str, jax.Array]]]:
  """Puts host batches on the devices of each mesh, one ahead of the one that is taken.

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
      windows = [k for k in temporal_sampling.EXPANDED if k in batch]
      placed = train_step.shard_batch(mesh, {k: batch[k] for k in (*windows, *fields)})
      clips = expander(mesh, scale, center)(**{k: placed.pop(k) for k in windows})
      result[mesh] = {"clips": clips, **placed}
    return result

  return one_ahead(map(put, batches))
