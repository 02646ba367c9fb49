"""People across frames: who is the same, when somebody comes and goes, and who is kept.

Pose estimators number people anew in every frame. Here each frame's people are assigned to those
followed so far, all at once and so that the joints move as little as possible in total (the
Hungarian method, as SORT has it for boxes: Bewley et al. 2016), in units of the person's size.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_prep.decode.people import Frames, Person

MAX_GAP = 15  # frames; half a second of most videos
KEEP = ("motion", "score")
_FARTHEST = 1.0  # sizes that joints move from one frame to the next, on average
_FARTHER = 0.1  # more for every frame of a gap
_AHEAD = 5  # frames of a gap in which somebody is expected to walk on
_OLD = 0.02  # sizes that a frame of a gap costs: who was just here is preferred
_SAME_NUMBER = 0.5  # times the distance, where the estimator says that it is the same person


@dataclasses.dataclass(eq=False)
class Track:
  """One person's way through the frames.

  Attributes:
    times: the frames in which the person was found, ascending.
    people: what was found there.
    step: [2 or 3], how far the person moves from frame to frame, smoothed.
    size: mean distance of the joints from their middle, smoothed.
  """

  times: list[int]
  people: list[Person]
  step: np.ndarray
  size: float

  @classmethod
  def begin(cls, time: int, person: Person) -> "Track":
    return cls([time], [person], np.zeros(person.points.shape[1]), _size(person))

  def add(self, time: int, person: Person) -> None:
    last, gap = self.people[-1], time - self.times[-1]
    moved = _ways(last, person).mean(axis=0) / gap
    self.step = moved if len(self.times) == 1 else 0.7 * self.step + 0.3 * moved
    self.size = 0.8 * self.size + 0.2 * _size(person)
    self.times.append(time)
    self.people.append(person)


def link(frames: Frames, max_gap: int = MAX_GAP) -> list[Track]:
  """Follows everybody through the frames.

  Somebody whom nobody of a frame is near enough to is looked for in the next `max_gap` frames;
  found there, it is the same track, with a gap (nothing is put into it). Later it is another one.
  Who is near to no track begins one.

  Args:
    frames: the people of every frame, in any order.
    max_gap: frames in a row without somebody who is still followed; 0 for none.
  Returns:
    The tracks in the order in which they begin; each found person is in exactly one.
  """
  done: list[Track] = []
  open_tracks: list[Track] = []
  for time, people in enumerate(frames):
    gone = [track for track in open_tracks if time - track.times[-1] > max_gap + 1]
    done += gone
    open_tracks = [track for track in open_tracks if track not in gone]
    free = set(range(len(people)))
    for track, i in _assign(open_tracks, people, time):
      open_tracks[track].add(time, people[i])
      free.remove(i)
    open_tracks += [Track.begin(time, people[i]) for i in sorted(free)]
  return sorted(done + open_tracks, key=lambda track: track.times[0])


def keep(tracks: Sequence[Track], frames: int, count: int, by: str = "motion") -> list[np.ndarray]:
  """The `count` people who move most, or have the highest scores, the main person first.

  Both are measured over the whole clip: who is seen in a tenth of it counts a tenth. Tracks that
  never overlap in time share a person's place, the better one deciding it.

  Args:
    tracks: of `link`.
    frames: length of the clip.
    count: people at most.
    by: 'motion' (standard deviation of the joints, in sizes) or 'score' (mean of the joints').
  Returns:
    float32 [frame, joint, channel + 1] per person: points, and their scores as the last channel; 0
    where not found.
  """
  measure = {"motion": _motion, "score": _score}[by]
  ranked = sorted(tracks, key=lambda track: -measure(track) * len(track.times))
  places: list[list[Track]] = []
  for track in ranked:
    free = (place for place in places if not any(_overlap(track, other) for other in place))
    place = next(free, None)
    if place is not None:
      place.append(track)
    elif len(places) < count:
      places.append([track])
  return [_as_array(place, frames) for place in places]


def _assign(tracks: Sequence[Track], people: Sequence[Person], time: int) -> list[tuple[int, int]]:
  """Pairs (track, person) near enough to be the same, of the least total distance."""
  if not tracks or not people:
    return []
  from scipy import optimize  # takes a third of a second, which other sources need not wait for

  costs = np.array([[_cost(track, person, time) for person in people] for track in tracks])
  # A pair that is too far costs as much as two who stay alone: it never pays to prefer it.
  rows, columns = optimize.linear_sum_assignment(np.minimum(costs, 1))
  pairs = zip(rows.tolist(), columns.tolist(), strict=True)
  return [(row, column) for row, column in pairs if costs[row, column] < 1]


def _cost(track: Track, person: Person, time: int) -> float:
  """Distance from where the track is expected, as a share of the farthest one allowed."""
  last, gap = track.people[-1], time - track.times[-1]
  expected = track.step * min(gap, _AHEAD)
  away = np.linalg.norm(_ways(last, person) - expected, axis=-1).mean()
  distance = away / max(track.size, 1e-9) + _OLD * (gap - 1)
  if person.number is not None and person.number == last.number:
    distance *= _SAME_NUMBER
  return distance / (_FARTHEST + _FARTHER * (gap - 1))


def _ways(last: Person, person: Person) -> np.ndarray:
  """Ways of the joints found both times, [joint, 2 or 3]; with hardly any, the middle's, [1, …]."""
  both = (last.scores > 0) & (person.scores > 0)
  if both.sum() < 3:
    return (_middle(person) - _middle(last))[None]
  return (person.points - last.points)[both]


def _middle(person: Person) -> np.ndarray:
  return person.points[person.scores > 0].mean(axis=0)


def _size(person: Person) -> float:
  points = person.points[person.scores > 0]
  return float(np.linalg.norm(points - points.mean(axis=0), axis=-1).mean())


def _motion(track: Track) -> float:
  """Standard deviation of every joint over the track, in sizes, on average over joints."""
  points = np.stack([person.points for person in track.people])
  found = np.stack([person.scores for person in track.people]) > 0
  count = np.maximum(found.sum(axis=0), 1)[:, None]
  mean = (points * found[..., None]).sum(axis=0) / count
  spread = np.sqrt((((points - mean) * found[..., None]) ** 2).sum(axis=0) / count)
  return float(np.linalg.norm(spread, axis=-1).mean()) / max(track.size, 1e-9)


def _score(track: Track) -> float:
  return float(np.mean([person.scores.mean() for person in track.people]))


def _overlap(one: Track, other: Track) -> bool:
  return one.times[0] <= other.times[-1] and other.times[0] <= one.times[-1]


def _as_array(tracks: Sequence[Track], frames: int) -> np.ndarray:
  joints, channels = tracks[0].people[0].points.shape
  person = np.zeros((frames, joints, channels + 1), np.float32)
  for track in tracks:
    for time, found in zip(track.times, track.people, strict=True):
      person[time, :, :-1], person[time, :, -1] = found.points, found.scores
  return person
