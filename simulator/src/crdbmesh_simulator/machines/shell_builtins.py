"""The builtin commands of the shell: those that act on the shell itself, and `echo`, `test` and other shared ones."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from crdbmesh_simulator.machines import process as processes
from crdbmesh_simulator.machines import shell_test
from crdbmesh_simulator.machines.filesystem import EXECUTE
from crdbmesh_simulator.machines.process import UnsupportedError, UsageError, decode
from crdbmesh_simulator.machines.shell_flow import ExitError, LoopError, ReturnError

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.shell import Shell

Builtin = Callable[["Shell", list[str]], int]

_KEYWORDS = ("if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "in", "{", "}",
             "!", "[[", "]]", "function")  # fmt: skip
SPECIAL = (
    ".",
    ":",
    "break",
    "continue",
    "eval",
    "exec",
    "exit",
    "export",
    "readonly",
    "return",
    "set",
    "shift",
    "trap",
    "unset",
)
_OPTIONS = {"e": "errexit", "u": "nounset", "x": "xtrace", "f": "noglob", "a": "allexport", "C": "noclobber",
            "n": "noexec", "v": "verbose", "h": "hashall", "m": "monitor", "b": "notify", "E": "errtrace"}  # fmt: skip
_NAMES = {name: letter for letter, name in _OPTIONS.items()}


def find(name: str, *, dash: bool) -> Builtin | None:
    """The builtin of a name; dash lacks some of bash's."""
    if dash and name in ("source", "declare", "typeset", "shopt", "pushd", "popd", "let"):
        return None
    return _BUILTINS.get(name)


def _colon(shell: Shell, words: list[str]) -> int:  # noqa: ARG001
    return 0


def _false(shell: Shell, words: list[str]) -> int:  # noqa: ARG001
    return 1


def _cd(shell: Shell, words: list[str]) -> int:
    operands = [word for word in words[1:] if word not in ("-P", "-L", "--")]
    target = operands[0] if operands else shell.get("HOME", "/")
    if target == "-":
        target = shell.get("OLDPWD", shell.process.cwd)
    path = posixpath.normpath(shell.process.path(target))
    inode = shell.process.find(path)
    if inode is None or not inode.is_dir:
        reason = "Not a directory" if inode else "No such file or directory"
        shell.process.err(
            f"{shell.label()}cd: can't cd to {target}\n" if shell.dash else f"{shell.label()}cd: {target}: {reason}\n"
        )
        return 2 if shell.dash else 1
    if not shell.process.actor.may(inode, EXECUTE):
        shell.process.err(f"{shell.label()}cd: {target}: Permission denied\n")
        return 1
    shell.variables["OLDPWD"], shell.variables["PWD"] = shell.process.cwd, path
    shell.process.cwd = path
    return 0


def _pwd(shell: Shell, words: list[str]) -> int:  # noqa: ARG001
    shell.process.out(shell.process.cwd + "\n")
    return 0


def _exit(shell: Shell, words: list[str]) -> int:
    raise ExitError(_status(words[1]) if len(words) > 1 else shell.status)


def _return(shell: Shell, words: list[str]) -> int:
    raise ReturnError(_status(words[1]) if len(words) > 1 else shell.status)


def _break(shell: Shell, words: list[str]) -> int:  # noqa: ARG001
    raise LoopError(int(words[1]) if len(words) > 1 else 1, again=words[0] == "continue")


def _status(text: str) -> int:
    if not re.fullmatch(r"-?\d+", text):
        raise UsageError(f"exit: {text}: numeric argument required", 2)
    return int(text) & 0xFF


def _export(shell: Shell, words: list[str]) -> int:
    operands = [word for word in words[1:] if not word.startswith("-")]
    if not operands:
        for name, value in shell.environment().items():
            prefix = "export" if shell.dash else "declare -x"
            shell.process.out(f"{prefix} {name}={_quoted(value, dash=shell.dash)}\n")
        return 0
    for word in operands:
        name, equals, value = word.partition("=")
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise UsageError(f"export: `{word}': not a valid identifier", 1)
        if "-n" in words[1:2]:
            shell.exported.discard(name)
            continue
        if equals:
            shell.assign(name, value)
        shell.exported.add(name)
    return 0


def _quoted(value: str, *, dash: bool) -> str:
    if dash:
        return "'" + value.replace("'", "'\"'\"'") + "'"
    return '"' + re.sub(r'(["\\$`])', r"\\\1", value) + '"'


def _readonly(shell: Shell, words: list[str]) -> int:
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if equals:
            shell.assign(name, value)
        shell.readonly.add(name)
    return 0


def _unset(shell: Shell, words: list[str]) -> int:
    for name in words[1:]:
        if name == "-f":
            continue
        shell.variables.pop(name, None)
        shell.exported.discard(name)
        shell.functions.pop(name, None)
    return 0


