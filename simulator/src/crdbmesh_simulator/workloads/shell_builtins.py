"""Commands that are part of the shell itself, in a container."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.api.pods import runtime
from crdbmesh_simulator.workloads import dns, paths, shell_words
from crdbmesh_simulator.workloads.process import execute
from crdbmesh_simulator.workloads.service import unwrap

if TYPE_CHECKING:
    from crdbmesh_simulator.workloads.shell import Shell

Builtin = Callable[["Shell", list[str]], Generator[float, None, int]]
_CONNECT_S = 127.0


def find(name: str) -> Builtin | None:
    """The builtin of that name."""
    return _BUILTINS.get(name)


def _now(plain: Callable[[Shell, list[str]], int]) -> Builtin:
    def run(shell: Shell, words: list[str]) -> Generator[float, None, int]:
        yield from ()
        return plain(shell, words)

    return run


def _exit(shell: Shell, words: list[str]) -> int:
    from crdbmesh_simulator.workloads.shell import ExitError, ReturnError

    status = int(words[1]) & 255 if len(words) > 1 and words[1].lstrip("-").isdigit() else shell.status
    raise (ReturnError if words[0] == "return" else ExitError)(status)


def _jump(shell: Shell, words: list[str]) -> int:  # noqa: ARG001 - the form of all builtins
    from crdbmesh_simulator.workloads.shell import LoopError

    raise LoopError(int(words[1]) if len(words) > 1 else 1, again=words[0] == "continue")


def _cd(shell: Shell, words: list[str]) -> int:
    target = shell.process.path(words[1] if len(words) > 1 else shell.variables.get("HOME", "/"))
    if not shell.process.files.is_dir(target) and target != "/":
        shell.process.complain(f"{shell.name}: line 1: cd: {words[1]}: No such file or directory\n")
        return 1
    shell.process.cwd = target
    shell.variables["PWD"] = target
    return 0


def _set(shell: Shell, words: list[str]) -> int:
    rest = words[1:]
    while rest and rest[0][:1] in "-+" and len(rest[0]) > 1:
        word = rest.pop(0)
        if word == "--":
            break
        change = shell.options.update if word[0] == "-" else shell.options.difference_update
        letters = set(word[1:]) - {"o"}
        change(letters)
        if "o" in word[1:] and rest:
            name = rest.pop(0)
            change({{"errexit": "e", "nounset": "u", "xtrace": "x"}.get(name, name)})
    if rest:
        shell.positional = rest
    return 0


def _export(shell: Shell, words: list[str]) -> int:
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if equals:
            shell.variables[name] = value
        if words[0] == "export":
            shell.exported.add(name)
    return 0


def _unset(shell: Shell, words: list[str]) -> int:
    for word in words[1:]:
        shell.variables.pop(word, None)
        shell.functions.pop(word, None)
    return 0


def _shift(shell: Shell, words: list[str]) -> int:
    count = int(words[1]) if len(words) > 1 else 1
    if count > len(shell.positional):
        return 1
    del shell.positional[:count]
    return 0


def _read(shell: Shell, words: list[str]) -> int:
    names = [word for word in words[1:] if not word.startswith("-")] or ["REPLY"]
    line, newline, rest = shell.process.stdin.partition(b"\n")
    shell.process.stdin = rest
    values = line.decode(errors="replace").strip().split(None, len(names) - 1)
    for index, name in enumerate(names):
        shell.variables[name] = values[index] if index < len(values) else ""
    return 0 if newline or line else 1


def _test(shell: Shell, words: list[str]) -> int:
    inner = words[1:]
    if words[0] == "[":
        if inner[-1:] != ["]"]:
            shell.process.complain(f"{shell.name}: line 1: [: missing `]'\n")
            return 2
        inner = inner[:-1]
    return int(not shell_words.test(shell, inner))


def _command(shell: Shell, words: list[str]) -> Generator[float, None, int]:
    if words[1:2] in (["-v"], ["-V"]):
        status = 1
        for word in words[2:]:
            where = word if find(word) or word in shell.functions else shell.process.image.where(word)
            if where:
                shell.process.say(f"{where}\n")
                status = 0
        return status
    if words[0] == "type" or words[0] == "which":
        where = shell.process.image.where(words[1]) if len(words) > 1 else None
        if where:
            shell.process.say(f"{words[1]} is {where}\n" if words[0] == "type" else f"{where}\n")
        return 0 if where else 1
    rest = words[1:]
    if not rest:
        return 0
    builtin = find(rest[0])
    if builtin is not None:
        return (yield from builtin(shell, rest))
    return (yield from execute(shell.process.child(rest, env=shell.environment(), main=shell.process.main)))


def _exec(shell: Shell, words: list[str]) -> Generator[float, None, int]:
    from crdbmesh_simulator.workloads.shell import ExitError

    rest = words[1:]
    if rest[:1] == ["-a"]:
        rest = rest[2:]
    if not rest:
        return 0
    inner = shell.process.child(rest, env=shell.environment(), main=shell.process.main)
    raise ExitError((yield from execute(inner)))


def _kill(shell: Shell, words: list[str]) -> int:
    """Signals to the container's own program: only a hangup means anything here."""
    from crdbmesh_simulator.workloads.cockroachdb.node import CockroachNode

    signal, targets = "TERM", words[1:]
    if targets[:1] == ["-s"]:
        signal, targets = targets[1], targets[2:]
    elif targets[:1] and targets[0].startswith("-"):
        signal, targets = targets[0][1:], targets[1:]
    signal = signal.upper().removeprefix("SIG")
    container = shell.process.container
    pods = runtime(container.cluster)
    box = pods.sandboxes.get(str(container.pod["metadata"].get("uid"))) if pods else None
    program = box.programs.get(container.name) if box else None
    node = unwrap(program, CockroachNode) if program is not None else None
    if targets != ["1"] or (signal not in ("HUP", "1", "0")) or (node is None and signal != "0"):
        shell.process.world.not_known("exec", " ".join(words))
        shell.process.complain(f"{shell.name}: line 1: kill: this simulated world knows no {' '.join(words[1:])}\n")
        return 1
    if node is not None and signal != "0":
        node.reload()
    return 0


