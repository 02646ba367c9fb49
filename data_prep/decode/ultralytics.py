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
  return len(numbers) >= _BOX + 6 and numbers[0] == int(numbers[0]) and max(numbers[1:5]) <= 1.5


def decode(path: pathlib.Path) -> list[Person]:
  """The people of a frame, in fractions of the picture."""
  found = []
  with people.taken_for(path, "a frame of Ultralytics'"):
    for line in raw_files.read(path).decode("ascii").splitlines():
      if not line.strip():
        continue
      numbers = np.array([float(text) for text in line.split()])
      # 0, 1 or 2 numbers follow the key points: confidence, number
      rest = (len(numbers) - _BOX) % 3
      points = numbers[_BOX : len(numbers) - rest]
      number = int(numbers[-1]) if rest and numbers[-1] >= 1 and numbers[-1] % 1 == 0 else None
      found.append(people.person(*people.triples(points), number))
  return people.tracked(found)
