"""Runs shell scripts in containers: bash, dash and BusyBox's ash, as far as manifests and automation use them.

Sources: POSIX.1 Shell Command Language and the bash manual; the syntax is read by the same parser as on the machines.
Commands of a pipeline run one after the other. What is not understood is refused aloud.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from crdbmesh_simulator.machines import shell_expand, shell_test
from crdbmesh_simulator.machines.process import UnsupportedError, UsageError
from crdbmesh_simulator.machines.shell_parser import Parser
from crdbmesh_simulator.machines.shell_syntax import (
    AndOr,
    Calculation,
    Case,
    Condition,
    For,
    Function,
    Group,
    If,
    Pipeline,
    Script,
    ShellSyntaxError,
    Simple,
    While,
)
from crdbmesh_simulator.machines.shell_syntax import Command as Syntax
from crdbmesh_simulator.workloads import shell_builtins, shell_redirects, shell_words
from crdbmesh_simulator.workloads.process import Process, Run, execute

_MAX_ROUNDS = 100_000
_ROUND_S = 0.002


class ExitError(Exception):
    """`exit`, or the end by `set -e`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class ReturnError(ExitError):
    """`return` from a function."""


class LoopError(Exception):
    """`break` or `continue`, `levels` loops up."""

    def __init__(self, levels: int, *, again: bool) -> None:
        super().__init__(levels)
        self.levels = levels
        self.again = again


