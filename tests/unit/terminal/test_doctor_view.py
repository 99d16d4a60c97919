"""How verdicts are drawn."""

from __future__ import annotations

import io

from rich.console import Console

from crdbmesh.checks.base import Verdict
from crdbmesh.errors import Finding
from crdbmesh.terminal import doctor_view as console_doctor

GOOD = Verdict("a", "All right", "as it should be")
BAD = Verdict("b", "Bad", "seen", (Finding("f", "v", "a reason", "a remedy"),), (Finding("g", "w", "because", "do"),))
SKIPPED = Verdict("c", "Skipped", "not looked at", skipped=True)


def drawn(*verdicts: Verdict, whole: bool = True) -> list[str]:
    stream = io.StringIO()
    screen = Console(file=stream, width=120, no_color=True)
    console_doctor.show_verdicts(screen, "mesh", verdicts, whole=whole)
    return stream.getvalue().splitlines()


def test_each_check_is_a_line_and_each_finding_says_cause_and_remedy() -> None:
    assert drawn(GOOD, BAD, SKIPPED) == [
        "✓ ok      All right  as it should be",
        "✗ refused Bad        seen",
        "    ✗ f = v",
        "        a reason",
        "        a remedy",
        "    ! g = w",
        "        because",
        "        do",
        "– skipped Skipped    not looked at",
        "1 problem would make `up` fail for mesh, with 1 warning.",
    ]


def test_a_clean_bill_is_one_line_more() -> None:
    assert drawn(GOOD)[-1] == "All checks passed for mesh."


def test_without_a_spec_it_says_how_to_go_on() -> None:
    assert drawn(GOOD, SKIPPED, whole=False)[-2:] == [
        "All checks that need no regions passed.",
        "To run the others: crdbmesh doctor --regions eastus,westus,northeurope",
    ]


def test_brackets_in_a_finding_are_text() -> None:
    (line, *_) = drawn(Verdict("a", "A", "", (Finding("regions[1]", "[red]x", "r", "m"),)))[1:]
    assert line == "    ✗ regions[1] = [red]x"
