"""How long operations take: a log-normal distribution per operation, seeded.

Medians and 95th percentiles are read from published logs and recordings of real deployments.
A retried operation on the same resource draws anew, so that one slow try is not slow for ever.
"""

from __future__ import annotations

import math
import random

from crdbmesh_simulator import tables

_P95 = 1.645
"""The standard normal's 95th percentile."""

MODEL: dict[str, tuple[float, float]] = tables.read(__package__, "offers")["latency"]
"""Simulated seconds, (median, 95th percentile), by operation."""


class Latency:
    """Draws durations; the same seed, operation, resource and attempt give the same duration."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._attempts: dict[tuple[str, str], int] = {}

    def draw(self, operation: str, resource_id: str) -> float:
        """Simulated seconds that `operation` on this resource takes this time."""
        key = (operation, resource_id.lower())
        attempt = self._attempts[key] = self._attempts.get(key, 0) + 1
        median, p95 = MODEL[operation]
        chance = random.Random(f"{self._seed}|{operation}|{key[1]}|{attempt}")  # noqa: S311 - not cryptography
        sigma = math.log(p95 / median) / _P95
        # Bounded at both ends: an outlier of an hour would tell nothing about the client under test.
        return median * math.exp(max(-2.0, min(2.0, chance.gauss(0, 1))) * sigma)
