"""Stick people that act: build and habits of performers, motions, forward kinematics.

A motion is a function of time that says where hips, hands and feet go and how the trunk leans. The
joints follow by forward kinematics from the pelvis along bones of fixed length, elbows and knees by
the law of cosines. Every second class is the one before it, backwards in time.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from mstgcn_jax import skeletons

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
FRAMES = (56, 88)  # a recording's length at 30 frames per second, for an average performer

SKELETON = skeletons.get("ntu_rgbd")
_MIRROR = np.arange(SKELETON.num_joints)
for _left, _right in SKELETON.mirror:
  _MIRROR[[_left, _right]] = _right, _left

# Axes of a person: x to the left, y up, z to the front; the floor is y = 0. Metres and radians.
_LEFT, UP, _FRONT = np.eye(3)
_SIDES = (1.0, -1.0)  # left, right: limbs come in this order
DEGREE = np.pi / 180


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
    lean=rng.normal(4, 3) * DEGREE,
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
  joints = np.empty((len(motion.pitch), SKELETON.num_joints, 3))
  feet = np.array(
    [[side * person.stance, person.leg[2], -0.02] for side in _SIDES]
  )[:, None] + motion.feet  # fmt: skip

  # trunk: the pelvis takes half of the lean, the rest of the spine all of it
  low = rotation(0.3 * motion.twist, 0.5 * motion.pitch, 0.5 * motion.roll)
  high = rotation(motion.twist, motion.pitch, motion.roll)
  nod = rotation(motion.twist, 0.7 * motion.pitch + motion.nod, motion.roll)
  pelvis = motion.pelvis + person.hip_height * UP
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
  nearest = np.sqrt(upper**2 + lower**2 - 2 * upper * lower * np.cos(35 * DEGREE))
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


def rotation(
  yaw: float | np.ndarray, pitch: float | np.ndarray, roll: float | np.ndarray
) -> np.ndarray:
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
# motion per person. Pairs are written once, in the direction of the first class.


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
  motion.pitch += 4 * down * (1 - down) * rng.uniform(28, 45) * me.amplitude * DEGREE
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
  motion.pitch += bend * pitch * DEGREE
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
  motion.pitch += (reach - pull) * rng.uniform(6, 18) * DEGREE
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
  one.pitch += (shove - rise) * rng.uniform(10, 18) * DEGREE
  one.pelvis[:, 2] += 0.06 * (shove - rise)
  two.pelvis[:, 2] -= back
  two.pitch -= _there_and_back(u, 0.25, 0.45, 0.55, 0.75) * rng.uniform(5, 12) * DEGREE
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


# One entry per pair of classes: number of people, motion of the first of the two.
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
  turn = rng.uniform(-20, 20) * DEGREE
  spot = rng.uniform(-0.2, 0.2, 3) * [1, 0, 1]
  mirrored = number == 1 and people[0].left_handed
  joints = np.empty((number, frames, SKELETON.num_joints, 3))
  for i, (person, motion) in enumerate(zip(people, motions, strict=True)):
    _sway(motion, person, seconds, rng)
    own = joints_of(person, motion)
    if mirrored:
      own = own[:, _MIRROR] * [-1, 1, 1]
    heading = turn if number == 1 else turn + (90, -90)[i] * DEGREE
    joints[i] = own @ rotation(heading, 0.0, 0.0).T + spot
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
