"""Runs shell scripts: dash and bash, for what hosts, containers and their clients send.

Sources: POSIX.1 Shell Command Language, the bash and dash manuals. Commands of a pipeline run one after the other, each
with the whole output of the one before.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Generator
from dataclasses import dataclass, field

from crdbmesh_simulator.shell import builtins, expand, syntax
from crdbmesh_simulator.shell.builtins import ExitError, LoopError
from crdbmesh_simulator.shell.parser import Parser
from crdbmesh_simulator.shell.process import (
    Buffer,
    Process,
    Run,
    Sink,
    Source,
    Stream,
    UnsupportedError,
    UsageError,
    decode,
    encode,
    execute,
    os_error,
)

_MAX_ROUNDS = 100_000
_ROUND_S = 0.002

Steps = Generator[float, None, None]


@dataclass
class Shell:
    """A shell process.

    `bash`: it is bash, not dash. `name`: `$0`, as shown in messages. `status`: `$?`. `substituted`: exit status of the
    last command substitution, which a bare assignment ends with. `guarded`: greater than 0 while `set -e` does not
    apply. `streams`: connections by file descriptor.
    """

    process: Process
    bash: bool = True
    name: str = "bash"
    positional: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    exported: set[str] = field(default_factory=set)
    options: set[str] = field(default_factory=set)
    traps: dict[str, str] = field(default_factory=dict)
    status: int = 0
    substituted: int = 0
    guarded: int = 0
    line: int = 1
    streams: dict[str, Stream] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.variables:
            self.variables = dict(self.process.env)
            self.exported = set(self.process.env)

    # --- scripts ---

    def run_text(self, text: str) -> Run:
        """Run a script that is known in whole, to its end, and return its exit status."""
        return self._finish(self._text(text))

    def run_source(self, source: Source) -> Run:
        """Run a script that is read line by line from standard input, which its commands read from too."""
        return self._finish(self._lines(source))

    def substitute(self, script: syntax.Script) -> Generator[float, None, str]:
        """The output of a command substitution."""
        buffer = Buffer()
        self.substituted = yield from self._subshell(script, stdout=buffer)
        return decode(buffer.take()).rstrip("\n")

    def _subshell(self, script: syntax.Script, **changes: Source | Sink) -> Run:
        """Run commands in a copy of this shell, in which changes stay."""
        inner = Shell(
            self.process.child(self.process.argv, env=self.process.env, **changes),
            self.bash,
            self.name,
            list(self.positional),
            dict(self.variables),
            set(self.exported),
            set(self.options),
            {},
            self.status,
            0,
            self.guarded,
            self.line,
            self.streams,
        )
        return (yield from inner._finish(inner.execute(script)))

    def _text(self, text: str) -> Steps:
        parser = Parser(text)
        while (script := parser.read_line()) is not None:
            yield from self.execute(script)

    def _lines(self, source: Source) -> Steps:
        text = ""
        while line := source.readline():
            text += decode(line)
            try:
                script = Parser(text).read_line()
            except syntax.IncompleteError:
                continue
            text = ""
            if script:
                yield from self.execute(script)
        yield from self._text(text)

    def _finish(self, body: Steps) -> Run:
        yield from self._guard(body)
        trap, status = self.traps.pop("EXIT", ""), self.status
        if trap:
            yield from self._guard(self._text(trap))
            self.status = status
        return self.status

    def _guard(self, body: Steps) -> Steps:
        try:
            yield from body
        except ExitError as end:
            self.status = end.status
        except syntax.ShellSyntaxError as error:
            self.process.complain(f"{self.name}: line {error.line}: {error}\n")
            self.process.system.not_known(f"shell syntax: {error}")
            self.status = 2
        except UnsupportedError as error:
            self.process.complain(f"{self.label()}this simulated shell does not understand {error}\n")
            self.process.system.not_known(f"shell: {error}")
            self.status = 2
        except UsageError as error:
            self.process.complain(f"{self.label()}{error}\n")
            self.status = error.status

    # --- variables ---

    def parameter(self, name: str) -> str | None:
        """The value of `$name`, of a positional or a special parameter too; None when it is not set."""
        if name.isdigit():
            number = int(name)
            if number == 0:
                return self.name
            return self.positional[number - 1] if number <= len(self.positional) else None
        every = " ".join(self.positional)
        special = {
            "@": every,
            "*": every,
            "#": str(len(self.positional)),
            "?": str(self.status),
            "$": builtins.OWN_PID,
            "!": "",
            "-": "".join(sorted(self.options)),
        }
        if self.bash:
            special["EPOCHREALTIME"] = f"{self.process.system.now():.6f}"
        return special[name] if name in special else self.variables.get(name)

    def environment(self) -> dict[str, str]:
        """What commands inherit."""
        return {name: self.variables[name] for name in sorted(self.exported) if name in self.variables}

    def label(self) -> str:
        """What messages start with."""
        return f"{self.name}: line {self.line}: " if self.bash else f"{self.name}: {self.line}: "

    # --- commands ---

    def execute(self, script: syntax.Script) -> Steps:
        """Run commands one after the other."""
        for item in script:
            yield from self._and_or(item)

    def _and_or(self, item: syntax.AndOr) -> Steps:
        last = len(item.items) - 1
        for number, (operator, pipeline) in enumerate(item.items):
            if (operator == "&&" and self.status != 0) or (operator == "||" and self.status == 0):
                continue
            guarded = number < last or pipeline.negated
            self.guarded += guarded
            try:
                yield from self._pipeline(pipeline)
            finally:
                self.guarded -= guarded
            if not guarded and self.status and "e" in self.options and not self.guarded:
                raise ExitError(self.status)

    def _pipeline(self, pipeline: syntax.Pipeline) -> Steps:
        if len(pipeline.commands) == 1:
            yield from self._command(pipeline.commands[0])
        else:
            statuses, stdin = [], self.process.stdin
            for number, command in enumerate(pipeline.commands):
                buffer = Buffer()
                stdout = self.process.stdout if number == len(pipeline.commands) - 1 else buffer
                alone: syntax.Script = (syntax.AndOr((("", syntax.Pipeline((command,), negated=False)),)),)
                statuses.append((yield from self._subshell(alone, stdin=stdin, stdout=stdout)))
                stdin = Source(buffer.take())
            failed = [status for status in statuses if status]
            self.status = (failed[-1] if failed else 0) if "pipefail" in self.options else statuses[-1]
        if pipeline.negated:
            self.status = int(self.status == 0)

    def _command(self, command: syntax.Command) -> Steps:
        if isinstance(command, syntax.Simple):
            yield from self._simple(command)
            return
        process = self.process
        saved = (process.stdin, process.stdout, process.stderr)
        try:
            if (yield from self._redirect(command.redirects)):
                yield from self._compound(command)
        finally:
            process.stdin, process.stdout, process.stderr = saved

    def _compound(self, command: syntax.Command) -> Steps:
        if isinstance(command, syntax.If):
            yield from self._if(command)
        elif isinstance(command, syntax.While):
            yield from self._while(command)
        elif isinstance(command, syntax.For):
            words = self.positional if command.words is None else (yield from expand.fields(self, command.words))
            for value in list(words):
                self.variables[command.name] = value
                if not (yield from self._round(command.body)):
                    break
        elif isinstance(command, syntax.Case):
            yield from self._case(command)
        elif isinstance(command, syntax.Group) and command.subshell:
            self.status = yield from self._subshell(command.body)
        elif isinstance(command, syntax.Group):
            yield from self.execute(command.body)

    def _condition(self, script: syntax.Script) -> Generator[float, None, bool]:
        self.guarded += 1
        try:
            yield from self.execute(script)
        finally:
            self.guarded -= 1
        return self.status == 0

    def _if(self, command: syntax.If) -> Steps:
        for condition, body in command.branches:
            if (yield from self._condition(condition)):
                yield from self.execute(body)
                return
        self.status = 0
        if command.otherwise is not None:
            yield from self.execute(command.otherwise)

    def _while(self, command: syntax.While) -> Steps:
        status = 0
        for _ in range(_MAX_ROUNDS):
            if (yield from self._condition(command.condition)) == command.until:
                self.status = status
                return
            if not (yield from self._round(command.body)):
                return
            status = self.status
            yield _ROUND_S
        raise UnsupportedError(f"a loop of more than {_MAX_ROUNDS} rounds")

    def _round(self, body: syntax.Script) -> Generator[float, None, bool]:
        """One round of a loop; whether there may be another."""
        try:
            yield from self.execute(body)
        except LoopError as jump:
            self.status = 0
            return jump.again
        return True

    def _case(self, command: syntax.Case) -> Steps:
        value = yield from expand.text(self, command.word)
        self.status = 0
        for patterns, body in command.branches:
            for each in patterns:
                if fnmatch.fnmatchcase(value, (yield from expand.pattern(self, each))):
                    yield from self.execute(body)
                    return

    def _simple(self, command: syntax.Simple) -> Steps:
        self.line = command.line
        words = yield from expand.fields(self, command.words)
        self.substituted = 0
        values: dict[str, str] = {}
        for name, append, word in command.assignments:
            value = yield from expand.text(self, word)
            values[name] = self.variables.get(name, "") + value if append else value
        if "x" in self.options:
            shown = [f"{name}={value}" for name, value in values.items()] + words
            self.process.complain(f"+ {' '.join(shown)}\n")
        process = self.process
        saved = (process.stdin, process.stdout, process.stderr)
        try:
            if not (yield from self._redirect(command.redirects)):
                return
            if not words:
                self.variables.update(values)
                self.status = self.substituted
            else:
                yield from self._call(words, values)
        finally:
            if words != ["exec"]:
                process.stdin, process.stdout, process.stderr = saved

    def _call(self, words: list[str], values: dict[str, str]) -> Steps:
        builtin = builtins.find(words[0])
        if builtin is None:
            env = {**self.environment(), **values}
            child = self.process.child(words, env=env, main=self.process.main)
            self.status = yield from execute(child, self.label())
            return
        self.variables.update(values)
        try:
            result = builtin(self, words)
            self.status = result if isinstance(result, int) else (yield from result)
        except OSError as error:
            self.process.complain(f"{self.label()}{error.filename}: {os_error(error)}\n")
            self.status = 1

    # --- redirections ---

    def _redirect(self, redirects: tuple[syntax.Redirect, ...]) -> Generator[float, None, bool]:
        """Point the streams elsewhere. False when that failed, which has been said."""
        for each in redirects:
            target = yield from expand.text(self, each.word)
            if each.operator in ("<", "<>") and target.startswith(("/dev/tcp/", "/dev/udp/")) and self.bash:
                found = yield from self.process.system.connect(target)
                if isinstance(found, str):
                    self.process.complain(f"{self.label()}{found}\n")
                    self.status = 1
                    return False
                self.streams[str(each.fd)] = found
                continue
            if each.operator == "<&" and target in self.streams:
                self.process.stdin = Source((yield from self.streams[target].receive()))
                continue
            try:
                self._redirect_one(each, target)
            except OSError as error:
                self.process.complain(f"{self.label()}{target}: {os_error(error)}\n")
                self.status = 1
                return False
        return True

    def _redirect_one(self, redirect: syntax.Redirect, target: str) -> None:
        process, operator = self.process, redirect.operator
        if operator == "<<":
            process.stdin = Source(encode(target))
        elif operator == "<":
            process.stdin = Source(process.read_file(target))
        elif operator == "&>" or (operator == ">&" and not re.fullmatch(r"\d", target)):
            process.stdout = process.stderr = process.open_sink(target)
        elif operator == ">&" and target in self.streams:
            self._point(redirect.fd, self.streams[target])
        elif operator == ">&":
            self._point(redirect.fd, process.stdout if target == "1" else process.stderr)
        elif operator in (">", ">>"):
            self._point(redirect.fd, process.open_sink(target, append=operator == ">>"))
        else:
            raise UnsupportedError(f"the redirection {operator}{target}")

    def _point(self, fd: int | None, sink: Sink) -> None:
        if fd in (None, 1):
            self.process.stdout = sink
        elif fd == 2:
            self.process.stderr = sink
        else:
            raise UnsupportedError(f"the file descriptor {fd}")
