"""Runs shell scripts: `bash` and `sh` (dash) of Ubuntu 24.04, for what automation sends.

Sources: POSIX.1 Shell Command Language, the bash and dash manuals. Commands of a pipeline run one after the other, each
with the whole output of the one before. What is not understood is refused aloud: exit status 2 and a record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from crdbmesh_simulator.machines import process as processes
from crdbmesh_simulator.machines import shell_builtins, shell_expand, shell_test
from crdbmesh_simulator.machines.process import (
    Buffer,
    Bytes,
    Process,
    Sink,
    Source,
    UnsupportedError,
    UsageError,
    decode,
)
from crdbmesh_simulator.machines.shell_condition import ConditionReader
from crdbmesh_simulator.machines.shell_flow import AbandonedError, ExitError, LoopError, ReturnError
from crdbmesh_simulator.machines.shell_parser import Parser
from crdbmesh_simulator.machines.shell_redirect import redirect
from crdbmesh_simulator.machines.shell_syntax import (
    AndOr,
    ArithmeticFor,
    Calculation,
    Case,
    Command,
    Condition,
    For,
    Function,
    Group,
    If,
    IncompleteError,
    Pipeline,
    Script,
    ShellSyntaxError,
    Simple,
    While,
)  # fmt: skip

_MAX_ROUNDS = 100_000
_MAX_CALLS = 100


@dataclass
class Shell:
    """A shell process.

    Attributes:
        dash: behaves as /bin/sh does, which is dash and knows none of bash's additions.
        name: `$0`, as shown in messages.
        status: `$?`.
        substituted: exit status of the last command substitution, which a bare assignment ends with.
    """

    process: Process
    dash: bool = False
    name: str = "bash"
    positional: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    exported: set[str] = field(default_factory=set)
    readonly: set[str] = field(default_factory=set)
    functions: dict[str, Command] = field(default_factory=dict)
    options: set[str] = field(default_factory=set)
    traps: dict[str, str] = field(default_factory=dict)
    status: int = 0
    locals: list[dict[str, str | None]] = field(default_factory=list)
    substituted: int = 0
    nested: bool = False
    _unguarded: int = 0
    _line: int = 1

    def __post_init__(self) -> None:
        if not self.variables:
            self.variables = dict(self.process.env)
            self.exported = set(self.process.env)
        self.variables.setdefault("PWD", self.process.cwd)
        self.variables.setdefault("PATH", processes.PATH)

    # --- scripts ---

    def run_text(self, text: str) -> int:
        """Run a script that is known in whole, to its end, and return its exit status."""
        return self._finish(lambda: self._run_parser(Parser(text, dash=self.dash)))

    def run_source(self, source: Source) -> int:
        """Run a script that is read from standard input, which its commands read from too."""
        return self._finish(lambda: self._run_lines(source))

    def run_nested(self, text: str) -> int:
        """Run a script in this very shell (`eval`, `.`)."""
        self._run_parser(Parser(text, dash=self.dash))
        return self.status

    def substitute(self, script: Script) -> str:
        """The output of a command substitution."""
        buffer = Buffer()
        self.substituted = self.subshell(stdout=buffer).run_script(script)
        return decode(bytes(buffer.data)).rstrip("\n").replace("\0", "")

    def subshell(self, **changes: Source | Sink) -> Shell:
        """A copy of this shell in which changes stay."""
        return Shell(
            self.process.child(**changes), self.dash, self.name, list(self.positional), dict(self.variables),
            set(self.exported), set(self.readonly), dict(self.functions), set(self.options), {}, self.status,
            [], 0, True, self._unguarded, self._line,
        )  # fmt: skip

    def run_script(self, script: Script) -> int:
        """Run a parsed script as a shell of its own."""
        return self._finish(lambda: self.execute(script))

    def _finish(self, body: Callable[[], object]) -> int:
        self._guarded(body)
        trap, status = self.traps.pop("EXIT", ""), self.status
        if trap:
            try:
                self.run_nested(trap)
                self.status = status
            except ExitError as end:
                self.status = end.status
        return self.status

    def _guarded(self, body: Callable[[], object]) -> None:
        try:
            body()
        except (ExitError, ReturnError, AbandonedError) as end:
            self.status = end.status
        except LoopError:
            pass
        except IncompleteError as error:
            self._syntax_error(error)
        except ShellSyntaxError as error:
            self._syntax_error(error)
        except UnsupportedError as error:
            self._loud(str(error))

    def _syntax_error(self, error: ShellSyntaxError) -> None:
        self.status = 2
        label = f"sh: {error.line}: Syntax error: " if self.dash else f"{self.name}: line {error.line}: "
        self.process.err(f"{label}{error}\n")
        self.process.machine.world.not_known("ssh", f"shell syntax: {error}")

    def _loud(self, what: str) -> None:
        self.status = 2
        self.process.err(f"{self.label()}this simulated shell does not understand {what}\n")
        self.process.machine.world.not_known("ssh", f"shell: {what}")

    def _run_parser(self, parser: Parser) -> None:
        while (script := parser.read_line()) is not None:
            self.execute(script)

    def _run_lines(self, source: Source) -> None:
        text, first_line = "", 1
        while line := source.readline():
            text += decode(line)
            if "\n" not in text and not text.strip():
                continue
            parser = Parser(text, first_line=first_line, dash=self.dash)
            try:
                script = parser.read_line()
            except IncompleteError:
                continue
            first_line += text.count("\n")
            text = ""
            if script:
                self.execute(script)
        if text.strip():
            self._run_parser(Parser(text, first_line=first_line, dash=self.dash))

    # --- variables ---

    def get(self, name: str, default: str = "") -> str:
        """A variable's value."""
        return self.variables.get(name, default)

    def parameter(self, name: str) -> str | None:
        """The value of `$name`, of a positional or a special parameter too; None when it is not set."""
        if name.isdigit():
            number = int(name)
            if number == 0:
                return self.name
            return self.positional[number - 1] if number <= len(self.positional) else None
        if name in ("@", "*"):
            return " ".join(self.positional)
        special = {"#": str(len(self.positional)), "?": str(self.status), "$": "4711", "!": "",
                   "-": "".join(sorted(option for option in self.options if len(option) == 1))}  # fmt: skip
        if name in special:
            return special[name]
        dynamic: dict[str, Callable[[], str]] = {
            "RANDOM": lambda: str(self.process.machine.world.random.randrange(32768)),
            "SECONDS": lambda: str(int(self.process.machine.uptime())),
            "UID": lambda: str(self.process.actor.uid),
            "EUID": lambda: str(self.process.actor.uid),
            "HOSTNAME": lambda: self.process.machine.hostname,
            "LINENO": lambda: str(self._line),
            "BASH_VERSION": lambda: "5.2.21(1)-release",
        }
        if name in dynamic and name not in self.variables and not self.dash:
            return dynamic[name]()
        return self.variables.get(name)

    def assign(self, name: str, value: str) -> None:
        """Set a variable."""
        if name in self.readonly:
            self.process.err(f"{self.label()}{name}: readonly variable\n")
            raise AbandonedError(1 if not self.dash else 2)
        self.variables[name] = value
        if "a" in self.options:
            self.exported.add(name)

    def environment(self) -> dict[str, str]:
        """What commands inherit."""
        return {name: self.variables[name] for name in sorted(self.exported) if name in self.variables}

    def unset_status(self) -> int:
        """What a shell ends with when it meets a parameter that is not set and should be."""
        if self.dash:
            return 2
        return 1 if self.nested or "e" in self.options else 127

    def label(self) -> str:
        """What messages start with."""
        return f"{self.name}: {self._line}: " if self.dash else f"{self.name}: line {self._line}: "

    # --- commands ---

    def execute(self, script: Script) -> None:
        """Run commands one after the other."""
        for item in script:
            self._and_or(item)

    def condition(self, script: Script) -> bool:
        """Run commands as a condition: `set -e` does not apply."""
        self._unguarded += 1
        try:
            self.execute(script)
        finally:
            self._unguarded -= 1
        return self.status == 0

    def _and_or(self, item: AndOr) -> None:
        last = len(item.items) - 1
        for number, (operator, pipeline) in enumerate(item.items):
            if (operator == "&&" and self.status != 0) or (operator == "||" and self.status == 0):
                continue
            if number < last:
                self._unguarded += 1
                try:
                    self._pipeline(pipeline)
                finally:
                    self._unguarded -= 1
                continue
            self._pipeline(pipeline)
            if self.status and "e" in self.options and not self._unguarded and not pipeline.negated:
                raise ExitError(self.status)

    def _pipeline(self, pipeline: Pipeline) -> None:
        if pipeline.negated:
            self._unguarded += 1
        try:
            if len(pipeline.commands) == 1:
                self._command(pipeline.commands[0])
            else:
                self._piped(pipeline)
        finally:
            if pipeline.negated:
                self._unguarded -= 1
        if pipeline.negated:
            self.status = int(self.status == 0)

    def _piped(self, pipeline: Pipeline) -> None:
        statuses = []
        stdin = self.process.stdin
        for number, command in enumerate(pipeline.commands):
            last = number == len(pipeline.commands) - 1
            buffer = Buffer()
            inner = self.subshell(stdin=stdin, stdout=self.process.stdout if last else buffer)
            alone: Script = (AndOr((("", Pipeline((command,), negated=False)),)),)
            statuses.append(inner.run_script(alone))
            stdin = Bytes(bytes(buffer.data))
        failed = [status for status in statuses if status]
        self.status = (failed[-1] if failed else 0) if "pipefail" in self.options else statuses[-1]

    def _command(self, command: Command) -> None:
        if isinstance(command, Simple):
            self._simple(command)
            return
        if isinstance(command, Function):
            self.functions[command.name] = command.body
            self.status = 0
            return
        saved = (self.process.stdin, self.process.stdout, self.process.stderr)
        try:
            if redirect(self, command.redirects):
                self._compound(command)
        finally:
            self.process.stdin, self.process.stdout, self.process.stderr = saved

    def _compound(self, command: Command) -> None:
        if isinstance(command, If):
            self._if(command)
        elif isinstance(command, While):
            self._loop(lambda: self.condition(command.condition) != command.until, command.body)
        elif isinstance(command, For):
            words = self.positional if command.words is None else shell_expand.fields(self, command.words)
            rest = iter(list(words))

            def following() -> bool:
                value = next(rest, None)
                if value is None:
                    return False
                self.assign(command.name, value)
                return True

            self._loop(following, command.body)
        elif isinstance(command, ArithmeticFor):
            self._arithmetic_for(command)
        elif isinstance(command, Case):
            self._case(command)
        elif isinstance(command, Group) and command.subshell:
            self.status = self.subshell().run_script(command.body)
        elif isinstance(command, Group):
            self.execute(command.body)
        elif isinstance(command, Condition):
            self._condition(command)
        elif isinstance(command, Calculation):
            expression = shell_expand.text(self, command.expression)
            self._checked(lambda: int(shell_test.calculate(expression, self.variables) == 0))

    def _if(self, command: If) -> None:
        for condition, body in command.branches:
            if self.condition(condition):
                self.execute(body)
                return
        self.status = 0
        if command.otherwise is not None:
            self.execute(command.otherwise)

    def _arithmetic_for(self, command: ArithmeticFor) -> None:
        first = True

        def again() -> bool:
            nonlocal first
            for word in (command.first,) if first else (command.step,):
                shell_test.calculate(shell_expand.text(self, word), self.variables)
            first = False
            condition = shell_expand.text(self, command.condition)
            return not condition.strip() or shell_test.calculate(condition, self.variables) != 0

        self._loop(again, command.body)

    def _loop(self, again: Callable[[], bool], body: Script) -> None:
        status = 0
        for _ in range(_MAX_ROUNDS):
            self.process.sleep(0)
            if not again():
                self.status = status
                return
            try:
                self.execute(body)
            except LoopError as jump:
                if jump.levels > 1:
                    raise LoopError(jump.levels - 1, again=jump.again) from None
                if not jump.again:
                    self.status = 0
                    return
            status = self.status
        raise UnsupportedError(f"a loop of more than {_MAX_ROUNDS} rounds")

    def _case(self, command: Case) -> None:
        value = shell_expand.text(self, command.word)
        self.status = 0
        for patterns, body in command.branches:
            if any(shell_expand.matches(value, shell_expand.pattern(self, pattern)) for pattern in patterns):
                self.execute(body)
                return

    def _simple(self, command: Simple) -> None:
        self._line = command.line
        self.substituted = 0
        try:
            words = shell_expand.fields(self, command.words)
            if not words:
                self._assignments(command)
        except UsageError as error:
            self.process.err(f"{self.label()}{error}\n")
            raise AbandonedError(error.status) from None
        if "x" in self.options and words:
            self.process.err(f"+ {' '.join(words)}\n")
        saved = (self.process.stdin, self.process.stdout, self.process.stderr)
        try:
            if not redirect(self, command.redirects):
                return
            if not words:
                self.status = self.substituted
                return
            self._call(words, [(name, shell_expand.text(self, word)) for name, _, word in command.assignments])
            if words[0] == "exec" and len(words) == 1:
                saved = (self.process.stdin, self.process.stdout, self.process.stderr)
        finally:
            self.process.stdin, self.process.stdout, self.process.stderr = saved

    def _assignments(self, command: Simple) -> None:
        for name, append, word in command.assignments:
            value = shell_expand.text(self, word)
            if "x" in self.options:
                self.process.err(f"+ {name}={value}\n")
            self.assign(name, self.get(name) + value if append else value)

    def _call(self, words: list[str], assignments: list[tuple[str, str]]) -> None:
        name = words[0]
        if name in self.functions:
            self._function(words)
            return
        builtin = shell_builtins.find(name, dash=self.dash)
        if builtin is not None:
            for key, value in assignments:
                self.assign(key, value)
            status = self._checked(lambda: builtin(self, words))
            if status is not None and self.dash and name in shell_builtins.SPECIAL:
                raise AbandonedError(status)
            return
        env = {**self.environment(), **dict(assignments)}
        child = self.process.child(env=env)
        self.status = processes.run(child, words, label=self.label())

    def _function(self, words: list[str]) -> None:
        if len(self.locals) > _MAX_CALLS:
            raise UnsupportedError(f"functions calling each other {_MAX_CALLS} deep")
        saved, self.positional = self.positional, words[1:]
        self.locals.append({})
        try:
            self._command(self.functions[words[0]])
        except ReturnError as end:
            self.status = end.status
        finally:
            self.positional = saved
            for name, value in self.locals.pop().items():
                if value is None:
                    self.variables.pop(name, None)
                else:
                    self.variables[name] = value

    def _condition(self, command: Condition) -> None:
        self._checked(lambda: int(not ConditionReader(self, command).value()))

    def _checked(self, body: Callable[[], int]) -> int | None:
        """Run a builtin; the exit status when it was used wrongly."""
        try:
            self.status = body()
        except UsageError as error:
            self.process.err(f"{self.label()}{error}\n")
            self.status = error.status
            return self.status
        except OSError as error:
            self.process.err(f"{self.label()}{error.filename}: {processes.os_error(error)}\n")
            self.status = 1
            return 2
        return None
