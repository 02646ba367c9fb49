"""Partition strategies: a skeleton's edges -> adjacency [K, V, V] of the graph convolutions."""

from collections.abc import Iterable

import numpy as np

from mstgcn_jax.errors import ConfigError
from mstgcn_jax.skeletons import Skeleton

STRATEGIES = (
  *("uniform", "distance*", "distance", "spatial"),
  *("DAD", "DLD", "parts", "parts+spatial"),
)
# Those of other networks.
FURTHER_STRATEGIES = ("stgcn", "binary")


# Long: every strategy, side by side.
def adjacency(skeleton: Skeleton, strategy: str = "spatial") -> np.ndarray:
  """Adjacency matrices of the partition strategy (Yan et al. 2018, section 3.3).

      mst.adjacency(mst.skeletons.get("ntu_rgbd")).shape  # (3, 25, 25)

  With I the self links, In the inward links, Out the outward ones and N = In + Out; col divides
  every column by its sum, sym(A) = D^-1/2 A D^-1/2, and a part's links are `skeleton.part_edges`:

    uniform    [col(N + I)]         distance*      [I - col(N)]
    distance   [I, col(N)]          spatial        [I, col(In), col(Out)]
    DAD        [sym(N + I)]         DLD            [I - sym(N)]
    parts      [I, sym(N of each part)...]
    parts+spatial  [I, col(In), col(Out) of each part...]
    stgcn      as ST-GCN's published code has it, below     binary     [N]

  `stgcn` divides Â = col(N + I) up: the diagonal; the links v -> w for which v is not nearer to the
  centre (the root of the links); the other links. That code knows distances up to one hop only,
  and takes all others as equally far, so that the third has only the links from the centre and from
  its neighbours.

  Args:
    skeleton: The joint layout.
    strategy: One of `STRATEGIES` or `FURTHER_STRATEGIES`.
  Returns:
    float64 [K, V, V]; A[k, source, target], so an edge (i, j) sets A[j, i].
  Raises:
    ConfigError: The strategy is unknown, or the skeleton has no body parts where it needs them.
  """
  eye = np.eye(skeleton.num_joints)
  inward = _links(skeleton.num_joints, skeleton.inward)
  outward = inward.T
  # An edge listed in both directions is still one neighbour.
  neighbours = np.maximum(inward, outward)
  match strategy:
    case "uniform":
      subsets = [_col(neighbours + eye)]
    case "distance*":
      subsets = [eye - _col(neighbours)]
    case "distance":
      subsets = [eye, _col(neighbours)]
    case "spatial":
      subsets = [eye, _col(inward), _col(outward)]
    case "DAD":
      subsets = [_sym(neighbours + eye)]
    case "DLD":
      subsets = [eye - _sym(neighbours)]
    case "parts" | "parts+spatial":
      subsets = [eye]
      for edges in skeleton.require("part_edges", f"partition strategy {strategy!r}"):
        inward = _links(skeleton.num_joints, edges)
        if strategy == "parts":
          subsets += [_sym(np.maximum(inward, inward.T))]
        else:
          subsets += [_col(inward), _col(inward.T)]
    case "stgcn":
      subsets = _by_distance(_col(neighbours + eye), _hops(inward))
    case "binary":
      subsets = [neighbours]
    case _:
      known = ", ".join(STRATEGIES + FURTHER_STRATEGIES)
      raise ConfigError(f"strategy: {strategy!r} is unknown; known: {known}")
  return np.stack(subsets)


def by_hops(links: np.ndarray, scales: int) -> np.ndarray:
  """Joints by their distance, [scales, V, V], each matrix divided by the sums of its columns.

  The k-th links joints that are k hops from each other, and each joint with itself (Liu et al.
  2020, section 3.2: k-adjacency).

  Args:
    links: [V, V], what is not 0 is a link; those of joints with themselves are added.
    scales: so that the farthest are `scales` - 1 hops away.
  """
  itself = np.eye(len(links), dtype=bool)
  step = (links != 0) | itself
  within, found = itself, [itself]
  for _ in range(scales - 1):
    before, within = within, within @ step
    found.append((within & ~before) | itself)
  return np.stack([_col(matrix.astype(float)) for matrix in found])


def _links(num_joints: int, edges: Iterable[tuple[int, int]]) -> np.ndarray:
  matrix = np.zeros((num_joints, num_joints))
  for child, parent in edges:
    matrix[parent, child] = 1
  return matrix


def _hops(inward: np.ndarray) -> np.ndarray:
  """Hops of each joint to the centre, the joint that links to no other: 0, 1 or infinity."""
  centre = inward.sum(axis=0) == 0
  return np.where(centre, 0, np.where(inward[centre].any(axis=0), 1, np.inf))


def _by_distance(matrix: np.ndarray, hops: np.ndarray) -> list[np.ndarray]:
  """A matrix [source, target] as the sum of its diagonal, of links from sources that are not nearer
  to the centre than their target, and of those from nearer ones."""
  itself = np.eye(len(matrix), dtype=bool)
  nearer = hops[:, None] < hops
  return [np.where(mask, matrix, 0) for mask in (itself, ~itself & ~nearer, ~itself & nearer)]


def _col(matrix: np.ndarray) -> np.ndarray:
  """Divides every column by its sum; an empty column stays 0."""
  sums = matrix.sum(axis=0)
  return matrix / np.where(sums > 0, sums, 1)


def _sym(matrix: np.ndarray) -> np.ndarray:
  """D^-1/2 A D^-1/2 with the column sums on D; an empty column stays 0."""
  sums = matrix.sum(axis=0)
  scale = np.where(sums > 0, sums, np.inf) ** -0.5
  return scale[:, None] * matrix * scale
