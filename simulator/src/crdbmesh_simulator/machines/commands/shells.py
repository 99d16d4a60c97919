"""Programs that run other programs: sh, bash, env, timeout, sleep, nohup, nice."""

from __future__ import annotations

import re

from crdbmesh_simulator.machines import shell_builtins
from crdbmesh_simulator.machines.commands.table import program
from crdbmesh_simulator.machines.internet import INSTALLER_MARK
from crdbmesh_simulator.machines.process import (
    Bytes,
    Expired,
    Process,
    UnsupportedError,
    UsageError,
    decode,
    run,
)
from crdbmesh_simulator.machines.shell import Shell

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@program("sh", "bash", "dash")
def _shell(process: Process, argv: list[str]) -> int:
    dash = process.name != "bash"
    arguments, script, from_stdin = argv[1:], None, False
    shell = Shell(process, dash=dash, name="sh" if dash else "bash")
    while arguments and re.fullmatch(r"[-+].*", arguments[0]):
        word = arguments.pop(0)
        if word in ("--", "-"):
            break
        if word in ("--login", "--noprofile", "--norc", "--posix", "-l"):
            continue
        if word.startswith("--"):
            raise UnsupportedError(f"{argv[0]} {word}")
        for letter in word[1:]:
            if letter == "c":
                script = ""
            elif letter == "s":
                from_stdin = True
            elif letter == "o":
                shell_builtins.set_option(shell, arguments.pop(0), on=word[0] == "-")
            elif letter not in "li":
                shell_builtins.set_option(shell, letter, on=word[0] == "-")
    if script is not None:
        if not arguments:
            raise UsageError("-c: option requires an argument", 2)
        script, *rest = arguments
        shell.name, shell.positional = (rest[0], rest[1:]) if rest else (shell.name, [])
        if not dash and not rest:
            shell.name = "bash"
        return shell.run_text(script)
    if arguments and not from_stdin:
        path, *shell.positional = arguments
        content = _script(process, path, dash=dash)
        if content is None:
            return 127 if not dash else 2
        shell.name = path
        return _run_script(shell, content)
    shell.positional = arguments
    return _run_stdin(shell)


def _script(process: Process, path: str, *, dash: bool) -> bytes | None:
    try:
        return process.read_file(path)
    except OSError:
        inode = process.find(path)
        reason = (
            "No such file or directory" if inode is None else "Is a directory" if inode.is_dir else "Permission denied"
        )
        process.err(f"sh: 0: cannot open {path}: {reason.replace('such file or directory', 'such file')}\n" if dash
                    else f"bash: {path}: {reason}\n")  # fmt: skip
        return None


def _run_stdin(shell: Shell) -> int:
    first = shell.process.stdin.readline()
    if first.startswith(b"#!"):
        rest = shell.process.stdin.read()
        if INSTALLER_MARK in rest:
            return _run_script(shell, first + rest)
        source = Bytes(rest)
        shell.process.stdin = source
        return shell.run_source(source)
    return shell.run_source(_Again(first, shell))


class _Again(Bytes):
    """A source whose first line was read already."""

    def __init__(self, first: bytes, shell: Shell) -> None:
        super().__init__(first)
        self._rest = shell.process.stdin

    def readline(self) -> bytes:
        return super().readline() or self._rest.readline()


def _run_script(shell: Shell, content: bytes) -> int:
    if INSTALLER_MARK in content:
        from crdbmesh_simulator.machines import k3s_install

        return k3s_install.run(shell.process, shell.positional)
    return shell.run_text(decode(content))


@program("env", "printenv")
def _env(process: Process, argv: list[str]) -> int:
    arguments, env = argv[1:], dict(process.env)
    if argv[0] == "printenv" and arguments:
        missing = [name for name in arguments if name not in env]
        process.out("".join(f"{env[name]}\n" for name in arguments if name in env))
        return int(bool(missing))
    while arguments:
        word = arguments[0]
        if word in ("-i", "-", "--ignore-environment"):
            env = {}
        elif word in ("-u", "--unset"):
            arguments.pop(0)
            env.pop(arguments[0], None)
        elif word == "-S":
            arguments[:2] = ["", *arguments[1].split()]
        elif match := re.fullmatch(r"([A-Za-z_]\w*)=(.*)", word, re.DOTALL):
            env[match[1]] = match[2]
        elif word.startswith("-"):
            raise UnsupportedError(f"env {word}")
        else:
            break
        arguments.pop(0)
    if arguments:
        return run(process.child(env=env), arguments, label="env: ")
    process.out("".join(f"{name}={value}\n" for name, value in env.items()))
    return 0


@program("timeout")
def _timeout(process: Process, argv: list[str]) -> int:
    arguments = argv[1:]
    preserve = False
    while arguments and arguments[0].startswith("-"):
        word = arguments.pop(0)
        if word in ("-k", "-s", "--signal", "--kill-after"):
            arguments.pop(0)
        elif word == "--preserve-status":
            preserve = True
        elif not re.fullmatch(r"-[ks].+|--(signal|kill-after)=.+|--foreground|-v|--verbose", word):
            raise UnsupportedError(f"timeout {word}")
    if len(arguments) < 2:
        raise UsageError("missing operand", 125)
    token = object()
    deadline = process.machine.world.clock.now() + duration(arguments[0], "timeout")
    try:
        return run(process.child(deadlines=(*process.deadlines, (deadline, token))), arguments[1:], label="timeout: ")
    except Expired as expired:
        if expired.token is not token:
            raise
        return 143 if preserve else 124


@program("sleep")
def _sleep(process: Process, argv: list[str]) -> int:
    if len(argv) < 2:
        raise UsageError("missing operand")
    process.sleep(sum(duration(word, "sleep") for word in argv[1:]))
    return 0


def duration(text: str, name: str) -> float:
    """Seconds of `5`, `2m`, `1.5h`, `infinity`."""
    if text == "infinity":
        return 1e9
    match = re.fullmatch(r"(\d*\.?\d+)([smhd]?)", text)
    if not match:
        raise UsageError(f"invalid time interval ‘{text}’", 125 if name == "timeout" else 1)
    return float(match[1]) * _UNITS[match[2]]


@program("nohup", "nice", "ionice", "setsid", "stdbuf", "chrt")
def _nohup(process: Process, argv: list[str]) -> int:
    arguments = argv[1:]
    while arguments and arguments[0].startswith("-"):
        word = arguments.pop(0)
        if word in ("-n", "-c", "-o", "-e", "-i"):
            arguments.pop(0)
    return run(process, arguments, label=f"{argv[0]}: ") if arguments else 0
