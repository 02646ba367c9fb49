"""Has `make docs` see the sections of a docstring, which follow each other without a gap here."""

import re

import griffe

_SECTION = re.compile(r"(?<!\n)\n(?=(Args|Attributes|Returns|Raises|Yields):\n)")


class Sections(griffe.Extension):
  """Puts an empty line before each section, as griffe's parser needs it."""

  def on_instance(self, *, obj, **kwargs) -> None:
    if obj.docstring:
      obj.docstring.value = _SECTION.sub("\n\n", obj.docstring.value)
