"""From which version to which a program that runs is taken."""

from __future__ import annotations

import pytest

from crdbmesh.spec.versions import why_not


@pytest.mark.parametrize(
    ("program", "running", "wanted", "said"),
    [
        ("k3s", "v1.36.2+k3s1", "v1.36.4+k3s1", None),
        ("k3s", "v1.36.4+k3s1", "v1.36.4+k3s2", None),
        ("k3s", "v1.36.4+k3s1", "v1.37.0+k3s1", None),
        ("k3s", "v1.36.4+k3s1", "v1.38.0+k3s1", "one minor release at a time"),
        ("k3s", "v1.36.4+k3s1", "v2.36.4+k3s1", "one minor release at a time"),
        ("k3s", "v1.36.10+k3s1", "v1.36.9+k3s1", "not taken back"),
        ("cockroachdb", "v26.2.5", "v26.2.10", None),
        ("cockroachdb", "v26.2.9", "v26.2.5", "not taken back"),
        ("cockroachdb", "v26.2.9", "v26.3.0", "changes its release"),
        ("cilium", "1.20.0", "1.20.1", "changes its release"),
    ],
)
def test_a_running_program_goes_up_a_step_at_a_time(program: str, running: str, wanted: str, said: str | None) -> None:
    why = why_not(program, running, wanted)
    assert (why is None) if said is None else (said in str(why))
