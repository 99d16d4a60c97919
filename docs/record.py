"""Records a real `crdbmesh demo` as an animated SVG, so that what the README shows is what the program does.

.venv/bin/pip install pyte
.venv/bin/python docs/record.py > docs/demo.svg
"""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from html import escape
from itertools import groupby
from pathlib import Path

import pyte

COLUMNS, ROWS = 100, 34
FRAME_S, LAST_S = 0.8, 8.0
WIDTH, HEIGHT = 8.4, 17
COLOURS = {
    "default": "#d6dce6", "black": "#5d6675", "red": "#ff8a80", "green": "#4fd08f", "brown": "#ffb454",
    "yellow": "#ffb454", "blue": "#66b1ff", "magenta": "#c69cff", "cyan": "#5fd3d3", "white": "#e8ebf0",
}  # fmt: skip


def record() -> list[list[str]]:
    """Run the demo in a terminal of its own; the rows of each frame, as SVG text."""
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    command = Path(sys.executable).with_name("crdbmesh")
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(b"$ crdbmesh demo\r\n")
    frames = [rows(screen)]
    with subprocess.Popen(  # noqa: S603 - our own program
        [command, "demo"], stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True
    ) as process:
        os.close(terminal)
        due = time.monotonic() + FRAME_S
        try:
            while True:
                if select.select([main], [], [], max(0.0, due - time.monotonic()))[0]:
                    data = os.read(main, 65536)
                    if not data:
                        break
                    stream.feed(data)
                if time.monotonic() >= due:
                    due += FRAME_S
                    if (seen := rows(screen)) != frames[-1]:
                        frames.append(seen)
        except OSError:
            pass  # The terminal is closed when the demo has ended.
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            raise
    if process.returncode:
        sys.exit(f"the demo ended with {process.returncode}")
    return [*frames, rows(screen)]


def rows(screen: pyte.Screen) -> list[str]:
    """Return what the screen shows, each row a run of `tspan` elements."""
    shown = []
    for number in range(ROWS):
        cells = [screen.buffer[number][column] for column in range(COLUMNS)]
        text, at = "", 0
        for (colour, bold), run in groupby(cells, key=lambda cell: (cell.fg, cell.bold)):
            characters = "".join(cell.data for cell in run)
            if characters.strip():
                weight = ' font-weight="bold"' if bold else ""
                fill = COLOURS.get(colour, f"#{colour}" if len(colour) == 6 else COLOURS["default"])
                shown_as = escape(characters.rstrip()).replace(" ", "\N{NO-BREAK SPACE}")
                text += f'<tspan x="{10 + at * WIDTH:.1f}" fill="{fill}"{weight}>{shown_as}</tspan>'
            at += len(characters)
        shown.append(text)
    return shown


def draw(frames: list[list[str]]) -> str:
    """Return the frames one after the other, for ever."""
    width, height = 20 + COLUMNS * WIDTH, 20 + ROWS * HEIGHT
    whole = (len(frames) - 1) * FRAME_S + LAST_S
    loop = f'<animate id="all" attributeName="x" from="0" to="0" begin="0s;all.end" dur="{whole:.1f}s"/>'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}">',
        "<title>crdbmesh demo in a terminal</title>",
        f'<rect width="{width:.0f}" height="{height}" rx="8" fill="#12151a">{loop}</rect>',
        '<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14">',
    ]
    for number, frame in enumerate(frames):
        is_last = number == len(frames) - 1
        begins, lasts = number * FRAME_S, LAST_S if is_last else FRAME_S
        parts += [
            f'<g visibility="{"visible" if is_last else "hidden"}">',
            '<set attributeName="visibility" to="hidden" begin="all.begin"/>',
            f'<set attributeName="visibility" to="visible" begin="all.begin+{begins:.1f}s" dur="{lasts:.1f}s"/>',
            *(f'<text y="{22 + row * HEIGHT}">{text}</text>' for row, text in enumerate(frame) if text),
            "</g>",
        ]
    return "\n".join([*parts, "</g>", "</svg>"])


if __name__ == "__main__":
    sys.stdout.write(draw(record()) + "\n")
