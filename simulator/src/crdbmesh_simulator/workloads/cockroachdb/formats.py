"""Results as `cockroach` prints them: `--format` of `pkg/cli/clisqlexec`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from crdbmesh_simulator.workloads.cockroachdb.command_line import FlagError, Flags

_KNOWN = ("tsv", "csv", "table", "records", "json")


def chosen(flags: Flags, default: str) -> str:
    """Return the format that the flags name. Raises FlagError: it is none of those that this world knows."""
    form = flags.get("format", default)
    if form not in _KNOWN:
        why = f"invalid table display format: {form} (possible values: {', '.join(_KNOWN)})"
        raise FlagError(f'invalid argument "{form}" for "--format" flag: {why}')
    return form


def show(form: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a result that has columns."""
    cells = [["NULL" if value is None else str(value) for value in row] for row in rows]
    if form == "table":
        numeric = [all(isinstance(row[at], int | float) for row in rows) for at in range(len(columns))]
        return _table(columns, cells, numeric)
    if form == "records":
        wide = max(map(len, columns))
        return "".join(
            f"-[ RECORD {number} ]\n"
            + "".join(f"{name:<{wide}} | {value}\n" for name, value in zip(columns, row, strict=True))
            for number, row in enumerate(cells, 1)
        )
    if form == "json":
        lines = [json.dumps(dict(sorted(zip(columns, row, strict=True))), separators=(",", ":")) for row in cells]
        return "[" + ",".join(f"\n  {line}" for line in lines) + "\n]\n"
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", delimiter="\t" if form == "tsv" else ",").writerows([columns, *cells])
    return out.getvalue()


def show_tag(form: str, tag: str) -> str:
    """Return the tag of a statement that has no columns; in JSON an array is begun before and ended after it."""
    return f"[{tag}\n\n]\n" if form == "json" else f"{tag}\n"


def _table(columns: Sequence[str], cells: Sequence[Sequence[str]], numeric: Sequence[bool]) -> str:
    wide = [max(len(name), *(len(row[at]) for row in cells)) if cells else len(name) for at, name in enumerate(columns)]
    last = len(columns) - 1

    def line(parts: Sequence[str]) -> str:
        return "  " + " | ".join(parts).rstrip()

    # Names are centred, the smaller half of the space before them.
    head = [" " * ((width - len(name)) // 2) + name for name, width in zip(columns, wide, strict=True)]
    rule = "+".join("-" * (width + (2 if at == 0 else 1) + (2 if at == last else 1)) for at, width in enumerate(wide))
    body = [
        line(
            [
                value.rjust(width) if right else value.ljust(width)
                for value, width, right in zip(row, wide, numeric, strict=True)
            ]
        )
        for row in cells
    ]
    shown = [line([name.ljust(width) for name, width in zip(head, wide, strict=True)]), rule, *body]
    return "\n".join([*shown, f"({len(cells)} row{'' if len(cells) == 1 else 's'})", ""])
