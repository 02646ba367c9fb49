"""What a compiled program moves, computes and exchanges, counted from XLA's text of it.

Of every instruction of the entry computation (a kernel): bytes are its operands and its result,
FLOPs those of the products and convolutions in it. Nothing is measured.
"""

import collections
import dataclasses
import functools
import math
import pathlib
import re

_SIZES = {"f64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "s16": 2}
_SIZES |= {"u16": 2, "pred": 1, "s8": 1, "u8": 1}
_SHAPE = re.compile(rf"\b({'|'.join(_SIZES)})\[([\d,]*)\]")
_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)")
_COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_COLLECTIVES += ("collective-broadcast", "ragged-all-to-all")
# Instructions that are no kernel: they name memory that is there.
_FREE = {"parameter", "tuple", "get-tuple-element", "bitcast", "constant", "after-all"}
_FREE |= {"partition-id", "replica-id"}


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line of a computation: name, its result's shape, opcode, operands' names, the line."""

  name: str
  shape: str
  opcode: str
  operands: tuple[str, ...]
  line: str

  def attribute(self, pattern: str) -> str | None:
    found = re.search(pattern, self.line)
    return found and found[1]


@dataclasses.dataclass(frozen=True)
class Kernel:
  """An entry instruction, what it costs, and where in the source it comes from.

  Attributes:
    kind: opcode, custom-call target, or kind of fusion.
    flops: of products and convolutions; `operand_type` says in which type they are computed.
    room: name of the source file that asked for it, '…' where XLA made it.
    backward: whether it belongs to the backward pass.
  """

  instruction: Instruction
  kind: str
  bytes: int
  flops: int
  operand_type: str
  room: str
  backward: bool


def shapes(text: str) -> list[tuple[str, tuple[int, ...]]]:
  """(type, dimensions) of every array in a shape's text."""
  return [
    (kind, tuple(int(d) for d in dims.split(",") if d)) for kind, dims in _SHAPE.findall(text)
  ]


def nbytes(text: str) -> int:
  """Bytes of all arrays in a shape's text."""
  return sum(_SIZES[kind] * math.prod(dims) for kind, dims in shapes(text))


class Program:
  """A compiled program's computations, from `compiled.as_text()`."""

  def __init__(self, text: str):
    self.computations: dict[str, list[Instruction]] = {}
    self.entry = ""
    current: list[Instruction] | None = None
    for line in text.splitlines():
      if header := re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line):
        current = self.computations[header[2]] = []
        self.entry = header[2] if header[1] else self.entry
      elif line.startswith("}"):
        current = None
      elif current is not None and (found := _INSTRUCTION.match(line)):
        name, shape, opcode, rest = found.groups()
        operands = re.findall(r"%([\w.\-]+)", rest.split("), ")[0])
        current.append(Instruction(name, shape, opcode, tuple(operands), line.strip()))
    self._shapes = {i.name: i.shape for lines in self.computations.values() for i in lines}
    self._rooms = _rooms(text)

  def kernels(self) -> list[Kernel]:
    """Every instruction of the entry computation that does work."""
    return [
      self._kernel(i)
      for i in self.computations[self.entry]
      if i.opcode not in _FREE and not i.opcode.endswith("-done")
    ]

  def collectives(self) -> list[Instruction]:
    """All exchanges between devices, in any computation."""
    return [
      i
      for lines in self.computations.values()
      for i in lines
      if i.opcode.removesuffix("-start") in _COLLECTIVES
    ]

  def flops(self) -> int:
    """Of all products and convolutions of all computations, each counted once."""
    return sum(self._flops(i)[0] for lines in self.computations.values() for i in lines)

  def shape(self, name: str) -> str:
    return self._shapes.get(name, "")

  def operand_bytes(self, i: Instruction) -> int:
    return sum(nbytes(self.shape(name)) for name in i.operands)

  def _kernel(self, i: Instruction) -> Kernel:
    moved = nbytes(i.shape) + self.operand_bytes(i)
    called = self.computations.get(i.attribute(r"(?:calls|to_apply)=%?([\w.\-]+)") or "", [])
    flops, operand_type = 0, "f32"
    for inner in (i, *called):
      of_inner, kind = self._flops(inner)
      flops, operand_type = flops + of_inner, kind if of_inner else operand_type
    kind = i.attribute(r'custom_call_target="([^"]+)"') or i.opcode
    if i.opcode == "fusion":
      kind = f"fusion {i.attribute('kind=([a-zA-Z]+)')}" + (" with product" if flops else "")
    origin = i.attribute(r'op_name="([^"]+)"') or ""
    room = self._rooms.get(i.attribute(r"stack_frame_id=(\d+)") or "")
    room = room or pathlib.Path(i.attribute(r'source_file="([^"]+)"') or "…").stem
    return Kernel(i, kind, moved, flops, operand_type, room, "transpose(jvp" in origin)

  def _flops(self, i: Instruction) -> tuple[int, str]:
    """FLOPs of one instruction alone, and the type of its operands."""
    target = i.attribute(r'custom_call_target="([^"]+)"') or ""
    if not (i.opcode in ("dot", "convolution") or "conv" in target or "matmul" in target):
      return 0, "f32"
    if len(i.operands) < 2:
      return 0, "f32"
    (kind, left), (_, right) = (shapes(self.shape(name))[0] for name in i.operands[:2])
    result = shapes(i.shape)[0][1]
    if i.opcode == "dot" or "matmul" in target:
      contracted = i.attribute(r'lhs_contracting_dim(?:ensions|s)"?[=:][\[{]"?([\d,"]*)') or ""
      inner = math.prod(left[int(d)] for d in re.findall(r"\d+", contracted))
      return 2 * math.prod(result) * inner, kind
    # Of a convolution the kernel is the operand (or, for its gradient, the result) with `o`.
    labels = i.attribute(r"dim_labels=\w+_(\w+)->")
    kernel, positions = right, result
    if "BackwardFilter" in target:
      kernel, positions = result, right
    elif "BackwardInput" in target:
      positions = left
    taps = math.prod(size for size, label in zip(kernel, labels, strict=True) if label != "o")
    return 2 * math.prod(positions) * taps, kind


