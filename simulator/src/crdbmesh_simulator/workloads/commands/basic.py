"""Files, time and the environment: coreutils and BusyBox, as far as containers' scripts use them."""

from __future__ import annotations

import datetime as dt
import math
import posixpath
import re
from collections.abc import Generator

from crdbmesh_simulator.workloads import dns
from crdbmesh_simulator.workloads.process import Command, Process, Run, execute

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_FOREVER_S = 1e12


def unknown(process: Process, what: str) -> int:
    """An option that the real command may know and this world does not."""
    process.world.not_known("exec", f"{process.name} {what}")
    process.complain(
        f"{process.name}: unrecognized option '{what}'\nTry '{process.name} --help' for more information.\n"
    )
    return 1


def _echo(process: Process) -> int:
    words = process.argv[1:]
    newline, escapes = True, False
    while words and re.fullmatch(r"-[neE]+", words[0]):
        flags = words.pop(0)
        newline = newline and "n" not in flags
        escapes = escapes or "e" in flags
    text = " ".join(words)
    process.say((_unescaped(text) if escapes else text) + ("\n" if newline else ""))
    return 0


def _unescaped(text: str) -> str:
    table = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "0": "\0", "a": "\a", "b": "\b", "e": "\x1b"}
    return re.sub(r"\\([ntr\\0abe])", lambda found: table[found[1]], text)


def _printf(process: Process) -> int:
    if len(process.argv) < 2:
        process.complain("printf: usage: printf [-v var] format [arguments]\n")
        return 2
    form, values = _unescaped(process.argv[1]), list(process.argv[2:])
    slots = len(re.findall(r"%[-0-9.]*[sdbqxc]", form))
    while True:
        process.say(re.sub(r"%(?:(%)|([-0-9.]*)([sdbqxc]))", lambda found: _formatted(found, values), form))
        if not values or not slots:
            return 0


def _formatted(found: re.Match[str], values: list[str]) -> str:
    if found[1]:
        return "%"
    value = values.pop(0) if values else ""
    if found[3] in "dx":
        return f"%{found[2]}{found[3]}" % int(value or 0)
    return f"%{found[2]}s" % (_unescaped(value) if found[3] == "b" else value)


def _sleep(process: Process) -> Run | int:
    total = 0.0
    for word in process.argv[1:]:
        match = re.fullmatch(r"(\d*\.?\d+|infinity|inf)([smhd]?)", word)
        if not match:
            process.complain(f"sleep: invalid time interval '{word}'\nTry 'sleep --help' for more information.\n")
            return 1
        total += math.inf if match[1].startswith("inf") else float(match[1]) * _UNITS[match[2]]
    if len(process.argv) < 2:
        process.complain("sleep: missing operand\nTry 'sleep --help' for more information.\n")
        return 1
    return _wait(total)


def _wait(seconds: float) -> Run:
    yield min(seconds, _FOREVER_S)
    return 0


def _timeout(process: Process) -> Run:
    words = process.argv[1:]
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word in ("-s", "-k", "--signal", "--kill-after"):
            words.pop(0)
    match = re.fullmatch(r"(\d*\.?\d+)([smhd]?)", words[0]) if words else None
    if not match or len(words) < 2:
        process.complain("timeout: missing operand\nTry 'timeout --help' for more information.\n")
        return 125
    limit = float(match[1]) * _UNITS[match[2]] or math.inf
    inner = execute(process.child(words[1:]))
    spent = 0.0
    try:
        while True:
            wait = next(inner)
            if spent + wait > limit:
                yield limit - spent
                inner.close()
                return 124
            spent += wait
            yield wait
    except StopIteration as end:
        return int(end.value)


def _env(process: Process) -> Run | int:
    words, env = process.argv[1:], dict(process.env)
    while words and ("=" in words[0] or words[0].startswith("-")):
        word = words.pop(0)
        if word in ("-i", "-"):
            env = {}
        elif word == "-u":
            env.pop(words.pop(0), None)
        elif "=" in word:
            name, _, value = word.partition("=")
            env[name] = value
        else:
            return unknown(process, word)
    if words:
        return execute(process.child(words, env=env, main=process.main))
    process.say("".join(f"{name}={value}\n" for name, value in env.items()))
    return 0


def _printenv(process: Process) -> int:
    if len(process.argv) == 1:
        process.say("".join(f"{name}={value}\n" for name, value in process.env.items()))
        return 0
    missing = False
    for name in process.argv[1:]:
        if name in process.env:
            process.say(f"{process.env[name]}\n")
        else:
            missing = True
    return int(missing)


