"""Shows what comes from outside: nobody else's text writes the terminal, or a line of the screen that is not its own.

Error messages, tags, logs and names come from Azure, machines and files. Their control characters would move the
cursor, clear the screen or set the clipboard (CVE-2021-25743, kubernetes#112553).
"""

import re
from collections.abc import Iterable
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_CONTROLS = (code for code in (*range(0x20), 0x7F) if chr(code) not in "\n\t")
_OTHERS = (*range(0x80, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
"""C1 controls, and what changes the direction of a text or begins another line."""
_SHOWN = {**{code: f"^{chr(code ^ 0x40)}" for code in _CONTROLS}, **{code: f"\\u{code:04x}" for code in _OTHERS}}
_HANGING = re.compile(r"\s*(?:[^\w\s`'\"(/<]{1,2} )?(?:\S+(?: \S+){0,3} {2,}){0,2}")
"""The beginning of a line, below whose end it goes on: its indent, its mark, and what stands in columns."""
CONTINUED = "\n      | "
"""The start of every line but the first of one message: no line of it looks like one of ours."""


def visible(text: str) -> str:
    """Return a text with its control characters but newline and tab in a form that does nothing."""
    return text.translate(_SHOWN)


class Screen(Console):
    """A console on which all that is printed is `visible`."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does, with each further line of a text marked as one.

        On a terminal a line goes on below its own beginning, and a word, such as a path, is never broken.
        """
        shown: Iterable[Any] = map(_continued, objects)
        if not self.soft_wrap:
            shown = [_wrapped(Text(one) if isinstance(one, str) else one, self.width) for one in shown]
            if all(isinstance(one, Text) for one in shown):
                options |= {"no_wrap": True, "overflow": "ignore", "crop": False}
        super().print(*shown, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what rich makes of something, made visible; what moves the cursor on purpose is apart."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)


def _continued(shown: Any) -> Any:
    if isinstance(shown, Text):
        return Text(CONTINUED).join(shown.split("\n", allow_blank=True))
    return shown.replace("\n", CONTINUED) if isinstance(shown, str) else shown


def _wrapped(shown: Any, width: int) -> Any:
    if not isinstance(shown, Text):
        return shown
    lines = []
    for line in shown.split("\n", allow_blank=True):
        begin = _HANGING.match(line.plain)
        hang = min(len(begin[0]) if begin else 0, width // 2) or 2
        breaks, used = [], 0
        for word in re.finditer(r"\S+\s*|^\s+", line.plain):
            if used > hang and used + cell_len(word[0].rstrip()) > width:
                breaks.append(word.start())
                used = hang
            used += cell_len(word[0])
        pieces = line.divide(breaks)
        for piece in pieces:
            piece.rstrip()
        lines.append(Text("\n" + " " * hang).join(pieces))
    return Text("\n").join(lines)