def _rooms(text: str) -> dict[str, str]:
  """Stack frame -> name of the source file of the innermost call in this project or outside."""
  tables = {}
  for name in ("FileNames", "FileLocations", "StackFrames"):
    block = re.search(rf"^{name}\n((?:\d+ .*\n)*)", text, re.MULTILINE)
    tables[name] = dict(line.split(" ", 1) for line in (block[1] if block else "").splitlines())
  files = {k: pathlib.Path(v.strip('"')).stem for k, v in tables["FileNames"].items()}
  result = {}
  for frame, description in tables["StackFrames"].items():
    location = re.search(r"file_location_id=(\d+)", description)
    file = re.search(r"file_name_id=(\d+)", tables["FileLocations"].get(location[1], ""))
    result[frame] = files.get(file[1], "…") if file else "…"
  return result


@dataclasses.dataclass(frozen=True)
class Speed:
  """What a card reaches: bytes a second, and FLOPs a second of products by operand type."""

  bandwidth: float
  peak: dict[str, float]

  def seconds(self, kernel: Kernel) -> float:
    """The least time that a kernel can take."""
    return max(
      kernel.bytes / self.bandwidth, kernel.flops / self.peak.get(kernel.operand_type, 1e15)
    )


def table(kernels: list[Kernel], speed: Speed, key) -> list[str]:
  """Lines of a table: time floor, bytes, FLOPs and number of kernels by `key(kernel)`."""
  sums = collections.defaultdict(lambda: [0.0, 0, 0, 0])
  for k in kernels:
    row = sums[key(k)]
    for j, value in enumerate((speed.seconds(k), k.bytes, k.flops, 1)):
      row[j] += value
  ranked = sorted(sums.items(), key=lambda item: -item[1][0])
  return [
    f"  {t * 1e3:8.2f} ms {b / 1e9:8.2f} GB {f / 1e12:6.2f} TFLOP {n:5d} × {name}"
    for name, (t, b, f, n) in ranked
  ]


by_kind = functools.partial(table, key=lambda k: k.kind)
by_room = functools.partial(
  table, key=lambda k: f"{k.room}, {'backward' if k.backward else 'forward'}"
)
