"""Which joints and frames decided, by occlusion and by gradient × input; and whether they did.

Importance is of the logarithm of the class's probability, [person, frame, joint] of the window.
Occlusion: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks (ECCV 2014).
Gradient × input: Shrikumar et al., Not Just a Black Box (2016). Deletion curve: Petsiuk, Das and
Saenko, RISE (BMVC 2018).
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mstgcn_jax.skeletons import Skeleton
from mstgcn_jax.use.classifier import Classifier, finite, in_batches

BLOCKS = 8  # in time, that a joint is left out in
SHARES = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
_AT_ONCE = 32  # clips that go through the network together


class Calibrated:
  """A classifier of clips [batch, person, …] whose logits are divided by a temperature."""

  def __init__(self, classify: Classifier, temperature: float):
    self.step = classify.step
    self.logits = lambda clips: classify.logits(clips) / temperature

  def __call__(self, clips: jax.Array) -> jax.Array:
    return jax.nn.softmax(self.logits(clips))


Network = Classifier | Calibrated
Method = Callable[[Network, np.ndarray, int], np.ndarray]


def probabilities(classify: Network, clips: Iterable[np.ndarray]) -> np.ndarray:
  """[clip, class], in batches of one size, so that one is compiled; DataError where not finite."""
  return finite(np.concatenate(list(in_batches(classify, clips, _AT_ONCE))), classify.step)


def occlusion(classify: Network, clip: np.ndarray, target: int) -> np.ndarray:
  """How much less likely the class becomes where a joint is untracked for an eighth of the window.

  Args:
    clip: [person, frame, joint, channel], as `Classifier.from_recording` gives.
    target: the class.
  Returns:
    Loss of log probability, float32 [person, frame, joint]; equal within a block of frames.
  """
  persons, frames, joints, _ = clip.shape
  edges = np.linspace(0, frames, min(BLOCKS, frames) + 1).round().astype(int)
  spans = [slice(a, b) for a, b in itertools.pairwise(edges)]
  places = [
    (person, span, joint)
    for person in range(persons)
    for span in spans
    for joint in range(joints)
    if clip[person, span, joint].any()
  ]
  importance = np.zeros(clip.shape[:3], np.float32)
  if not places:
    return importance

  def without(place: tuple[int, slice, int]) -> np.ndarray:
    left = np.array(clip)
    left[place] = 0
    return left

  shown = itertools.chain([clip], map(without, places))
  whole, *without_each = np.log(probabilities(classify, shown)[:, target] + 1e-30)
  for place, value in zip(places, without_each, strict=True):
    importance[place] = whole - value
  return importance


def gradient_times_input(classify: Network, clip: np.ndarray, target: int) -> np.ndarray:
  """Slope of the class's log probability in each coordinate times it, summed over channels.

  Arguments and result as of `occlusion`.
  """
  return fused_gradient_times_input([classify], [1], clip, target)


def fused_gradient_times_input(
  classifiers: Sequence[Network], weights: Sequence[float], clip: np.ndarray, target: int
) -> np.ndarray:
  """`gradient_times_input` of the mean of several streams' probabilities, by their weights."""
  slopes = _slopes(tuple(classifiers), tuple(weights))(clip, target)
  return np.asarray((slopes * clip).sum(-1), np.float32)


@functools.lru_cache(maxsize=1)  # for the clips of a report, or of deletion curves
def _slopes(classifiers: tuple[Network, ...], weights: tuple[float, ...]):
  """(clip, target) -> the gradient of the class's log probability, compiled in one."""

  def log_probability(x: jax.Array, target: jax.Array) -> jax.Array:
    logs = [jax.nn.log_softmax(classify.logits(x[None]))[0, target] for classify in classifiers]
    return jax.nn.logsumexp(jnp.stack(logs), b=jnp.asarray(weights))

  return jax.jit(jax.grad(log_probability))


METHODS: dict[str, Method] = {"occlusion": occlusion, "gradient × input": gradient_times_input}


@dataclasses.dataclass(frozen=True)
class Explanation:
  """Why a clip was taken for what it was taken for.

  Attributes:
    clip: the window that was seen, [person, frame, joint, channel].
    target: the class that is explained.
    probability: of that class.
    importance: method -> [person, frame, joint].
  """

  clip: np.ndarray
  target: int
  probability: float
  importance: dict[str, np.ndarray]