@dataclass
class Shell:
    """A shell process."""

    process: Process
    name: str = "bash"
    positional: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    exported: set[str] = field(default_factory=set)
    functions: dict[str, Syntax] = field(default_factory=dict)
    options: set[str] = field(default_factory=set)
    status: int = 0
    guarded: int = 0

    def run(self, text: str) -> Run:
        """Run a script to its end."""
        try:
            parser = Parser(text)
            while (script := parser.read_line()) is not None:
                yield from self.script(script)
        except ExitError as end:
            self.status = end.status
        except LoopError:
            pass
        except ShellSyntaxError as error:
            self.process.complain(f"{self.name}: line {error.line}: {error}\n")
            self.process.world.not_known("exec", f"shell syntax: {error}")
            self.status = 2
        except UnsupportedError as error:
            self.process.complain(f"{self.name}: this simulated shell does not understand {error}\n")
            self.process.world.not_known("exec", f"shell: {error}")
            self.status = 2
        except UsageError as error:
            self.process.complain(f"{self.name}: {error}\n")
            self.status = error.status
        return self.status

    def script(self, script: Script) -> Generator[float, None, None]:
        """Run parsed commands in this shell."""
        for item in script:
            yield from self._and_or(item)

    def subshell(self, **changes: object) -> Shell:
        """A copy in which changes stay."""
        inner = self.process.child(list(self.process.argv), env=dict(self.process.env), **changes)
        return Shell(
            inner,
            self.name,
            list(self.positional),
            dict(self.variables),
            set(self.exported),
            dict(self.functions),
            set(self.options),
            self.status,
            self.guarded,
        )

    def substitute(self, script: Script) -> Generator[float, None, str]:
        """The output of a command substitution."""
        inner = self.subshell(out=bytearray())
        yield from inner.alone(script)
        self.status = inner.status
        return inner.process.out.decode(errors="replace").rstrip("\n")

    def alone(self, script: Script) -> Generator[float, None, None]:
        """Run commands as a shell of its own: `exit` ends only this one."""
        try:
            yield from self.script(script)
        except ExitError as end:
            self.status = end.status

    # Variables.

    def parameter(self, name: str) -> str | None:
        """The value of `$name`; None when it is not set."""
        if name.isdigit():
            if name == "0":
                return self.name
            return self.positional[int(name) - 1] if int(name) <= len(self.positional) else None
        special = {
            "@": " ".join(self.positional),
            "*": " ".join(self.positional),
            "#": str(len(self.positional)),
            "?": str(self.status),
            "$": "1",
            "!": "",
            "-": "".join(sorted(self.options)),
        }
        if name in special:
            return special[name]
        if name == "RANDOM" and name not in self.variables:
            return str(self.process.world.random.randrange(32768))
        if name == "SECONDS" and name not in self.variables:
            return str(int(self.process.world.clock.now()) % 86400)
        return self.variables.get(name)

    def environment(self) -> dict[str, str]:
        """What commands inherit."""
        return {name: self.variables[name] for name in self.exported if name in self.variables}

    # Commands.

    def _and_or(self, item: AndOr) -> Generator[float, None, None]:
        last = len(item.items) - 1
        for number, (operator, pipeline) in enumerate(item.items):
            if (operator == "&&" and self.status != 0) or (operator == "||" and self.status == 0):
                continue
            self.guarded += number < last or pipeline.negated
            try:
                yield from self._pipeline(pipeline)
            finally:
                self.guarded -= number < last or pipeline.negated
            if number == last and self.status and "e" in self.options and not self.guarded and not pipeline.negated:
                raise ExitError(self.status)

    def _pipeline(self, pipeline: Pipeline) -> Generator[float, None, None]:
        if len(pipeline.commands) == 1:
            yield from self._command(pipeline.commands[0])
        else:
            statuses: list[int] = []
            stdin = self.process.stdin
            for number, command in enumerate(pipeline.commands):
                final = number == len(pipeline.commands) - 1
                inner = self.subshell(stdin=stdin, out=self.process.out if final else bytearray())
                yield from inner.alone((AndOr((("", Pipeline((command,), negated=False)),)),))
                statuses.append(inner.status)
                stdin = bytes(inner.process.out)
            failed = [status for status in statuses if status]
            self.status = (failed[-1] if failed else 0) if "pipefail" in self.options else statuses[-1]
        if pipeline.negated:
            self.status = int(self.status == 0)

    def _command(self, command: Syntax) -> Generator[float, None, None]:
        if isinstance(command, Simple):
            yield from self._simple(command)
            return
        if isinstance(command, Function):
            self.functions[command.name] = command.body
            self.status = 0
            return
        streams = (self.process.stdin, self.process.out, self.process.err)
        finish = yield from shell_redirects.point(self, command.redirects)
        try:
            if finish is not None:
                yield from self._compound(command)
        finally:
            shell_redirects.restore(self, streams, finish or [])

    def _compound(self, command: Syntax) -> Generator[float, None, None]:
        if isinstance(command, If):
            yield from self._if(command)
        elif isinstance(command, While):
            yield from self._while(command)
        elif isinstance(command, For):
            yield from self._for(command)
        elif isinstance(command, Case):
            yield from self._case(command)
        elif isinstance(command, Group) and command.subshell:
            inner = self.subshell()
            yield from inner.alone(command.body)
            self.status = inner.status
        elif isinstance(command, Group):
            yield from self.script(command.body)
        elif isinstance(command, Condition):
            self.status = int(not (yield from shell_words.condition(self, command)))
        elif isinstance(command, Calculation):
            expression = yield from shell_words.text(self, command.expression)
            self.status = int(shell_test.calculate(expression, self.variables) == 0)

    def _tested(self, script: Script) -> Generator[float, None, bool]:
        self.guarded += 1
        try:
            yield from self.script(script)
        finally:
            self.guarded -= 1
        return self.status == 0

    def _if(self, command: If) -> Generator[float, None, None]:
        for condition, body in command.branches:
            if (yield from self._tested(condition)):
                yield from self.script(body)
                return
        self.status = 0
        if command.otherwise is not None:
            yield from self.script(command.otherwise)

    def _while(self, command: While) -> Generator[float, None, None]:
        result = 0
        for _ in range(_MAX_ROUNDS):
            if (yield from self._tested(command.condition)) == command.until:
                break
            if (yield from self._round(command.body)):
                break
            result = self.status
            yield _ROUND_S
        self.status = result

    def _for(self, command: For) -> Generator[float, None, None]:
        words = self.positional if command.words is None else (yield from shell_words.fields(self, command.words))
        self.status = 0
        for value in list(words):
            self.variables[command.name] = value
            if (yield from self._round(command.body)):
                break

    def _round(self, body: Script) -> Generator[float, None, bool]:
        """One round of a loop; whether it was the last."""
        try:
            yield from self.script(body)
        except LoopError as jump:
            if jump.levels > 1:
                raise LoopError(jump.levels - 1, again=jump.again) from None
            return not jump.again
        return False

    def _case(self, command: Case) -> Generator[float, None, None]:
        value = yield from shell_words.text(self, command.word)
        self.status = 0
        for patterns, body in command.branches:
            for pattern in patterns:
                wanted = yield from shell_words.pattern(self, pattern)
                if shell_expand.matches(value, wanted):
                    yield from self.script(body)
                    return

    def _simple(self, command: Simple) -> Generator[float, None, None]:
        self.status = 0 if not command.words else self.status
        words = yield from shell_words.fields(self, command.words)
        values: dict[str, str] = {}
        for name, append, word in command.assignments:
            text = yield from shell_words.text(self, word)
            values[name] = (self.variables.get(name, "") if append else "") + text
        if not words:
            self.variables.update(values)
            yield from self._bare_redirects(command)
            return
        if "x" in self.options:
            self.process.complain("+ " + " ".join(words) + "\n")
        streams = (self.process.stdin, self.process.out, self.process.err)
        finish = yield from shell_redirects.point(self, command.redirects)
        try:
            if finish is None:
                self.status = 1
            else:
                yield from self._call(words, values)
        finally:
            if not (words[0] == "exec" and len(words) == 1):
                shell_redirects.restore(self, streams, finish or [])

    def _bare_redirects(self, command: Simple) -> Generator[float, None, None]:
        streams = (self.process.stdin, self.process.out, self.process.err)
        finish = yield from shell_redirects.point(self, command.redirects)
        if finish is None:
            self.status = 1
        shell_redirects.restore(self, streams, finish or [])

    def _call(self, words: list[str], values: dict[str, str]) -> Generator[float, None, None]:
        if words[0] in self.functions:
            kept, self.positional = self.positional, words[1:]
            self.variables.update(values)
            try:
                yield from self._command(self.functions[words[0]])
            except ReturnError as end:
                self.status = end.status
            finally:
                self.positional = kept
            return
        builtin = shell_builtins.find(words[0])
        if builtin is not None:
            self.variables.update(values)
            self.status = yield from builtin(self, words)
            return
        inner = self.process.child(words, env={**self.environment(), **values}, main=self.process.main)
        self.status = yield from execute(inner)


