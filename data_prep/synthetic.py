"""Stick people: a small stand-in for real recordings, with nothing to download.

Performers of different build, tempo and handedness act out 14 classes before three cameras. Every
second class is the one before it, backwards in time (sitting down, standing up), so that a pose, or
the mean over a clip, tells seven pairs apart but not their halves; four classes take two people.

A motion is a function of time that says where hips, hands and feet go and how the trunk leans. The
joints follow by forward kinematics from the pelvis along bones of fixed length, elbows and knees by
the law of cosines. A sensor then sees them from its side: with noise, worse where the trunk hides a
joint, with frames lost and people noticed late. Recordings are written as `.skeleton` files with
all their fields, so that whatever reads NTU RGB+D reads these.

Everything is a function of (seed, performer, action, repetition, camera): the same arguments give
the same bytes, and one recording does not depend on the others.
"""

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import tqdm

from data_prep import ntu
from data_prep.source import Recordings
from mstgcn_jax import skeletons
from mstgcn_jax.errors import ConfigError

CLASS_NAMES = (
  "sit down",
  "stand up",
  "pick up an object",
  "put down an object",
  "put on a hat",
  "take off a hat",
  "open a drawer",
  "close a drawer",
  "circle an arm forwards",
  "circle an arm backwards",
  "walk towards each other",
  "back away from each other",
  "push a person away",
  "pull a person closer",
)
PERFORMERS = 24
REPETITIONS = 1
CAMERAS = 3
FRAMES = (56, 88)  # a recording's length at 30 frames a second, for an average performer

_MANIFEST = "synthetic.json"
_FORMAT = 2  # of the recordings; raise it when the same arguments give other bytes
_SKELETON = skeletons.get("ntu_rgbd")
_MIRROR = np.arange(_SKELETON.num_joints)
for _left, _right in _SKELETON.mirror:
  _MIRROR[[_left, _right]] = _right, _left

# Axes of a person: x to the left, y up, z to the front; the floor is y = 0. Metres and radians.
_LEFT, _UP, _FRONT = np.eye(3)
_SIDES = (1.0, -1.0)  # left, right: limbs come in this order
_DEGREE = np.pi / 180


# ---------------------------------------------------------------------------- people


@dataclasses.dataclass(frozen=True)
class Performer:
  """Build and habits of one person; lengths in metres.

  Attributes:
    spine: lengths pelvis to mid-spine, to shoulders, to neck, to head.
    arm: upper arm, forearm, wrist to hand, hand to its tip.
    leg: thigh, shank, ankle above the floor, foot.
    shoulder, hip: half widths.
    size: height relative to the average.
    left_handed: one-person actions are mirrored.
    tempo, amplitude: relative to the average.
    lean: habitual forward lean of the trunk.
    stance: half the distance between the feet.
    elbows: how far the elbows point outwards, 0 (back) to 1 (aside).
  """

  spine: tuple[float, float, float, float]
  arm: tuple[float, float, float, float]
  leg: tuple[float, float, float, float]
  shoulder: float
  hip: float
  size: float
  left_handed: bool
  tempo: float
  amplitude: float
  lean: float
  stance: float
  elbows: float

  @property
  def reach(self) -> float:
    """Length of the straight arm, shoulder to wrist."""
    return self.arm[0] + self.arm[1]

  @property
  def hip_height(self) -> float:
    """Pelvis above the floor in relaxed standing."""
    return 0.985 * (self.leg[0] + self.leg[1]) + self.leg[2] + 0.04 * self.size


def performer(number: int, seed: int = 0) -> Performer:
  """The person of this number; the same for the same seed."""
  rng = np.random.default_rng([1, seed, number])
  size = np.clip(rng.normal(1, 0.06), 0.86, 1.14)
  upper, lower, arms = size * np.clip(rng.normal(1, 0.04, 3), 0.9, 1.1)
  return Performer(
    spine=tuple(upper * np.array([0.29, 0.22, 0.075, 0.14])),
    arm=tuple(arms * np.array([0.27, 0.245, 0.07, 0.075])),
    leg=tuple(lower * np.array([0.40, 0.40, 0.085, 0.13])),
    shoulder=size * np.clip(rng.normal(0.17, 0.013), 0.14, 0.2),
    hip=size * np.clip(rng.normal(0.085, 0.007), 0.07, 0.1),
    size=size,
    left_handed=rng.random() < 0.15,
    tempo=np.clip(rng.normal(1, 0.12), 0.75, 1.3),
    amplitude=np.clip(rng.normal(1, 0.1), 0.8, 1.2),
    lean=rng.normal(4, 3) * _DEGREE,
    stance=size * rng.uniform(0.09, 0.16),
    elbows=rng.uniform(0.2, 0.6),
  )


