"""The operator's terminal or pipes as the ends of a SQL shell that runs in a pod."""

import codecs
import contextlib
import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

from crdbmesh.clients.kube.exec import Ends
from crdbmesh.errors import ConfigError, CrdbmeshError
from crdbmesh.terminal.visible import visible


@contextlib.contextmanager
def ends() -> Iterator[Ends]:
    """Yield the ends: a terminal passes on every key until the block ends, Ctrl-C too; the shell itself writes it."""
    if sys.stdin is None or sys.stdin.closed:
        raise ConfigError.of(
            "standard input", "closed", "has nothing to read from", "give it a file, a pipe or a terminal"
        )
    stdin = sys.stdin.fileno()
    if os.name != "posix":
        raise CrdbmeshError("the SQL shell needs Linux or macOS", hint="run statements with -e, or use WSL")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield Ends(stdin, _writer(sys.stdout), _writer(sys.stderr))
        return
    import tty

    termios = importlib.import_module("termios")
    before = termios.tcgetattr(stdin)
    try:
        tty.setraw(stdin)
        yield Ends(stdin, _raw(sys.stdout), _raw(sys.stderr), _size)
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)


def write(stream: TextIO, text: str) -> None:
    """Write what came from a pod: as it is, or made visible where it is a terminal."""
    stream.write(visible(text) if stream.isatty() else text)
    stream.flush()


def _size() -> tuple[int, int]:
    columns, lines = shutil.get_terminal_size()
    return columns, lines


def _raw(stream: TextIO) -> Callable[[bytes], object]:
    def pass_on(data: bytes) -> None:
        stream.buffer.write(data)
        stream.flush()

    return pass_on


def _writer(stream: TextIO) -> Callable[[bytes], object]:
    if not stream.isatty():
        return _raw(stream)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return lambda data: write(stream, decoder.decode(data))