def _hostname(process: Process) -> Run | int:
    flags = [word for word in process.argv[1:] if word.startswith("-")]
    own = process.files.read("/etc/hostname").decode().strip() if process.files.is_file("/etc/hostname") else ""
    own = own or process.env.get("HOSTNAME") or str(process.container.pod["metadata"]["name"])
    if not flags:
        process.say(f"{own}\n")
        return 0
    if flags[0] in ("-s", "--short"):
        process.say(f"{own.split('.')[0]}\n")
        return 0
    if flags[0] in ("-I", "--all-ip-addresses"):
        ip = (process.container.pod.get("status") or {}).get("podIP", "")
        process.say(f"{ip} \n")
        return 0
    if flags[0] in ("-f", "--fqdn", "--long", "-i", "--ip-address", "-d", "--domain"):
        return _resolved_hostname(process, own, flags[0])
    return unknown(process, flags[0])


def _resolved_hostname(process: Process, own: str, flag: str) -> Run:
    ip, names = next(((ip, names) for ip, names in _hosts_lines(process) if own in names), ("", []))
    if not ip:
        answer = dns.resolve(process.world, process.container, own)
        yield answer.elapsed_s
        if not answer.found:
            process.complain("hostname: Name or service not known\n")
            return 1
        ip, names = answer.addresses[0], [answer.records[0].name.rstrip(".")]
    if flag in ("-i", "--ip-address"):
        process.say(f"{ip}\n")
    elif flag in ("-d", "--domain"):
        process.say(f"{names[0].partition('.')[2]}\n")
    else:
        process.say(f"{names[0]}\n")
    return 0


def _hosts_lines(process: Process) -> Generator[tuple[str, list[str]], None, None]:
    text = process.files.read("/etc/hosts").decode() if process.files.is_file("/etc/hosts") else ""
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if len(words) > 1 and ":" not in words[0]:
            yield words[0], words[1:]


def _date(process: Process) -> int:
    now = process.world.clock.utc()
    form = next((word[1:] for word in process.argv[1:] if word.startswith("+")), "%a %b %e %H:%M:%S UTC %Y")
    form = form.replace("%s", str(int(now.timestamp()))).replace("%N", f"{now.microsecond * 1000:09d}")
    process.say(dt.datetime.strftime(now, form) + "\n")
    return 0


def _id(process: Process) -> int:
    user, group = process.files.identity()
    words = process.argv[1:]
    if process.name == "whoami" or words == ["-un"]:
        if user:
            process.complain(f"whoami: cannot find name for user ID {user}\n")
            return 1
        process.say("root\n")
    elif words in (["-u"], ["-g"]):
        process.say(f"{user if words == ['-u'] else group}\n")
    else:
        extra = process.files.fs_group()
        groups = ",".join(str(each) for each in dict.fromkeys([group, *([extra] if extra is not None else [])]))
        process.say(
            f"uid={user}{'(root)' if not user else ''} gid={group}{'(root)' if not group else ''} groups={groups}\n"
        )
    return 0


def _ls(process: Process) -> int:
    flags = "".join(word[1:] for word in process.argv[1:] if word.startswith("-"))
    targets = [word for word in process.argv[1:] if not word.startswith("-")] or ["."]
    status = 0
    for target in targets:
        path = process.path(target)
        if process.files.is_file(path):
            names, folder = [posixpath.basename(path)], posixpath.dirname(path)
        elif process.files.is_dir(path):
            names, folder = process.files.entries(path), path
        else:
            process.complain(f"ls: cannot access '{target}': No such file or directory\n")
            status = 2
            continue
        for name in names:
            full = posixpath.join(folder, name)
            if "l" in flags and process.files.is_file(full):
                size = len(process.files.read(full)) if process.files.readable(full) else 0
                stamp = process.world.clock.utc().strftime("%b %d %H:%M")
                process.say(
                    f"{process.files.mode_text(full)} 1 root {process.files.group(full) or 'root'} {size} "
                    f"{stamp} {name}\n"
                )
            else:
                process.say(f"{name}\n")
    return status


def _copy(process: Process) -> int:
    words = [word for word in process.argv[1:] if not word.startswith("-")]
    if len(words) < 2:
        process.complain(f"{process.name}: missing file operand\n")
        return 1
    *sources, target = words
    status = 0
    for source in sources:
        path = process.path(source)
        into = process.path(target)
        if process.files.is_dir(into) or len(sources) > 1 or target.endswith("/"):
            into = posixpath.join(into, posixpath.basename(path))
        try:
            process.files.write(into, process.files.read(path))
            if process.name == "mv":
                process.files.remove(path)
        except FileNotFoundError:
            process.complain(f"{process.name}: cannot stat '{source}': No such file or directory\n")
            status = 1
        except OSError as error:
            process.complain(
                f"{process.name}: cannot create regular file '{into}': {error.strerror or 'Permission denied'}\n"
            )
            status = 1
    return status


