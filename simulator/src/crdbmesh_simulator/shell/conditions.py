"""`test` (POSIX test(1))."""

from __future__ import annotations

import operator as operators

from crdbmesh_simulator.inodes import EXECUTE, READ, WRITE
from crdbmesh_simulator.shell.process import Process, UnsupportedError, UsageError

_NUMERIC = {"-eq": operators.eq, "-ne": operators.ne, "-lt": operators.lt, "-le": operators.le, "-gt": operators.gt,
            "-ge": operators.ge}  # fmt: skip


def test(process: Process, words: list[str]) -> bool:
    """Evaluate the arguments of `test` or `[`. Raises UsageError: they are none."""
    if words[:1] == ["!"] and len(words) > 1:
        return not test(process, words[1:])
    if len(words) > 3 and words[-3:-2] != ["!"]:
        raise UnsupportedError(f"test {' '.join(words)}")
    if len(words) == 3:
        return _binary(*words)
    if len(words) == 2:
        return _unary(process, *words)
    return bool(words and words[0])


def _unary(process: Process, operator: str, operand: str) -> bool:
    if operator in ("-n", "-z"):
        return bool(operand) == (operator == "-n")
    if operator == "-t":
        return False
    if operator in ("-L", "-h"):
        link = process.find(operand, follow=False)
        return link is not None and link.is_link
    inode = process.find(operand)
    if inode is None:
        return False
    answers = {
        "-e": True, "-f": inode.is_file, "-d": inode.is_dir, "-s": inode.size > 0,
        "-r": process.actor.may(inode, READ), "-w": process.actor.may(inode, WRITE),
        "-x": process.actor.may(inode, EXECUTE),
    }  # fmt: skip
    if operator not in answers:
        raise UnsupportedError(f"test {operator}")
    return answers[operator]


def _binary(left: str, operator: str, right: str) -> bool:
    if operator in ("=", "!="):
        return (left == right) == (operator == "=")
    if operator not in _NUMERIC:
        raise UnsupportedError(f"test {operator}")
    try:
        return bool(_NUMERIC[operator](int(left), int(right)))
    except ValueError:
        raise UsageError(f"{left} {right}: integer expression expected", 2) from None