# ---------------------------------------------------------------------------- kinematics


@dataclasses.dataclass
class Motion:
  """What a person does, frame by frame, in own axes with the origin on the floor below the pelvis.

  Attributes:
    pelvis: [frame, 3], from relaxed standing.
    pitch, roll, twist: [frame], the trunk's lean to the front, to the left, its turn to the left.
    nod: [frame], the head's further pitch.
    hands: for the left and the right arm, (weight [frame], where, offset [frame, 3] or [3]) of each
      goal of the wrist. Offsets are from 'floor' (the origin), 'pelvis', 'head' or the own
      'shoulder'. What is left of the weights goes to the arm hanging at rest.
    fidget: [2, frame, 3], the resting wrists from there.
    feet: [2, frame, 3], the ankles from relaxed standing.
  """

  pelvis: np.ndarray
  pitch: np.ndarray
  roll: np.ndarray
  twist: np.ndarray
  nod: np.ndarray
  hands: tuple[list, list]
  fidget: np.ndarray
  feet: np.ndarray

  @classmethod
  def still(cls, frames: int) -> "Motion":
    angles = [np.zeros(frames) for _ in range(4)]
    pelvis, fidget, feet = (np.zeros((*limbs, frames, 3)) for limbs in ((), (2,), (2,)))
    return cls(pelvis, *angles, hands=([], []), fidget=fidget, feet=feet)


def joints_of(person: Performer, motion: Motion) -> np.ndarray:
  """Forward kinematics: [frame, joint, 3] in metres, in the person's own axes."""
  joints = np.empty((len(motion.pitch), _SKELETON.num_joints, 3))
  feet = np.array(
    [[side * person.stance, person.leg[2], -0.02] for side in _SIDES]
  )[:, None] + motion.feet  # fmt: skip

  # trunk: the pelvis takes half of the lean, the rest of the spine all of it
  low = _rotation(0.3 * motion.twist, 0.5 * motion.pitch, 0.5 * motion.roll)
  high = _rotation(motion.twist, motion.pitch, motion.roll)
  nod = _rotation(motion.twist, 0.7 * motion.pitch + motion.nod, motion.roll)
  pelvis = motion.pelvis + person.hip_height * _UP
  hips = [low @ np.array([side * person.hip, -0.04 * person.size, 0]) for side in _SIDES]
  # no higher than the legs reach
  leg = 0.995 * (person.leg[0] + person.leg[1])
  for hip, ankle in zip(hips, feet, strict=True):
    across = pelvis[:, ::2] + hip[:, ::2] - ankle[:, ::2]
    room = np.sqrt(np.maximum(leg**2 - (across**2).sum(-1), 0.01))
    pelvis[:, 1] = np.minimum(pelvis[:, 1], ankle[:, 1] + room - hip[:, 1])
  joints[:, 0] = pelvis
  joints[:, 1] = joints[:, 0] + person.spine[0] * low[..., 1]
  joints[:, 20] = joints[:, 1] + person.spine[1] * high[..., 1]
  joints[:, 2] = joints[:, 20] + person.spine[2] * nod[..., 1]
  joints[:, 3] = joints[:, 2] + person.spine[3] * nod[..., 1]

  for i, side in enumerate(_SIDES):
    # leg: hip, knee, ankle, foot
    first = (12, 16)[i]
    joints[:, first] = pelvis + hips[i]
    knee, ankle, _ = _limb(joints[:, first], feet[i], *person.leg[:2], _FRONT + 0.15 * side * _LEFT)
    joints[:, first + 1], joints[:, first + 2] = knee, ankle
    toes = np.array([0.2 * side, -0.55, 0.8])
    joints[:, first + 3] = ankle + person.leg[3] * toes / np.linalg.norm(toes)

    # arm: shoulder, elbow, wrist, hand, tip, thumb
    first = (4, 8)[i]
    shoulder = joints[:, 20] + high @ np.array([side * person.shoulder, -0.03 * person.size, 0])
    where = {"floor": 0, "pelvis": pelvis, "head": joints[:, 3], "shoulder": shoulder}
    rest = shoulder + person.reach * np.array([0.12 * side, -0.97, 0.08]) + motion.fidget[i]
    wrist = rest.copy()
    for weight, anchor, offset in motion.hands[i]:
      wrist += weight[:, None] * (where[anchor] + offset - rest)
    pole = np.array([side * (0.1 + person.elbows), -0.7, -0.6])
    elbow, wrist, bend = _limb(shoulder, wrist, *person.arm[:2], pole)
    forearm = (wrist - elbow) / person.arm[1]
    thumb = _unit(-bend + 0.3 * forearm)
    joints[:, first], joints[:, first + 1], joints[:, first + 2] = shoulder, elbow, wrist
    joints[:, first + 3] = wrist + person.arm[2] * forearm
    joints[:, (21, 23)[i]] = joints[:, first + 3] + person.arm[3] * forearm
    joints[:, (22, 24)[i]] = joints[:, first + 3] + 0.6 * person.arm[3] * thumb
  return joints


