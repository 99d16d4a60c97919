"""`cockroach sql`: statements from the command line, from standard input, or typed at a terminal.

After `pkg/cli/sql_shell_cmd.go` and `pkg/cli/clisqlshell`: a terminal gets a welcome, a prompt and tables; without one
results are tab-separated, and the first error ends the shell with exit status 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator

from crdbmesh_simulator.shell.process import Process, Run, Terminal, decode, execute
from crdbmesh_simulator.workloads.cockroachdb import command_line, connecting, formats, statements
from crdbmesh_simulator.workloads.cockroachdb.connecting import CommandError
from crdbmesh_simulator.workloads.cockroachdb.sql import Result, Session, SqlError

_EXECUTION_S = 0.01
_WELCOME = """\
#
# Welcome to the CockroachDB SQL shell.
# All statements must be terminated by a semicolon.
# To exit, type: \\q.
#
# Server version: CockroachDB CCL {build} (x86_64-pc-linux-gnu, built 2026/08/10 14:02:30) (same version as client)
# Cluster ID: {identity}
#
# Enter \\? for a brief introduction.
#
"""
_EXTRA = {"execute": "many", "format": "value", "database": "value", "safe-updates": "optional", "set": "many"}


def run(process: Process, words: list[str]) -> Run:
    """Run the command."""
    flags = command_line.client(words, _EXTRA)
    typed = isinstance(process.stdin, Terminal) and "execute" not in flags.lists
    form = formats.chosen(flags, "table" if typed else "tsv")
    target = connecting.target(process, flags)
    node = yield from connecting.open_sql(process, target)
    session = Session(node, target.user)
    if database := flags.get("database"):
        statements.run(session, f"use {database}")
    if typed:
        return (yield from _interact(process, session, f"{target.user}@{target.host}:{target.port}", form))
    for text in flags.lists.get("execute") or [decode(process.stdin.read())]:
        for statement in split(text):
            try:
                yield from _perform(process, session, statement, form)
            except SqlError as error:
                raise CommandError(str(error)) from None
    return 0


def split(text: str) -> list[str]:
    """Return the statements of a script."""
    parts = re.findall(r"(?:'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|[^;'\"-]|-(?!-))+", text)
    return [part.strip() for part in parts if re.sub(r"--[^\n]*", "", part).strip()]


def _perform(process: Process, session: Session, statement: str, form: str) -> Generator[float, None, None]:
    """Run a statement, once every range is served, and print its result."""
    waited, limit = 0.0, re.fullmatch(r"(\d+)\s*(ms|s|m)?", session.variables.get("statement_timeout", "0"))
    limit_s = (int(limit[1]) * {"s": 1.0, "m": 60.0}.get(limit[2], 0.001) if limit else 0.0) or math.inf
    waits = session.node.await_leases()
    while True:
        try:
            wait_s = next(waits)
        except StopIteration as end:
            if end.value is not None:
                raise SqlError(str(end.value), "58C00") from None
            break
        if waited >= limit_s:
            raise SqlError("query execution canceled due to statement timeout", "57014")
        yield wait_s
        waited += wait_s
    yield _EXECUTION_S
    result: Result = statements.run(session, statement)
    shown = formats.show(form, result.columns, result.rows) if result.columns else formats.show_tag(form, result.tag)
    process.say(shown)


def _interact(process: Process, session: Session, prefix: str, form: str) -> Run:
    terminal, database = process.stdin, session.node.database
    assert isinstance(terminal, Terminal)
    assert database is not None
    process.say(_WELCOME.format(build=session.node.build, identity=database.cluster_id))
    typed = ""
    while True:
        prompt = f"{prefix}/{session.database}> "
        process.say(" " * (len(prompt) - 4) + "-> " if typed else prompt)
        while (line := terminal.take()) is None:
            yield 0.0
        if not line.endswith(b"\n"):
            process.say("\n")
            if line == Terminal.INTERRUPT and typed:
                typed = ""
                continue
            return 0
        text = decode(line).strip()
        if not typed and text.rstrip(";") in ("\\q", "\\quit", "\\exit", "quit", "exit"):
            return 0
        if not typed and text.startswith("\\!"):
            yield from execute(process.child(["sh", "-c", text[2:].strip()]))
            continue
        if not typed and text.startswith("\\"):
            process.complain(f"invalid syntax: {text}. Try \\? for help.\n")
            continue
        typed += f"{text}\n" if text else ""
        if not text.endswith(";"):
            continue
        statements, typed = split(typed), ""
        for statement in statements:
            try:
                yield from _perform(process, session, statement, form)
                process.say("\nTime: 10ms total (execution 10ms / network 0ms)\n\n")
            except SqlError as error:
                process.complain(f"ERROR: {error}\n")
                break
