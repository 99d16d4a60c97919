"""Azure Resource Manager's throttling: a bucket of tokens per kind of request, refilled on the world's clock.

Limits per subscription, principal and region; global ones are fifteen times as high (Microsoft's documentation of
request limits and throttling).
"""

from __future__ import annotations

from crdbmesh_simulator.azure.errors import refusal

_BUCKETS = {"reads": (250, 25.0), "writes": (200, 10.0), "deletes": (200, 10.0)}
_GLOBAL_FACTOR = 15


class Throttle:
    """The subscription's buckets."""

    def __init__(self) -> None:
        self._tokens: dict[str, float] = {kind: float(size) for kind, (size, _) in _BUCKETS.items()}
        self._filled_at: float | None = None

    def take(self, method: str, now: float) -> dict[str, str]:
        """Use one token. Returns the headers that say how many are left. Raises ArmError: 429, there is none left."""
        self._refill(now)
        kind = _kind(method)
        if self._tokens[kind] < 1:
            wait_s = (1 - self._tokens[kind]) / _BUCKETS[kind][1]
            raise refusal(
                "SubscriptionRequestsThrottled",
                kind=kind,
                limit=_BUCKETS[kind][0],
                seconds=max(1, round(wait_s)),
                retry_after_s=max(1.0, wait_s),
            )
        self._tokens[kind] -= 1
        prefix = "x-ms-ratelimit-remaining-subscription"
        left = int(self._tokens[kind])
        return {
            f"{prefix}-{kind}": str(left),
            f"{prefix}-global-{kind}": str(_GLOBAL_FACTOR * _BUCKETS[kind][0] - (_BUCKETS[kind][0] - left)),
        }

    def _refill(self, now: float) -> None:
        passed = max(0.0, now - self._filled_at) if self._filled_at is not None else 0.0
        self._filled_at = now
        for kind, (size, rate) in _BUCKETS.items():
            self._tokens[kind] = min(float(size), self._tokens[kind] + passed * rate)


def _kind(method: str) -> str:
    if method in ("GET", "HEAD"):
        return "reads"
    return "deletes" if method == "DELETE" else "writes"
