"""Results as the cockroach command-line client prints them off a terminal: tsv by default, or csv.

After `pkg/cli/clisqlexec/format_table.go`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

DELIMITERS = {"tsv": "\t", "csv": ","}


def show(form: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A result in one of the formats of `DELIMITERS`."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", delimiter=DELIMITERS[form]).writerows([columns, *rows])
    return out.getvalue()
