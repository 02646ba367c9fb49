"""A run on frames that come in one by one."""

import pathlib

import jax
import numpy as np

from mstgcn_jax import skeletons, words
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.use.classifier import Classifier, bounded

MAX_PERSONS = 64  # in one frame


class Stream:
  """Class probabilities of the last frames, every `hop` frames.

      stream = mst.Stream("runs/quickstart", frames=32)
      for frame in np.load("my_clip.npy"):  # [joint, channel] or [person, joint, channel]
        if (probabilities := stream.push(frame)) is not None:
          print(stream.class_names[int(probabilities.argmax())])

  They are what `Classifier` says of these frames as a recording of their own, by the same code.

  Attributes:
    class_names: one per class.
    frames: how many are looked at.
    hop: frames from one answer to the next.
    count: frames pushed so far.
    classifier: takes the clips.
  """

  def __init__(
    self,
    workdir: str | pathlib.Path | Classifier,
    *,
    frames: int | None = None,
    hop: int | None = None,
    checkpoint: str | int = "newest",
    stream: str | None = None,
    trust: bool = False,
  ):
    """Loads a run and compiles it; errors as for `Classifier`.

    Args:
      workdir: of the run, or a `Classifier` of it, with which the arguments behind `hop` are not
        used.
      frames: looked at; by default as many as the run's window. A run with 'uniform' sampling was
        trained on whole clips: give it as many frames as these have.
      hop: by default a quarter of `frames`.
    """
    if not isinstance(workdir, Classifier):
      workdir = Classifier(workdir, checkpoint=checkpoint, stream=stream, trust=trust)
    self.classifier = workdir
    self.class_names = workdir.class_names
    self.frames = workdir.sampling.window if frames is None else frames
    self.hop = max(1, self.frames // 4) if hop is None else hop
    for name in ("frames", "hop"):
      value = getattr(self, name)
      if type(value) is not int or value < 1:
        raise ConfigError(f"{name} is {value!r}; expected a whole number of 1 or more")
    self._layout = (workdir.skeleton.num_joints, workdir.channels)
    self.clear()
    jax.block_until_ready(workdir(self.example()[None]))

  def clear(self) -> None:
    """Forgets all frames, as before the first."""
    persons = self.classifier.sampling.num_persons
    self._ring = np.zeros((persons, self.frames, *self._layout), np.float32)
    self.count = 0

  def example(self) -> np.ndarray:
    """A clip of the shape of those that `take` gives, to compile with what takes them."""
    return self.classifier.from_recording(np.ones((1, self.frames, *self._layout), np.float32))

  def push(self, frame: np.ndarray) -> np.ndarray | None:
    """Takes a frame; probabilities [class] where one is due, else None.

    One is due with frame number `frames`, and `hop` frames after each; where nobody has been seen
    in the last `frames`, there is none.

    Args:
      frame: numbers [joint, channel] or [person, joint, channel], as recorded: 0 where nothing is
        tracked. A place in it is a person: who is not there is 0, or left out at the end, and may
        come back. Of those in the window, the first are looked at, as many as the run takes.
    Raises:
      ConfigError: another shape.
      DataError: a coordinate is not finite, or beyond reason; the frame is not taken. Or the frames
        to be looked at are in pixels that do not fit the classifier's `picture`.
    """
    clip = self.take(frame)
    return None if clip is None else np.asarray(self.classifier(clip[None]))[0]

  def take(self, frame: np.ndarray) -> np.ndarray | None:
    """As `push`, but gives the clip that an answer is due for, as `Classifier` takes it."""
    frame = self._checked(frame)
    if self.classifier.scored:
      frame = skeletons.without_unscored(frame)
    if len(frame) > len(self._ring):
      more = np.zeros((len(frame) - len(self._ring), *self._ring.shape[1:]), np.float32)
      self._ring = np.concatenate([self._ring, more])
    place = self.count % self.frames
    self._ring[: len(frame), place] = frame
    self._ring[len(frame) :, place] = 0
    self.count += 1
    if self.count < self.frames or (self.count - self.frames) % self.hop:
      return None
    window = self.window()
    return self.classifier.from_recording(window) if window.any() else None

  def window(self) -> np.ndarray:
    """The last frames pushed, the oldest first: [person, frame, joint, channel]."""
    if self.count < self.frames:
      return self._ring[:, : self.count].copy()
    return np.roll(self._ring, -(self.count % self.frames), axis=1)

  def _checked(self, frame: np.ndarray) -> np.ndarray:
    try:
      found = np.asarray(frame, np.float32)
    except (TypeError, ValueError, OverflowError):
      raise ConfigError(f"the frame is {frame!r:.60}; expected an array of numbers") from None
    if found.ndim == 2:
      found = found[None]
    if found.size == 0:
      return np.zeros((0, *self._layout), np.float32)
    if found.ndim != 3 or found.shape[1:] != self._layout or len(found) > MAX_PERSONS:
      joints, channels = self._layout
      raise ConfigError(
        f"the frame has the shape {found.shape}; expected [joint, channel] or [person, joint, "
        f"channel] with {joints} joints of {self.classifier.skeleton.name} and "
        f"{words.counted(channels, 'channel')}, and up to {MAX_PERSONS} persons"
      )
    return bounded(found, "[person, joint, channel]")