def _limb(
  root: np.ndarray, goal: np.ndarray, upper: float, lower: float, pole: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Middle joint and end of a limb that reaches for `goal`, bending towards `pole`; all [frame, 3].

  The end stays between a bend of 35 degrees and a nearly straight limb. Third: direction of the
  bend, at right angles to the lower bone.
  """
  nearest = np.sqrt(upper**2 + lower**2 - 2 * upper * lower * np.cos(35 * _DEGREE))
  line = goal - root
  length = np.clip(np.linalg.norm(line, axis=-1, keepdims=True), 1e-6, None)
  line = line / length
  length = np.clip(length, nearest, 0.998 * (upper + lower))
  aside = _unit(pole - (line @ pole)[..., None] * line)
  cosine = (upper**2 + length**2 - lower**2) / (2 * upper * length)
  middle = root + upper * (cosine * line + np.sqrt(1 - cosine**2) * aside)
  end = root + length * line
  bone = (end - middle) / lower
  bend = _unit(aside - (aside * bone).sum(-1, keepdims=True) * bone)
  return middle, end, bend


def _rotation(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
  """[..., 3, 3]: a turn to the left after a lean to the front after one to the left."""
  (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, -roll))
  rows = [
    [cy * cr + sy * sp * sr, -cy * sr + sy * sp * cr, sy * cp],
    [cp * sr, cp * cr, -sp],
    [-sy * cr + cy * sp * sr, sy * sr + cy * sp * cr, cy * cp],
  ]
  return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def _unit(vectors: np.ndarray) -> np.ndarray:
  return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


# ---------------------------------------------------------------------------- actions
# Each takes (u, rng, people): u [frame] runs from 0 to 1 while the action lasts. It returns one
# motion a person. Pairs are written once, in the direction of the first class.


def _ease(u: np.ndarray, start: float, end: float) -> np.ndarray:
  """0 before `start`, 1 after `end`, and between them the smoothest way (minimum jerk)."""
  x = np.clip((u - start) / (end - start), 0, 1)
  return x**3 * (10 - 15 * x + 6 * x**2)


def _there_and_back(u: np.ndarray, a: float, b: float, c: float, d: float) -> np.ndarray:
  return _ease(u, a, b) - _ease(u, c, d)


def _either_hand(rng: np.random.Generator, both: float) -> tuple[int, ...]:
  """Which hands take part: with probability `both` two, else the right one (see left_handed)."""
  return (0, 1) if rng.random() < both else (1,)


def _sit_down(u, rng, people):
  (me,) = people
  motion = Motion.still(len(u))
  down = _ease(u, 0, 1)
  drop = me.hip_height - rng.uniform(0.46, 0.56)
  back = rng.uniform(0.8, 0.95) * me.leg[0]
  motion.pelvis[:] = down[:, None] * [0, -drop, -back]
  motion.pitch += 4 * down * (1 - down) * rng.uniform(28, 45) * me.amplitude * _DEGREE
  for i, side in enumerate(_SIDES):
    lap = me.size * np.array([side * rng.uniform(0.1, 0.17), 0.07, rng.uniform(0.28, 0.38)])
    ready = me.size * np.array([side * 0.16, 0.1, 0.5])
    move = 4 * down * (1 - down) * rng.uniform(0, 0.5)  # arms help to keep the balance
    motion.hands[i].append((_ease(u, 0.1, 1) * (1 - move), "pelvis", lap))
    motion.hands[i].append((move, "pelvis", ready))
  return [motion]


def _pick_up(u, rng, people):
  (me,) = people
  motion = Motion.still(len(u))
  middle = rng.uniform(0.45, 0.55)
  bend = _there_and_back(u, 0, middle - 0.05, middle + 0.05, 1)
  height = rng.uniform(0.1, 0.4)
  squat = rng.uniform(0.15, 0.35)
  pitch = rng.uniform(60, 75) - 40 * height
  motion.pitch += bend * pitch * _DEGREE
  motion.nod -= 0.2 * bend
  motion.pelvis[:] = bend[:, None] * [0, -squat * me.size, -0.14 * me.size]
  for i in _either_hand(rng, 0.35):
    aside = _SIDES[i] * 0.12 * me.size
    thing = np.array([aside, height, rng.uniform(0.32, 0.42) * me.size])
    hold = me.size * np.array([aside, rng.uniform(0.05, 0.22), rng.uniform(0.28, 0.36)])
    carry = _ease(u, middle + 0.05, 1)
    motion.hands[i].append((_ease(u, 0.05, middle - 0.05) - carry, "floor", thing))
    motion.hands[i].append((carry, "pelvis", hold))
  motion.roll += -0.08 * bend * (len(motion.hands[0]) == 0)
  return [motion]


def _put_on_hat(u, rng, people):
  (me,) = people
  motion = Motion.still(len(u))
  first, last = rng.uniform(0.4, 0.5), rng.uniform(0.58, 0.65)
  # to the head and from it past a point before the shoulder
  leave, arrive = _ease(u, 0, 0.6 * first), _ease(u, 0.4 * first, first)
  let_go, hang = _ease(u, last, 1 - 0.4 * (1 - last)), _ease(u, last + 0.4 * (1 - last), 1)
  motion.nod += rng.uniform(0.05, 0.3) * (arrive - let_go)
  for i in _either_hand(rng, 0.5):
    side = _SIDES[i]
    hold = me.size * np.array([0.1 * side, rng.uniform(0.05, 0.22), rng.uniform(0.28, 0.36)])
    before = me.reach * np.array([0.2 * side, 0.15, 0.6])
    brim = me.size * np.array([0.12 * side, rng.uniform(0.02, 0.09), 0.08])
    motion.hands[i].append((1 - leave, "pelvis", hold))
    motion.hands[i].append((leave - arrive + let_go - hang, "shoulder", before))
    motion.hands[i].append((arrive - let_go, "head", brim))
  return [motion]


def _open_drawer(u, rng, people):
  (me,) = people
  motion = Motion.still(len(u))
  reach, pull, leave = _ease(u, 0, 0.3), _ease(u, 0.36, 0.7), _ease(u, 0.72, 1)
  motion.pitch += (reach - pull) * rng.uniform(6, 18) * _DEGREE
  motion.pelvis[:, 2] -= (pull - leave) * rng.uniform(0, 0.06)
  low = rng.uniform(-0.7, -0.4)
  for i in _either_hand(rng, 0.3):
    side = _SIDES[i]
    far = me.reach * np.array([-0.15 * side, low, rng.uniform(0.62, 0.7)])
    near = me.reach * np.array([0.12 * side, low, rng.uniform(0.2, 0.3)])
    motion.hands[i].append((reach - pull, "shoulder", far))
    motion.hands[i].append((pull - leave, "shoulder", near))
    motion.twist += side * (pull - reach) * 0.15
  return [motion]


def _circle_arm(u, rng, people):
  (me,) = people
  motion = Motion.still(len(u))
  turns = max(1, round(len(u) / 30 * rng.uniform(0.7, 1.1)))
  speed = _there_and_back(u, 0, 0.25, 0.75, 1)
  angle = 2 * np.pi * turns * np.cumsum(speed) / speed.sum()
  swing = _there_and_back(u, 0, 0.1, 0.9, 1)  # before and after, the arm hangs
  # a shoulder goes back only aside
  aside = rng.uniform(0.1, 0.3) + 0.3 * (1 + np.sin(angle))
  aside *= _there_and_back(u, 0, 0.3, 0.7, 1)
  for i in _either_hand(rng, 0.4):
    # forwards: from down over the back and up to the front
    circle = np.stack([aside * _SIDES[i], -np.cos(angle), -np.sin(angle)], axis=-1)
    motion.hands[i].append((swing, "shoulder", 0.97 * me.reach * _unit(circle)))
    motion.twist += 0.1 * _SIDES[i] * np.sin(angle) * swing
  return [motion]


def _walk_together(u, rng, people):
  span = rng.uniform(0.75, 1.0)  # left between them at the end
  motions = []
  for me in people:
    steps = int(rng.integers(2, 4))
    distance = steps * rng.uniform(0.32, 0.42) * me.size * me.amplitude
    motion = Motion.still(len(u))
    starts = int(rng.integers(2))
    feet = np.zeros((2, len(u)))
    lift = np.zeros((2, len(u)))
    for k in range(steps + 1):
      a, b = k / (steps + 1), (k + 1) / (steps + 1)
      foot = (starts + k) % 2
      # the first and the last step are half as long
      goal = distance * min(k + 1, steps) / steps
      place = distance * max(k - 1, 0) / steps
      feet[foot] += (goal - place) * _ease(u, a, b)
      lift[foot] += 0.1 * me.size * np.sin(np.pi * np.clip((u - a) / (b - a), 0, 1)) ** 2
    length = max(len(u) // (steps + 2), 2)
    ahead = np.pad(feet.mean(0), length, mode="edge")
    for _ in range(2):
      ahead = np.convolve(ahead, np.ones(length) / length, mode="same")
    ahead = ahead[length:-length]
    end = -(distance + span / 2)
    motion.pelvis[:, 2] = ahead + end
    motion.pelvis[:, 1] -= 0.02 * me.size
    motion.feet[..., 2] = feet + end
    motion.feet[..., 1] = lift
    motion.pitch += 0.05
    for i in range(2):  # arms swing against the legs
      forward = 0.45 * (feet[1 - i] - ahead)
      offset = np.stack([np.full(len(u), 0.12 * _SIDES[i]), np.full(len(u), -0.95), forward], -1)
      weight = np.ones(len(u))
      motion.hands[i].append((weight, "shoulder", me.reach * offset))
    motion.twist += 0.2 * (feet[1] - feet[0])
    motions.append(motion)
  return motions


def _push(u, rng, people):
  pusher, pushed = people
  one, two = Motion.still(len(u)), Motion.still(len(u))
  near = rng.uniform(0.48, 0.56)  # between the pelvises at the start
  way = rng.uniform(0.28, 0.38) * pusher.amplitude
  middle = near / 2 + way / 4
  touch, shove, rise = _there_and_back(u, 0, 0.26, 0.74, 1), _ease(u, 0.28, 0.72), _ease(u, 0.74, 1)
  back = way * shove
  height = pushed.hip_height + 0.85 * (pushed.spine[0] + pushed.spine[1])
  for i in _either_hand(rng, 0.7):
    chest = np.stack([np.full(len(u), 0.13 * _SIDES[i]), np.full(len(u), height), back], -1)
    chest[:, 2] += near - middle - 0.1
    one.hands[i].append((touch, "floor", chest))
  one.pitch += (shove - rise) * rng.uniform(10, 18) * _DEGREE
  one.pelvis[:, 2] += 0.06 * (shove - rise)
  two.pelvis[:, 2] -= back
  two.pitch -= _there_and_back(u, 0.25, 0.45, 0.55, 0.75) * rng.uniform(5, 12) * _DEGREE
  first = int(rng.integers(2))
  for foot, start in ((first, 0.28), (1 - first, 0.5)):
    two.feet[foot, :, 2] -= way * _ease(u, start, start + 0.22)
    two.feet[foot, :, 1] = 0.06 * np.sin(np.pi * np.clip((u - start) / 0.22, 0, 1)) ** 2
  fling = _there_and_back(u, 0.25, 0.45, 0.55, 0.75) * rng.uniform(0.3, 0.7)
  for i, side in enumerate(_SIDES):
    two.hands[i].append((fling, "shoulder", pushed.reach * np.array([0.35 * side, -0.6, 0.55])))
  for motion, stand in ((one, middle), (two, near - middle)):
    motion.pelvis[:, 2] -= stand
    motion.feet[..., 2] -= stand
  return [one, two]


# One entry a pair of classes: number of people, motion of the first of the two.
_ACTIONS: tuple[tuple[int, Callable], ...] = (
  (1, _sit_down),
  (1, _pick_up),
  (1, _put_on_hat),
  (1, _open_drawer),
  (1, _circle_arm),
  (2, _walk_together),
  (2, _push),
)


def simulate(
  action: int, people: list[Performer], rng: np.random.Generator, frames: int | None = None
) -> np.ndarray:
  """What really happens, before any sensor: float64 [person, frame, joint, 3] in metres.

  x and z lie in the floor, y is up; the scene's middle is the origin and a single person faces z,
  give or take 20 degrees. The odd labels are the even labels before them, reversed in time.

  Args:
    action: label, counted from 0.
    people: who acts; one-person actions take the first.
    rng: of this performance.
    frames: length; drawn from `FRAMES` and the performer's tempo if None.
  """
  number, act = _ACTIONS[action // 2]
  people = people[:number]
  drawn = round(rng.integers(FRAMES[0], FRAMES[1] + 1) / people[0].tempo)
  frames = frames or drawn
  before, after = rng.uniform(0.02, 0.14, 2)
  u = np.clip((np.linspace(0, 1, frames) - before) / (1 - before - after), 0, 1)
  motions = act(u, rng, people)
  seconds = np.arange(frames) / 30
  turn = rng.uniform(-20, 20) * _DEGREE
  spot = rng.uniform(-0.2, 0.2, 3) * [1, 0, 1]
  mirrored = number == 1 and people[0].left_handed
  joints = np.empty((number, frames, _SKELETON.num_joints, 3))
  for i, (person, motion) in enumerate(zip(people, motions, strict=True)):
    _sway(motion, person, seconds, rng)
    own = joints_of(person, motion)
    if mirrored:
      own = own[:, _MIRROR] * [-1, 1, 1]
    heading = turn if number == 1 else turn + (90, -90)[i] * _DEGREE
    joints[i] = own @ _rotation(heading, 0.0, 0.0).T + spot
  return joints[:, ::-1] if action % 2 else joints


def _sway(motion: Motion, person: Performer, seconds: np.ndarray, rng: np.random.Generator) -> None:
  """Adds that nobody stands still: slow waves in the trunk, the pelvis and the hands."""
  period = rng.uniform(1.5, 4, 13)
  wave = np.sin(2 * np.pi * (seconds[:, None] / period + rng.random(13)))
  motion.pitch += person.lean + 0.02 * wave[:, 0]
  motion.roll += 0.015 * wave[:, 1]
  motion.twist += 0.03 * wave[:, 2] + rng.normal(0, 0.05)
  motion.nod += 0.05 * wave[:, 3] + rng.normal(0, 0.06)
  motion.pelvis += [0.012, 0.0, 0.008] * wave[:, 4:7]
  motion.fidget += 0.02 * np.stack([wave[:, 7:10], wave[:, 10:13]])


# ---------------------------------------------------------------------------- sensor

# metres; limbs' ends are seen worst (1 and 2 are the spine and neck, 21 to 24 tips and thumbs)
_NOISE = np.full(_SKELETON.num_joints, 0.006)
_NOISE[[5, 9, 13, 17, 14, 18]] = 0.009
_NOISE[[6, 7, 10, 11, 15, 19]] = 0.014
_NOISE[[21, 22, 23, 24]] = 0.02


@dataclasses.dataclass(frozen=True)
class _Seen:
  """A recording: joints [person, frame, joint, 3] in camera coordinates, who is tracked in which
  frame [person, frame], and which joints are guessed [person, frame, joint]."""

  joints: np.ndarray
  tracked: np.ndarray
  guessed: np.ndarray


def _observe(joints: np.ndarray, camera: int, setup: int, rng: np.random.Generator) -> _Seen:
  """Camera 1 stands in front, 2 and 3 at 45 degrees to either side, as in NTU RGB+D.

  Camera coordinates as Kinect's: x to the sensor's left, y up, z away from it, in metres.
  """
  people, frames = joints.shape[:2]
  angle = (0.0, 45.0, -45.0)[(camera - 1) % 3] * _DEGREE
  distance = 2.6 + 0.15 * (setup % 4)
  height = 0.9 + 0.12 * (setup % 3)
  tilt = np.arctan2(height - 0.85, distance)
  away = -np.array([np.sin(angle), 0, np.cos(angle)])
  axes = np.stack([np.cross(_UP, away), _UP, away], axis=1)  # columns: left, up, away
  seen = (joints - (height * _UP - distance * away)) @ axes
  seen = seen @ _rotation(0.0, -tilt, 0.0).T

  trunk = seen[:, :, [0, 1, 20]].mean(axis=2, keepdims=True)
  guessed = (seen - trunk)[..., 2] > 0.1
  guessed &= np.abs(seen - trunk)[..., 0] < 0.16
  white = rng.normal(size=(people, frames + 2, _SKELETON.num_joints, 3))
  noise = (0.8 * white[:, 2:] + 0.5 * white[:, 1:-1] + 0.33 * white[:, :-2]) * _NOISE[:, None]
  seen = seen + noise * (seen[..., 2:] / 3) * np.where(guessed, 2, 1)[..., None]

  tracked = np.ones((people, frames), bool)
  for person in range(people):
    if rng.random() < 0.15:  # lost for some frames
      start = int(rng.integers(2, frames - 8))
      tracked[person, start : start + int(rng.integers(1, 6))] = False
    if rng.random() < (0.3 if person else 0.06):  # noticed late, or lost before the end
      missing = int(rng.integers(1, max(frames // 8, 2)))
      tracked[person, slice(missing) if rng.random() < 0.5 else slice(-missing, None)] = False
  return _Seen(seen, tracked, guessed)


def _recordings(
  action: int,
  performer_: int,
  repetition: int,
  cameras: Sequence[int],
  seed: int,
  frames: int | None,
) -> list[_Seen]:
  """One performance as each of the cameras sees it."""
  # Whom a performer meets appears with nobody else, so that no test performer is seen in training.
  people = [performer(number, seed) for number in (performer_, 1000 + performer_)]
  key = (seed, performer_, action, repetition)
  joints = simulate(action, people, np.random.default_rng([2, *key]), frames)
  return [
    _observe(joints, camera, _setup(performer_), np.random.default_rng([3, *key, camera]))
    for camera in cameras
  ]


def _setup(performer_: int) -> int:
  return 1 + (performer_ - 1) // 2 % 4


def make_clip(
  action: int,
  performer: int,
  *,
  repetition: int = 1,
  camera: int = 1,
  seed: int = 0,
  frames: int | None = None,
) -> list[np.ndarray]:
  """One recording as the sensor saw it: float32 [frame, joint, 3] a person, in camera coordinates.

  Zero where a person is not tracked. `generate` writes the same numbers, rounded.

  Args:
    action: label, counted from 0.
    performer, repetition, camera: numbers, counted from 1.
    seed: of the world that `performer` and all else are drawn in.
    frames: length; varies if None.
  """
  (seen,) = _recordings(action, performer, repetition, (camera,), seed, frames)
  return list((seen.joints * seen.tracked[..., None, None]).astype(np.float32))


# ---------------------------------------------------------------------------- files


def _digits(values: np.ndarray, whole: int, decimals: int) -> np.ndarray:
  """Numbers as text, uint8 [..., whole + decimals + 2]; unused places (signs, zeros) are 0.

  A recording has 30,000 numbers: formatting them one by one takes longer than everything else.
  """
  scaled = np.rint(np.asarray(values) * 10**decimals).astype(np.int32)
  rest = np.abs(scaled)
  width = 1 + whole + (decimals > 0) + decimals
  text = np.empty((*rest.shape, width), np.uint8)
  for place in range(width - 1, 0, -1):
    if decimals and place == whole + 1:
      text[..., place] = ord(".")
      continue
    tens = rest // 10
    text[..., place] = rest - 10 * tens + ord("0")
    if place < whole:  # a leading zero
      text[..., place] *= rest > 0
    rest = tens
  text[..., 0] = np.where(scaled < 0, ord("-"), 0)
  return text


def _row(*fields: np.ndarray | bytes) -> np.ndarray:
  """Joins text fields, uint8 [..., width] each or the same bytes for all, along the last axis."""
  shape = next(field.shape[:-1] for field in fields if isinstance(field, np.ndarray))
  arrays = [
    np.broadcast_to(np.frombuffer(field, np.uint8), (*shape, len(field)))
    if isinstance(field, bytes)
    else field
    for field in fields
  ]
  return np.concatenate(arrays, axis=-1)


def _skeleton_file(seen: _Seen) -> bytes:
  """The recording as a `.skeleton` file with plausible values in every field."""
  people, frames, joints = seen.guessed.shape
  x, y, z = np.moveaxis(seen.joints, -1, 0)
  # pinhole cameras as found in NTU RGB+D's files
  pixels = [_digits(c, 4, 1) for c in _project(x / z, y / z, 365.4, 262.5, 209.8)]
  pixels += [_digits(c, 4, 1) for c in _project(x / z, y / z, 1067.0, 976.0, 538.6)]
  turns = np.moveaxis(_digits(_orientations(seen.joints), 1, 4), -2, 0)
  fields = [_digits(seen.joints[..., i], 1, 5) for i in range(3)] + pixels + list(turns)
  spaced = [part for field in fields for part in (field, b" ")]
  state = np.where(seen.guessed, ord("1"), ord("2")).astype(np.uint8)[..., None]
  lines = _row(*spaced, state, b"\r\n").reshape(people, frames, -1)
  trunk = seen.joints[:, :, 20] - seen.joints[:, :, 0]
  lean = [_digits(np.clip(trunk[..., i], -1, 1), 1, 4) for i in (0, 2)]
  bodies = []
  for i in range(people):
    start = f"{72057594037927936 + 2 * i} 0 1 1 1 1 0 ".encode()
    body = _row(start, lean[0][i], b" ", lean[1][i], f" 2\r\n{joints}\r\n".encode(), lines[i])
    bodies.append(body * seen.tracked[i][:, None])
  count = _row(_digits(seen.tracked.sum(0), 1, 0), b"\r\n")
  text = np.concatenate([count, *bodies], axis=1)
  return f"{frames}\r\n".encode() + text[text != 0].tobytes()


def _project(right, up, focal, across, down):
  return across + focal * right, down - focal * up


def _orientations(joints: np.ndarray) -> np.ndarray:
  """Unit quaternions (w, x, y, z) that turn y to the bone ending in a joint; 0 for the ends."""
  bones = np.zeros_like(joints)
  inner = [(child, parent) for child, parent in _SKELETON.inward if child in _INNER]
  children, parents = np.array(inner).T
  bones[..., children, :] = joints[..., children, :] - joints[..., parents, :]
  bones[..., 0, :] = joints[..., 1, :] - joints[..., 0, :]
  x, y, z = np.moveaxis(bones, -1, 0)
  length = np.sqrt(x * x + y * y + z * z)
  turn = np.stack([length + y, z, np.zeros_like(y), -x], axis=-1)
  size = np.linalg.norm(turn, axis=-1, keepdims=True)
  return np.divide(turn, size, out=np.zeros_like(turn), where=size > 1e-9)


_INNER = frozenset(parent for _, parent in _SKELETON.inward) - {22, 24}  # thumbs are ends, too


def generate(
  raw_dir: str | pathlib.Path,
  *,
  performers: int = PERFORMERS,
  repetitions: int = REPETITIONS,
  cameras: int = CAMERAS,
  seed: int = 0,
  frames: int | None = None,
) -> list[pathlib.Path]:
  """Writes one `.skeleton` file a recording, named as NTU RGB+D's; returns them in order of name.

  Complete recordings of the same arguments are left as they are. Those of other arguments, or of a
  call that was interrupted, are replaced.

  Args:
    raw_dir: folder for the recordings, made where it is missing; it should hold nothing else.
    performers, repetitions, cameras: every performer does every action `repetitions` times before
      `cameras` cameras (3 at most).
    seed: of everything.
    frames: the same length for all; varies if None.
  Raises:
    ConfigError: for arguments out of range, or a folder with recordings that are not these.
  """
  raw_dir = pathlib.Path(raw_dir)
  arguments = dict(
    performers=performers, repetitions=repetitions, cameras=cameras, seed=seed, frames=frames
  )
  _check(arguments)
  manifest = raw_dir / _MANIFEST
  old = _read_manifest(manifest)
  new = {"format": _FORMAT, **arguments}
  performances = [
    (performer, repetition, action)
    for performer in range(1, performers + 1)
    for repetition in range(1, repetitions + 1)
    for action in range(len(CLASS_NAMES))
  ]
  paths = [
    [raw_dir / _file_name(*performance, camera) for camera in range(1, cameras + 1)]
    for performance in performances
  ]
  everything = sorted(path for group in paths for path in group)
  if old == {**new, "bytes": _total_size(everything)}:
    return everything
  _clear(raw_dir, known=bool(old))
  raw_dir.mkdir(parents=True, exist_ok=True)
  manifest.write_text(json.dumps(new))  # without "bytes": begun, not finished
  total = 0
  with tqdm.tqdm(total=len(everything), desc="generate", unit="clip") as progress:
    for (number, repetition, action), group in zip(performances, paths, strict=True):
      numbers = range(1, cameras + 1)
      recordings = _recordings(action, number, repetition, numbers, seed, frames)
      for path, seen in zip(group, recordings, strict=True):
        total += path.write_bytes(_skeleton_file(seen))
      progress.update(cameras)
  manifest.write_text(json.dumps({**new, "bytes": total}))
  return everything


def _file_name(performer: int, repetition: int, action: int, camera: int) -> str:
  return (
    f"S{_setup(performer):03d}C{camera:03d}P{performer:03d}R{repetition:03d}A{action + 1:03d}"
    ".skeleton"
  )


def _check(arguments: dict[str, int | None]) -> None:
  limits = dict(
    performers=(1, 999), repetitions=(1, 999), cameras=(1, 3), seed=(0, 2**63), frames=(24, 9999)
  )
  for name, (low, high) in limits.items():
    value = arguments[name]
    if value is not None and not low <= value <= high:
      raise ConfigError(f"{name} is {value}; expected {low} to {high}")


def _read_manifest(path: pathlib.Path) -> dict:
  try:
    manifest = json.loads(path.read_text())
  except (OSError, ValueError):
    return {}
  return manifest if isinstance(manifest, dict) and "format" in manifest else {}


def _total_size(paths: Sequence[pathlib.Path]) -> int:
  """Bytes in all files; -1 where one is missing."""
  try:
    return sum(path.stat().st_size for path in paths)
  except OSError:
    return -1


def _clear(raw_dir: pathlib.Path, known: bool) -> None:
  """Removes earlier recordings if the folder is known to be one of this module's."""
  found = sorted(raw_dir.glob("*.skeleton"))
  if found and not known:
    raise ConfigError(
      f"{raw_dir} holds {len(found)} recordings that were not generated here (first: "
      f"{found[0].name}); name an empty or a new folder"
    )
  for path in found:
    path.unlink()


# ---------------------------------------------------------------------------- source


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """--performers, --repetitions and --seed."""
  for name, default in (("performers", PERFORMERS), ("repetitions", REPETITIONS), ("seed", 0)):
    parser.add_argument(
      f"--{name}", type=int, default=default, metavar="N", help=f"default {default}"
    )


def open_raw(raw: pathlib.Path, args: argparse.Namespace) -> Recordings:
  """Generates the recordings in --raw unless they are there, and opens them as NTU's are."""
  generate(raw, performers=args.performers, repetitions=args.repetitions, seed=args.seed)
  return ntu.open_recordings(raw, source="synthetic", class_names=CLASS_NAMES)
