"""Results as the cockroach command-line client prints them: table, csv, tsv, json, ndjson, records, raw, sql, html.

After `pkg/cli/clisqlexec/format_table.go`.
"""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Sequence

FORMATS = ("tsv", "csv", "table", "records", "ndjson", "json", "sql", "html", "unnumbered-html", "raw")

Row = Sequence[str]


def show(form: str, columns: Row, rows: Sequence[Row]) -> str:
    """A result in one of `FORMATS`."""
    return _FORMS[form](columns, rows)


def _separated(columns: Row, rows: Sequence[Row]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([columns, *rows])
    return out.getvalue()


def _tabbed(columns: Row, rows: Sequence[Row]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", delimiter="\t").writerows([columns, *rows])
    return out.getvalue()


def _table(columns: Row, rows: Sequence[Row]) -> str:
    widths = [max(len(row[index]) for row in [columns, *rows]) for index in range(len(columns))]
    numeric = [
        bool(rows) and all(row[index].lstrip("-").replace(".", "", 1).isdigit() for row in rows)
        for index in range(len(columns))
    ]
    lines = ["  " + " | ".join(name.center(width) for name, width in zip(columns, widths, strict=True)).rstrip()]
    lines.append("-" + "+".join("-" * (width + 2) for width in widths))
    for row in rows:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  " + " | ".join(cells).rstrip())
    return "\n".join(lines) + f"\n({len(rows)} row{'' if len(rows) == 1 else 's'})\n"


def _records(columns: Row, rows: Sequence[Row]) -> str:
    width = max(len(name) for name in columns)
    lines: list[str] = []
    for number, row in enumerate(rows, 1):
        lines.append(f"-[ RECORD {number} ]")
        lines += [f"{name.ljust(width)} | {cell}" for name, cell in zip(columns, row, strict=True)]
    return "\n".join(lines) + "\n"


def _json(columns: Row, rows: Sequence[Row]) -> str:
    return json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=2) + "\n"


def _ndjson(columns: Row, rows: Sequence[Row]) -> str:
    return "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows)


def _raw(columns: Row, rows: Sequence[Row]) -> str:
    lines = [f"# {len(columns)} column{'' if len(columns) == 1 else 's'}"]
    for number, row in enumerate(rows, 1):
        lines.append(f"# row {number}")
        for cell in row:
            lines += [f"## {len(cell)}", cell]
    return "\n".join(lines) + f"\n# {len(rows)} row{'' if len(rows) == 1 else 's'}\n"


def _sql(columns: Row, rows: Sequence[Row]) -> str:
    names = ", ".join(columns)
    lines = ["CREATE TABLE results (\n" + ",\n".join(f"  {name} STRING" for name in columns) + "\n);\n"]
    for row in rows:
        values = ", ".join("'" + cell.replace("'", "''") + "'" for cell in row)
        lines.append(f"INSERT INTO results({names}) VALUES ({values});")  # noqa: S608 - output, not a query
    return "\n".join(lines) + f"\n-- {len(rows)} row{'' if len(rows) == 1 else 's'}\n"


def _html(columns: Row, rows: Sequence[Row]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"


_FORMS: dict[str, Callable[[Row, Sequence[Row]], str]] = {
    "tsv": _tabbed,
    "csv": _separated,
    "table": _table,
    "records": _records,
    "json": _json,
    "ndjson": _ndjson,
    "raw": _raw,
    "sql": _sql,
    "html": _html,
    "unnumbered-html": _html,
}