def explain(classify: Network, clip: np.ndarray, target: int | None = None) -> Explanation:
  """Explains a clip by every method.

  Args:
    clip: as `Classifier.from_recording` gives; of several views the middle one is explained.
    target: the class; by default the likeliest.
  """
  clip = middle_view(clip)
  found = probabilities(classify, [clip])[0]
  target = int(found.argmax()) if target is None else target
  importance = {name: method(classify, clip, target) for name, method in METHODS.items()}
  return Explanation(clip, target, float(found[target]), importance)


def in_words(importance: np.ndarray, skeleton: Skeleton, count: int = 5) -> str:
  """The joints and the eighth of the frames that speak most for the class.

  Args:
    importance: [person, frame, joint].
    count: of joints.
  """
  positive = np.maximum(importance, 0)
  total = max(float(positive.sum()), 1e-12)
  several = (positive.sum((1, 2)) > 0).sum() > 1
  by_joint = positive.sum(1)  # [person, joint]
  order = np.argsort(-by_joint, axis=None, kind="stable")[:count]
  said = []
  for cell in order.tolist():
    person, joint = divmod(cell, by_joint.shape[1])
    who = f" of person {person + 1}" if several else ""
    said.append(f"{skeleton.joints[joint]}{who} ({100 * by_joint[person, joint] / total:.0f} %)")
  frames = positive.sum((0, 2))
  length = max(1, len(frames) // BLOCKS)
  sums = np.convolve(frames, np.ones(length), "valid")
  start = int(sums.argmax())
  share = 100 * sums[start] / total
  when = f"frames {start + 1} to {start + length}" if length > 1 else f"frame {start + 1}"
  return f"{', '.join(said)}; {when} of {len(frames)} ({share:.0f} %)"


def middle_view(clip: np.ndarray) -> np.ndarray:
  """[person, frame, joint, channel] of a clip that may have several views."""
  return clip[len(clip) // 2] if clip.ndim == 5 else clip


def deleted(clip: np.ndarray, order: np.ndarray, share: float) -> np.ndarray:
  """The clip without a share of its tracked joints, the first in an order.

  Args:
    order: numbers of the cells of [person, frame, joint], all of them tracked.
  """
  out = np.array(clip)
  out.reshape(-1, clip.shape[-1])[order[: round(share * len(order))]] = 0
  return out


def by_importance(clip: np.ndarray, importance: np.ndarray) -> np.ndarray:
  """Numbers of the tracked cells of [person, frame, joint], the most important first."""
  cells = np.flatnonzero(clip.any(-1))
  return cells[np.argsort(-importance.ravel()[cells], kind="stable")]


def at_random(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Numbers of the tracked cells of [person, frame, joint] in random order."""
  return rng.permutation(np.flatnonzero(clip.any(-1)))


def deletion_curves(
  classify: Network, clips: Sequence[np.ndarray], seed: int = 0
) -> dict[str, np.ndarray]:
  """Method, or 'random' -> mean probability [share] of the class that the whole clip is taken for.

  At each of `SHARES`, that part of a clip's tracked joint-frames is left out, the most important
  first. The lower, the better the method knows what decides.
  """
  rng = np.random.default_rng(seed)
  curves = {name: np.zeros(len(SHARES)) for name in (*METHODS, "random")}
  for clip in map(middle_view, clips):
    target = int(probabilities(classify, [clip])[0].argmax())
    orders = {
      name: by_importance(clip, method(classify, clip, target)) for name, method in METHODS.items()
    }
    orders["random"] = at_random(clip, rng)
    shown = [deleted(clip, order, share) for order in orders.values() for share in SHARES]
    found = probabilities(classify, shown)[:, target].reshape(len(orders), len(SHARES))
    for name, curve in zip(orders, found, strict=True):
      curves[name] += curve / len(clips)
  return curves


def area(curve: np.ndarray) -> float:
  """Below a deletion curve, by the trapezoidal rule: 0 to 1."""
  return float(np.trapezoid(curve, SHARES))
