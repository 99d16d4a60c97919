"""Loaded by Python in a process under test: writes down what the process creates, runs and opens to others.

Python tells an audit hook of every such act before it happens (PEP 578). At each act the modes of what was created in
the watched folder so far are looked at, so that not a moment between two acts goes unseen.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from typing import Any

_WATCHED = os.environ["WITNESS_FOLDER"]
_LOG = os.open(os.environ["WITNESS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_RUNS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.spawn")
_CHANGES = {
    "os.mkdir": ("folder", 0),
    "os.rename": ("written", 1),
    "os.link": ("written", 1),
    "os.symlink": ("written", 1),
    "os.chmod": ("", 0),
    "socket.connect": ("", 0),
}
_created: set[str] = set()
_busy = False


def _say(kind: str, what: str) -> None:
    os.write(_LOG, json.dumps([kind, what]).encode() + b"\n")


def _name(path: Any) -> str:
    # Without resolving links: what is named is what is created.
    return os.path.abspath(os.fsdecode(path))  # noqa: PTH100


def _note(kind: str, path: Any) -> None:
    name = _name(path)
    _say(kind, name)
    if name.startswith(_WATCHED):
        _created.add(name)


def _look() -> None:
    for path in list(_created):
        try:
            mode = stat.S_IMODE(os.lstat(path).st_mode)
        except OSError:
            continue
        if mode & 0o077:
            _say("exposed", f"{path} {mode:o}")


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    global _busy
    if _busy:
        return
    _busy = True
    try:
        if event == "open":
            if not isinstance(arguments[0], int) and (arguments[2] or 0) & _WRITES:
                _look()
                _note("written", arguments[0])
        elif event in _CHANGES:
            _look()
            kind, position = _CHANGES[event]
            if kind:
                _note(kind, arguments[position])
        elif event in _RUNS:
            _say("run", repr(arguments[:2]))
    finally:
        _busy = False


sys.addaudithook(_hook)