def _remove(process: Process) -> int:
    force = any(word.startswith("-") and "f" in word for word in process.argv[1:])
    status = 0
    for word in process.argv[1:]:
        if not word.startswith("-") and not process.files.remove(process.path(word)) and not force:
            process.complain(f"rm: cannot remove '{word}': No such file or directory\n")
            status = 1
    return status


def _touch(process: Process) -> int:
    for word in process.argv[1:]:
        path = process.path(word)
        try:
            if not word.startswith("-") and not process.files.is_file(path):
                process.files.write(path, b"")
        except OSError as error:
            process.complain(f"touch: cannot touch '{word}': {error.strerror}\n")
            return 1
    return 0


def _test(process: Process) -> int:
    from crdbmesh_simulator.workloads import shell_words
    from crdbmesh_simulator.workloads.shell import Shell

    words = process.argv[1:-1] if process.name == "[" else process.argv[1:]
    return int(not shell_words.test(Shell(process), words))


def _expr(process: Process) -> int:
    words = process.argv[1:]
    try:
        left, operator, right = int(words[0]), words[1], int(words[2])
        table = {
            "+": left + right,
            "-": left - right,
            "*": left * right,
            "/": int(left / right) if right else 0,
            "%": left % right if right else 0,
        }
        value = table[operator]
    except (ValueError, IndexError, KeyError):
        process.complain("expr: syntax error\n")
        return 2
    process.say(f"{value}\n")
    return int(value == 0)


def _seq(process: Process) -> int:
    numbers = [int(word) for word in process.argv[1:]]
    first, step, last = {1: (1, 1, numbers[0]), 2: (numbers[0], 1, numbers[-1])}.get(len(numbers), tuple(numbers))
    process.say("".join(f"{value}\n" for value in range(first, last + (1 if step > 0 else -1), step)))
    return 0


def _uname(process: Process) -> int:
    node = process.container.pod["metadata"]["name"]
    words = process.argv[1:]
    table = {"-r": "6.14.0-1012-azure", "-m": "x86_64", "-n": node, "-s": "Linux"}
    if words == ["-a"]:
        process.say(f"Linux {node} 6.14.0-1012-azure #12~24.04.1-Ubuntu SMP x86_64 GNU/Linux\n")
    else:
        process.say(" ".join(table.get(word, "Linux") for word in words or ["-s"]) + "\n")
    return 0


def _pwd(process: Process) -> int:
    process.say(f"{process.cwd}\n")
    return 0


def _nproc(process: Process) -> int:
    process.say(f"{process.container.node.machine.vcpus}\n")
    return 0


def _names(process: Process) -> int:
    words = [word for word in process.argv[1:] if not word.startswith("-")]
    if process.name == "basename":
        name = posixpath.basename(words[0].rstrip("/"))
        process.say((name.removesuffix(words[1]) if len(words) > 1 else name) + "\n")
    elif process.name == "dirname":
        process.say((posixpath.dirname(words[0].rstrip("/")) or ".") + "\n")
    else:
        process.say(f"{process.path(words[0])}\n")
    return 0


def _done(process: Process) -> int:  # noqa: ARG001 - the form of all commands
    return 0


def _fails(process: Process) -> int:  # noqa: ARG001 - the form of all commands
    return 1


COMMANDS: dict[str, Command] = {
    "echo": _echo,
    "printf": _printf,
    "sleep": _sleep,
    "timeout": _timeout,
    "env": _env,
    "printenv": _printenv,
    "hostname": _hostname,
    "date": _date,
    "id": _id,
    "whoami": _id,
    "ls": _ls,
    "cp": _copy,
    "mv": _copy,
    "rm": _remove,
    "touch": _touch,
    "test": _test,
    "[": _test,
    "expr": _expr,
    "seq": _seq,
    "uname": _uname,
    "pwd": _pwd,
    "nproc": _nproc,
    "basename": _names,
    "dirname": _names,
    "readlink": _names,
    "realpath": _names,
    "mkdir": _done,
    "chmod": _done,
    "chown": _done,
    "sync": _done,
    "true": _done,
    "false": _fails,
}