def _local(shell: Shell, words: list[str]) -> int:
    if not shell.locals:
        raise UsageError(f"{words[0]}: can only be used in a function", 1)
    for word in words[1:]:
        if word.startswith("-"):
            if word not in ("-r", "-i", "-x"):
                raise UnsupportedError(f"{words[0]} {word}")
            continue
        name, equals, value = word.partition("=")
        shell.locals[-1].setdefault(name, shell.variables.get(name))
        if equals:
            shell.assign(name, value)
        else:
            shell.variables.pop(name, None)
    return 0


def _declare(shell: Shell, words: list[str]) -> int:
    flags = [word for word in words[1:] if word.startswith("-")]
    if any(flag not in ("-r", "-x", "-i", "-g") for flag in flags):
        raise UnsupportedError(f"{words[0]} {' '.join(flags)}")
    if shell.locals and "-g" not in flags:
        return _local(shell, words)
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            continue
        if equals:
            shell.assign(name, value)
        if "-x" in flags:
            shell.exported.add(name)
        if "-r" in flags:
            shell.readonly.add(name)
    return 0


def _set(shell: Shell, words: list[str]) -> int:
    arguments = words[1:]
    if not arguments:
        for name in sorted(shell.variables):
            shell.process.out(f"{name}={_quoted(shell.variables[name], dash=True)}\n")
        return 0
    while arguments:
        word = arguments.pop(0)
        if word in ("--", "-"):
            shell.positional = arguments
            return 0
        if word[:1] not in "-+" or len(word) < 2:
            shell.positional = [word, *arguments]
            return 0
        for letter in word[1:]:
            set_option(shell, arguments.pop(0) if letter == "o" and arguments else letter, on=word[0] == "-")
    return 0


def set_option(shell: Shell, option: str, *, on: bool) -> None:
    """`set -e` and the like, by letter or by name.

    Raises:
        UsageError: the shell does not have the option.
    """
    letter = _NAMES.get(option, option)
    if (letter not in _OPTIONS and letter not in ("pipefail", "posix")) or (
        shell.dash and letter in ("pipefail", "posix", "E", "h")
    ):
        if shell.dash:
            raise UsageError(f"set: Illegal option {'-o ' if len(option) > 1 else '-'}{option}", 2)
        raise UsageError(f"set: {option}: invalid option name", 2)
    if on:
        shell.options.add(letter)
    else:
        shell.options.discard(letter)


def _shift(shell: Shell, words: list[str]) -> int:
    count = int(words[1]) if len(words) > 1 else 1
    if count > len(shell.positional):
        if shell.dash:
            raise UsageError("shift: can't shift that many", 2)
        return 1
    del shell.positional[:count]
    return 0


def _eval(shell: Shell, words: list[str]) -> int:
    return shell.run_nested(" ".join(words[1:]))


def _source(shell: Shell, words: list[str]) -> int:
    if len(words) < 2:
        raise UsageError(f"{words[0]}: filename argument required", 2)
    text = decode(shell.process.read_file(words[1]))
    try:
        return shell.run_nested(text)
    except ReturnError as end:
        return end.status


def _exec(shell: Shell, words: list[str]) -> int:
    if len(words) == 1:
        return 0
    status = processes.run(shell.process.child(env=shell.environment()), words[1:], label=shell.label())
    raise ExitError(status)


def _read(shell: Shell, words: list[str]) -> int:
    raw, names, rest = False, [], words[1:]
    while rest:
        word = rest.pop(0)
        if word in ("-r", "-s", "-rs", "-sr"):
            raw = raw or "r" in word
        elif word in ("-p", "-t", "-n", "-d", "-u", "-a"):
            if word not in ("-p", "-t"):
                raise UnsupportedError(f"read {word}")
            rest.pop(0)
        elif word.startswith("-"):
            raise UnsupportedError(f"read {word}")
        else:
            names.append(word)
    line = decode(shell.process.stdin.readline())
    while not raw and line.endswith("\\\n"):
        line = line[:-2] + decode(shell.process.stdin.readline())
    ended = line.endswith("\n")
    line = line.removesuffix("\n")
    line = line if raw else re.sub(r"\\(.)", r"\1", line)
    separators = shell.get("IFS", " \t\n")
    names = names or ["REPLY"]
    values = _read_fields(line, separators, len(names)) if names != ["REPLY"] else [line]
    for number, name in enumerate(names):
        shell.assign(name, values[number] if number < len(values) else "")
    return 0 if ended else 1


def _read_fields(line: str, separators: str, count: int) -> list[str]:
    if not separators:
        return [line]
    if all(character in " \t\n" for character in separators):
        return line.strip(separators).split(None, count - 1) if separators.strip(" \t\n") == "" else [line]
    pieces = re.split(f"[{re.escape(separators)}]", line, maxsplit=count - 1)
    return [piece.strip(" \t") if " " in separators else piece for piece in pieces]


def _command(shell: Shell, words: list[str]) -> int:
    arguments = words[1:]
    if arguments and arguments[0] in ("-v", "-V"):
        status = 0
        for name in arguments[1:]:
            found = _describe(shell, name)
            if found is None:
                if arguments[0] == "-V":
                    shell.process.err(f"{shell.label()}command: {name}: not found\n")
                status = 127 if shell.dash else 1
                continue
            shell.process.out(f"{found}\n" if arguments[0] == "-v" else f"{name} is {found}\n")
        return status
    if not arguments:
        return 0
    builtin = find(arguments[0], dash=shell.dash)
    if builtin is not None:
        return builtin(shell, arguments)
    return processes.run(shell.process.child(env=shell.environment()), arguments, label=shell.label())


