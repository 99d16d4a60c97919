"""Latencies by distance."""

from __future__ import annotations

import pytest

from crdbmesh_simulator import latency


@pytest.mark.parametrize(
    ("one", "other", "low_ms", "high_ms"),
    [
        ("eastus", "westus", 55, 75),
        ("eastus", "northeurope", 65, 100),
        ("westus", "northeurope", 120, 150),
        ("eastus", "eastus", 0.5, 2),
    ],
)
def test_times_there_and_back_grow_with_distance(one: str, other: str, low_ms: float, high_ms: float) -> None:
    assert low_ms < 1000 * latency.between(one, other) < high_ms
    assert latency.between(one, other) == latency.between(other, one)


def test_another_zone_is_further_than_the_same() -> None:
    assert latency.between("eastus", "eastus", same_zone=False) > latency.between("eastus", "eastus")