def start(process: Process) -> Run:
    """`bash` and `sh`: `-c script`, options such as `-ecx`, a script file, or a script on standard input."""
    shell = Shell(process, process.name, variables=dict(process.env), exported=set(process.env))
    words = list(process.argv[1:])
    script: str | None = None
    while words and words[0][:1] in "-+" and len(words[0]) > 1:
        word = words.pop(0)
        if word == "--":
            break
        if word in ("--login", "--norc", "--noprofile"):
            continue
        if "o" in word[1:] and words:
            shell.options.add(words.pop(0))
        shell.options |= set(word[1:]) - set("cosil")
        if "c" in word[1:]:
            script = ""
    if script is not None:
        if words[:1] == ["--"]:
            words.pop(0)
        if not words:
            process.complain(f"{process.name}: -c: option requires an argument\n")
            return 2
        script = words.pop(0)
        if words:
            shell.name = words.pop(0)
    elif words:
        try:
            script = process.files.read(process.path(words[0])).decode(errors="replace")
        except OSError:
            process.complain(f"{process.name}: {words[0]}: No such file or directory\n")
            return 127
        shell.name = words.pop(0)
    else:
        script = process.stdin.decode(errors="replace")
        process.stdin = b""
    shell.positional = words
    return (yield from shell.run(script))