def _describe(shell: Shell, name: str) -> str | None:
    if name in shell.functions or find(name, dash=shell.dash) is not None or name in _KEYWORDS:
        return name
    return processes.search(shell.process, name, shell.get("PATH"))


def _type(shell: Shell, words: list[str]) -> int:
    status = 0
    for name in (word for word in words[1:] if not word.startswith("-")):
        found = _describe(shell, name)
        if "-p" in words[1:] or "-P" in words[1:]:
            shell.process.out(f"{found}\n" if found else "")
        elif found is None:
            shell.process.err(f"{shell.label()}type: {name}: not found\n")
        elif name in shell.functions:
            shell.process.out(f"{name} is a function\n")
        else:
            shell.process.out(f"{name} is {found}\n" if "/" in found else f"{name} is a shell builtin\n")
        status = status or int(found is None) * (127 if shell.dash else 1)
    return status


def _trap(shell: Shell, words: list[str]) -> int:
    arguments = [word for word in words[1:] if word != "--"]
    if len(arguments) < 2:
        return 0
    for signal in arguments[1:]:
        name = {"0": "EXIT"}.get(signal, signal.removeprefix("SIG").upper())
        if name == "ERR" and not shell.dash:
            raise UnsupportedError("trap … ERR")
        if arguments[0] == "-":
            shell.traps.pop(name, None)
        else:
            shell.traps[name] = arguments[0]
    return 0


def _umask(shell: Shell, words: list[str]) -> int:
    if len(words) == 1:
        shell.process.out(f"{shell.process.actor.umask:04o}\n")
        return 0
    if not re.fullmatch(r"[0-7]{1,4}", words[1]):
        raise UnsupportedError(f"umask {words[1]}")
    shell.process.actor = processes.with_umask(shell.process.actor, int(words[1], 8))
    return 0


def _test(shell: Shell, words: list[str]) -> int:
    arguments = words[1:]
    if words[0] == "[":
        if not arguments or arguments[-1] != "]":
            raise UsageError("[: missing `]'", 2)
        arguments = arguments[:-1]
    if shell.dash and len(arguments) == 3 and arguments[1] == "==":
        raise UsageError(f"{words[0]}: {arguments[0]}: unexpected operator", 2)
    try:
        return int(not shell_test.test(shell.process, arguments))
    except UsageError as error:
        raise UsageError(f"{words[0]}: {error}", error.status) from None


def _let(shell: Shell, words: list[str]) -> int:
    value = 0
    for word in words[1:]:
        value = shell_test.calculate(word, shell.variables)
    return int(value == 0)


def _shopt(shell: Shell, words: list[str]) -> int:  # noqa: ARG001
    if words[1:2] not in (["-s"], ["-u"]) or any(
        word not in ("expand_aliases", "inherit_errexit") for word in words[2:]
    ):
        raise UnsupportedError(" ".join(words))
    return 0


def _wait(shell: Shell, words: list[str]) -> int:  # noqa: ARG001
    if len(words) > 1:
        raise UsageError(f"wait: pid {words[1]} is not a child of this shell", 127)
    return 0


def _kill(shell: Shell, words: list[str]) -> int:  # noqa: ARG001
    if words[-1] != "4711":
        raise UnsupportedError(" ".join(words))
    name = words[1].removeprefix("-").removeprefix("SIG") if len(words) > 2 else "TERM"
    if name == "s":
        name = words[2].removeprefix("SIG")
    if name == "0":
        return 0
    raise processes.Signalled({"9": "KILL", "15": "TERM", "1": "HUP", "2": "INT"}.get(name, name))


def _external(shell: Shell, words: list[str]) -> int:
    """`echo`, `printf`, `true`: the program of the same name, run without a file system look-up."""
    from crdbmesh_simulator.machines import commands
    from crdbmesh_simulator.machines.internet import Program

    child = shell.process.child(env=shell.environment(), name=words[0])
    if words[0] == "echo" and shell.dash:
        child.name = "dash-echo"
    return commands.run(child, Program(words[0]), words)


_BUILTINS: dict[str, Builtin] = {
    ":": _colon, "true": _colon, "false": _false, "cd": _cd, "pwd": _pwd, "exit": _exit, "return": _return,
    "break": _break, "continue": _break, "export": _export, "readonly": _readonly, "unset": _unset, "local": _local,
    "declare": _declare, "typeset": _declare, "set": _set, "shift": _shift, "eval": _eval, ".": _source,
    "source": _source, "exec": _exec, "read": _read, "command": _command, "type": _type, "trap": _trap,
    "umask": _umask, "test": _test, "[": _test, "let": _let, "shopt": _shopt, "wait": _wait, "kill": _kill,
    "echo": _external, "printf": _external, "hash": _colon, "times": _colon, "ulimit": _colon,
}  # fmt: skip
