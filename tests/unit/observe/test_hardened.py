"""Each weakening of a server is told with its remedy; a server as it must be is told nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from crdbmesh.observe.hardened import judge

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
ENCRYPTED = "Encryption Status: Enabled\nCurrent Rotation Stage: start\n"
SNAPSHOTS = "Name Location Size Created\netcd-snapshot-a-1.zip file:///var/a-1.zip 19 2026-11-28T06:00:00Z\n"
CLOCK = "50484330,PHC0,3,1.5,0.000000215,0.0,0.0,-11.0,0.0,0.0,0.0,0.0,8.0,Normal\n"


def told(said: str) -> list[str]:
    return list(judge(said, NOW, 125))


def test_a_server_as_it_must_be_is_told_nothing() -> None:
    assert told(ENCRYPTED + SNAPSHOTS + CLOCK) == []
    assert told(ENCRYPTED + "Name Location Size Created\n" + CLOCK) == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Encryption Status: Disabled\n" + SNAPSHOTS + CLOCK, "Secrets are not encrypted (Disabled)"),
        (SNAPSHOTS + CLOCK, "Secrets are not encrypted (k3s does not say)"),
        (ENCRYPTED + SNAPSHOTS.replace("28T06", "27T06") + CLOCK, "the last snapshot of etcd is 30 hours old"),
        (ENCRYPTED + SNAPSHOTS + CLOCK.replace("Normal", "Not synchronised"), "+0 ms off, not synchronised"),
        (ENCRYPTED + SNAPSHOTS + CLOCK.replace("0.000000215", "-0.4"), "-400 ms off, normal"),
        (ENCRYPTED + SNAPSHOTS + "506 Cannot talk to daemon\n", "chrony does not tell its clock"),
    ],
)
def test_each_weakening_is_told_alone(said: str, words: str) -> None:
    (one,) = told(said)
    assert words in one
