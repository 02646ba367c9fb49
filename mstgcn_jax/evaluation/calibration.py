"""Whether 80 % means 80 %: expected calibration error, and the temperature that mends it.

Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks (ICML 2017).
"""

import dataclasses
import pathlib
import shlex

import numpy as np

from mstgcn_jax import files
from mstgcn_jax.errors import DataError, first_line
from mstgcn_jax.evaluation import metrics

BINS = 15
FILE = "calibration.json"
_COLDEST, _HOTTEST = 0.1, 10.0


@dataclasses.dataclass(frozen=True)
class Reliability:
  """Clips sorted by confidence into bins of equal width, (b / BINS, (b + 1) / BINS].

  Attributes:
    count: int [bin] clips.
    confidence, accuracy: [bin] means, 0 where a bin has no clip.
  """

  count: np.ndarray
  confidence: np.ndarray
  accuracy: np.ndarray

  @property
  def error(self) -> float:
    """Mean over clips of |accuracy - confidence| of the bin that the clip is in (eq. 3)."""
    gap = self.count * np.abs(self.accuracy - self.confidence)
    return float(gap.sum() / self.count.sum())


def reliability(confidence: np.ndarray, right: np.ndarray) -> Reliability:
  """The reliability diagram of answers (Guo et al., section 2).

  Args:
    confidence: [clip] probability of the answer.
    right: bool [clip], whether it is right.
  """
  place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
  count, *sums = (
    np.bincount(place, weights, minlength=BINS) for weights in (None, confidence, right)
  )
  return Reliability(count, *(total / np.maximum(count, 1) for total in sums))


def expected_calibration_error(logits: np.ndarray, labels: np.ndarray) -> float:
  """`Reliability.error` of logits [clip, class] for labels int [clip].

  A clip's confidence is its highest probability.
  """
  right = metrics.ranks(logits, labels) == 0
  return reliability(metrics.softmax(logits).max(1), right).error


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
  """The temperature T for which softmax(logits / T) has the lowest cross-entropy, 0.1 to 10.

  It is convex in 1 / T; T is where its slope changes sign. Clips without a mistake would be the
  better the surer, without end; they say nothing of how sure to be, and T is 1.
  """
  from scipy import optimize  # takes a third of a second, which using a temperature need not

  if not metrics.ranks(logits, labels).any():
    return 1.0
  shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
  right = np.take_along_axis(shifted, labels[:, None], 1)[:, 0]
  e = np.empty_like(shifted)  # filled again and again: new pages take longer than the sums

  def slope(log: float) -> float:
    np.exp(np.multiply(shifted, np.exp(-log), out=e), out=e)
    return float(np.mean(np.einsum("ij,ij->i", e, shifted) / e.sum(1) - right))

  coldest, hottest = np.log(_COLDEST), np.log(_HOTTEST)
  if not slope(hottest) < 0:
    return _HOTTEST
  if not slope(coldest) > 0:
    return _COLDEST
  return float(np.exp(optimize.brentq(slope, coldest, hottest, xtol=1e-9)))


def apply(logits: np.ndarray, temperature: float) -> np.ndarray:
  """Probabilities at a temperature, float64 [clip, class]; log probabilities serve as logits."""
  return metrics.softmax(np.asarray(logits, np.float64) / temperature)


@dataclasses.dataclass(frozen=True)
class Calibration:
  """Temperatures of a run.

  Attributes:
    temperatures: stream or fusion -> temperature.
    step: training step of the parameters that they belong to.
    fitted_on: in words, such as '108 held-out clips of subject 7'.
  """

  temperatures: dict[str, float]
  step: int
  fitted_on: str

  def save(self, workdir: pathlib.Path) -> None:
    """Writes `workdir`/calibration.json."""
    files.write_json(workdir / FILE, dataclasses.asdict(self))


def load(workdir: pathlib.Path) -> Calibration | None:
  """The calibration that a workdir holds; None where it has none, DataError where it is damaged."""
  path = workdir / FILE
  if not path.exists():
    return None
  content = files.read_json(path)
  try:
    temperatures = {str(k): float(v) for k, v in content["temperatures"].items()}
    if not all(_COLDEST / 2 < value < _HOTTEST * 2 for value in temperatures.values()):
      raise ValueError(f"temperatures are {temperatures}")
    return Calibration(temperatures, int(content["step"]), str(content["fitted_on"]))
  except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
    raise DataError(
      f"{path} is damaged ({first_line(error)}); write it again: {command(workdir)}"
    ) from error


def of_run(workdir: pathlib.Path, name: str, step: int) -> tuple[float, str]:
  """Temperature of a run's stream or fusion at a step, 1 where none was fitted, and that in words.

  Raises:
    DataError: as `load`.
  """
  found = load(workdir)
  if found is None or name not in found.temperatures:
    return 1.0, (
      f"probabilities are not calibrated: {command(workdir)} does it, where the run held training "
      "subjects out"
    )
  if found.step != step:
    return 1.0, (
      f"probabilities are not calibrated: {workdir / FILE} is for step {found.step}, this is step "
      f"{step}"
    )
  temperature = found.temperatures[name]
  return temperature, (
    f"probabilities are calibrated: temperature {temperature:.3g}, fitted on {found.fitted_on}"
  )


def command(workdir: pathlib.Path) -> str:
  """What to type so that a run's temperatures are fitted and written."""
  return f"mstgcn evaluate {shlex.quote(str(workdir))} --calibrate"
