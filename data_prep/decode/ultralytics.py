"""Ultralytics' `save_txt`: one file per frame, VIDEO_12.txt, one line per person (YOLO pose).

class, box x, y, width, height, then x, y, score of every key point, all as shares of the picture;
then maybe the box's confidence (`save_conf`) and the person's number (of `track`). A frame without
anybody has no file.
"""

import pathlib

import numpy as np

from data_prep import raw_files
from data_prep.decode import people
from data_prep.decode.people import Person
from mstgcn_jax.errors import DataError

_BOX = 5  # class and box


def recognise(path: pathlib.Path) -> bool:
  """Whether a text file's first line is a person of theirs."""
  try:
    numbers = [float(text) for text in raw_files.read(path).split(b"\n", 1)[0].split()]
  except (DataError, ValueError):
    return False
  return len(numbers) >= _BOX + 6 and numbers[0] % 1 == 0 and max(numbers[1:5]) <= 1.5


def decode(path: pathlib.Path) -> list[Person]:
  """The people of a frame, in fractions of the picture."""
  found = []
  with people.taken_for(path, "a frame of Ultralytics'"):
    lines = raw_files.read(path).decode("ascii").splitlines()
    rows = [np.array([float(text) for text in line.split()]) for line in lines if line.strip()]
    last = [row[-1] for row in rows]
    # A confidence of 1 looks like a number, but everybody has another number.
    numbered = all(x >= 1 and x % 1 == 0 for x in last) and len(set(last)) == len(last)
    for row in rows:
      rest = (len(row) - _BOX) % 3  # behind the key points: confidence, number, both or neither
      points = row[_BOX : len(row) - rest]
      number = int(row[-1]) if rest and numbered else None
      found.append(people.person(*people.triples(points), number))
  return people.tracked(found)
