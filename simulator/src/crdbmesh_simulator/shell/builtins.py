"""The builtin commands of the shell."""

from __future__ import annotations

import operator as operators
import posixpath
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from crdbmesh_simulator.inodes import EXECUTE, READ, WRITE
from crdbmesh_simulator.shell.process import Process, Run, Signalled, UnsupportedError, UsageError, decode, execute

if TYPE_CHECKING:
    from crdbmesh_simulator.shell.interpreter import Shell

_NUMERIC = {
    "-eq": operators.eq,
    "-ne": operators.ne,
    "-lt": operators.lt,
    "-le": operators.le,
    "-gt": operators.gt,
    "-ge": operators.ge,
}


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
        "-e": True,
        "-f": inode.is_file,
        "-d": inode.is_dir,
        "-s": inode.size > 0,
        "-r": process.actor.may(inode, READ),
        "-w": process.actor.may(inode, WRITE),
        "-x": process.actor.may(inode, EXECUTE),
    }
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


Builtin = Callable[["Shell", list[str]], "Run | int"]

OWN_PID = "4711"
"""What `$$` is."""

_OPTIONS = {"errexit": "e", "nounset": "u", "xtrace": "x", "noglob": "f"}
_SIGNALS = {"9": "KILL", "15": "TERM", "1": "HUP", "2": "INT"}


class ExitError(Exception):
    """`exit`, or the end by `set -e`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class LoopError(Exception):
    """`break` or `continue`."""

    def __init__(self, *, again: bool) -> None:
        super().__init__()
        self.again = again


def find(name: str) -> Builtin | None:
    """The builtin of a name."""
    return _BUILTINS.get(name)


def _colon(shell: Shell, words: list[str]) -> int:  # noqa: ARG001 - the form of all builtins
    return 0


def _false(shell: Shell, words: list[str]) -> int:  # noqa: ARG001 - likewise
    return 1


def _cd(shell: Shell, words: list[str]) -> int:
    target = words[1] if len(words) > 1 else shell.variables.get("HOME", "/")
    path = posixpath.normpath(shell.process.path(target))
    inode = shell.process.find(path)
    if inode is None or not inode.is_dir:
        shell.process.complain(f"{shell.label()}cd: {target}: No such file or directory\n")
        return 1
    shell.variables["PWD"] = shell.process.cwd = path
    return 0


def _exit(shell: Shell, words: list[str]) -> int:
    text = words[1] if len(words) > 1 else str(shell.status)
    if not re.fullmatch(r"-?\d+", text):
        raise UsageError(f"exit: {text}: numeric argument required", 2)
    raise ExitError(int(text) & 0xFF)


def _jump(shell: Shell, words: list[str]) -> int:  # noqa: ARG001 - the form of all builtins
    if len(words) > 1:
        raise UnsupportedError(" ".join(words))
    raise LoopError(again=words[0] == "continue")


def _set(shell: Shell, words: list[str]) -> int:
    arguments = words[1:]
    while arguments:
        word = arguments.pop(0)
        if word == "--":
            shell.positional = arguments
            break
        if word[:1] not in "-+" or len(word) < 2:
            raise UnsupportedError(" ".join(words))
        for letter in word[1:]:
            set_option(shell, arguments.pop(0) if letter == "o" and arguments else letter, on=word[0] == "-")
    return 0


def set_option(shell: Shell, option: str, *, on: bool) -> None:
    """`set -e` and the like, by letter or by name. Raises UsageError: the shell does not have the option."""
    option = _OPTIONS.get(option, option)
    if option not in _OPTIONS.values() and not (option == "pipefail" and shell.bash):
        shown = f"{option}: invalid option name" if shell.bash else f"Illegal option -o {option}"
        raise UsageError(f"set: {shown}", 2)
    (shell.options.add if on else shell.options.discard)(option)


def _exec(shell: Shell, words: list[str]) -> Run:
    if len(words) == 1:
        return 0
    process = shell.process
    child = process.child(words[1:], env=shell.environment(), main=process.main)
    raise ExitError((yield from execute(child, shell.label())))


def _read(shell: Shell, words: list[str]) -> int:
    whole = words[1:3] == ["-rd", ""]
    names = words[3:] if whole else [word for word in words[1:] if word != "-r"]
    if whole:
        part, ended = shell.process.stdin.read_until(b"\0")
        line = decode(part)
    else:
        line = decode(shell.process.stdin.readline())
        ended, line = line.endswith("\n"), line.strip(" \t\n")
    values = line.split(None, max(len(names) - 1, 0)) if len(names) > 1 else [line]
    for number, name in enumerate(names):
        shell.variables[name] = values[number] if number < len(values) else ""
    return 0 if ended else 1


def _umask(shell: Shell, words: list[str]) -> int:
    if words[1:] != ["077"] or shell.process.system.door != "exec":
        raise UnsupportedError(" ".join(words))
    return 0  # the files of a container are its one user's


def _command(shell: Shell, words: list[str]) -> int:
    if words[1:2] != ["-v"] or len(words) != 3:
        raise UnsupportedError(" ".join(words))
    found = words[2] if words[2] in _BUILTINS else shell.process.system.where(shell.process, words[2])
    if found is None:
        return 1 if shell.bash else 127
    shell.process.say(f"{found}\n")
    return 0


def _trap(shell: Shell, words: list[str]) -> int:
    if len(words) < 3 or set(words[2:]) - {"EXIT", "0", "INT", "TERM", "HUP"}:
        raise UnsupportedError(" ".join(words))
    for signal in words[2:]:
        shell.traps[{"0": "EXIT"}.get(signal, signal)] = "" if words[1] == "-" else words[1]
    return 0


def _test(shell: Shell, words: list[str]) -> int:
    arguments = words[1:]
    if words[0] == "[":
        if arguments[-1:] != ["]"]:
            raise UsageError("[: missing `]'", 2)
        arguments = arguments[:-1]
    return int(not test(shell.process, arguments))


def _kill(shell: Shell, words: list[str]) -> int:
    signal = words[1][1:] if len(words) > 2 else "TERM"
    signal = _SIGNALS.get(signal, signal.removeprefix("SIG"))
    if words[-1] == OWN_PID:
        raise Signalled(signal)
    shell.process.system.signal(words[-1], signal)
    return 0


def echoed(words: list[str]) -> str:
    """Return what `echo`, the builtin and the program, prints."""
    end = "" if words[1:2] == ["-n"] else "\n"
    return " ".join(words[1 if end else 2 :]) + end


def _echo(shell: Shell, words: list[str]) -> int:
    shell.process.say(echoed(words))
    return 0


def _printf(shell: Shell, words: list[str]) -> int:
    form = re.sub(r"\\([rn])", lambda found: {"r": "\r", "n": "\n"}[found[1]], words[1])
    kinds = re.findall(r"%\d*([sd])", form)
    values = [int(word) if kind == "d" else word for kind, word in zip(kinds, words[2:], strict=True)]
    shell.process.say(form % tuple(values))
    return 0


_BUILTINS: dict[str, Builtin] = {
    ":": _colon,
    "true": _colon,
    "false": _false,
    "cd": _cd,
    "exit": _exit,
    "break": _jump,
    "continue": _jump,
    "set": _set,
    "umask": _umask,
    "exec": _exec,
    "read": _read,
    "command": _command,
    "trap": _trap,
    "test": _test,
    "[": _test,
    "kill": _kill,
    "echo": _echo,
    "printf": _printf,
}