def _eval(shell: Shell, words: list[str]) -> Generator[float, None, int]:
    from crdbmesh_simulator.machines.shell_parser import Parser

    parser = Parser(" ".join(words[1:]))
    while (script := parser.read_line()) is not None:
        yield from shell.script(script)
    return shell.status


def connect(shell: Shell, target: str) -> Generator[float, None, bool]:
    """Open `/dev/tcp/host/port`, which is bash's own."""
    kind = shell.process.image.sh
    if kind == "busybox" or (kind == "dash" and shell.process.name == "sh"):
        shell.process.complain(f"{shell.name}: can't open {target}: no such file\n")
        return False
    _, _, protocol, host, port = target.split("/", 4)
    world = shell.process.world
    answer = dns.resolve(world, shell.process.container, host)
    yield answer.elapsed_s
    if not answer.found:
        shell.process.complain(f"bash: line 1: {host}: {_resolver_text(answer)}\n")
        shell.process.complain(f"bash: line 1: {target}: Invalid argument\n")
        return False
    with world.lock:
        reason = paths.connect(world, shell.process.container, answer.addresses[0], int(port), protocol.upper())
    if reason is None:
        return True
    if reason.startswith(paths.TIMEOUT):
        yield _CONNECT_S
    said = "Connection refused" if reason.startswith(paths.REFUSED) else "Connection timed out"
    shell.process.complain(f"bash: connect: {said}\nbash: line 1: {target}: {said}\n")
    return False


def _resolver_text(answer: dns.Answer) -> str:
    return (
        "Name or service not known"
        if answer.rcode in (dns.NXDOMAIN, dns.NOERROR)
        else "Temporary failure in name resolution"
    )


_BUILTINS: dict[str, Builtin] = {
    "exit": _now(_exit),
    "return": _now(_exit),
    "break": _now(_jump),
    "continue": _now(_jump),
    "cd": _now(_cd),
    "set": _now(_set),
    "export": _now(_export),
    "local": _now(_export),
    "declare": _now(_export),
    "readonly": _now(_export),
    "unset": _now(_unset),
    "shift": _now(_shift),
    "read": _now(_read),
    "test": _now(_test),
    "[": _now(_test),
    ":": _now(lambda _shell, _words: 0),
    "trap": _now(lambda _shell, _words: 0),
    "umask": _now(lambda _shell, _words: 0),
    "ulimit": _now(lambda _shell, _words: 0),
    "wait": _now(lambda _shell, _words: 0),
    "command": _command,
    "type": _command,
    "which": _command,
    "exec": _exec,
    "kill": _now(_kill),
    "eval": _eval,
}
