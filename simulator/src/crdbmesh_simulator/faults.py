"""Seeded misbehaviour of the world: what may go wrong, how often, and whether it does this time.

A fault is named `door.name`; `faults.toml` lists them. The doors ask at each opportunity whether it happens; how it
then looks from outside is theirs to say (their own `faults` modules). Nothing happens until rates are set. Chance comes
from the world's seed, the fault's name, the key of the opportunity (method and path, host, pod) and how often it came
up before: the same seed hits the same requests, whatever the order in which threads make them.

Transient faults stay transient: after three in a row at one key, the next request there is left alone.
"""

from __future__ import annotations

import collections
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from crdbmesh_simulator import tables

T = TypeVar("T")

MOST_IN_A_ROW = 3
"""How often transient faults strike at one key before it is left alone once."""

PRESET = "transient"
"""The name of `MODERATE` on the command line and at the report door."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault that is known.

    `text`: what goes wrong. `rate`: how often in the preset, 0..1 of the opportunities; 0 for what does not pass by
    itself.
    """

    text: str
    rate: float = 0.0

    @property
    def transient(self) -> bool:
        """Whether trying again helps."""
        return self.rate > 0


KNOWN: dict[str, Kind] = {name: Kind(*row) for name, row in tables.read(__package__, "faults").items()}
"""Every fault by name."""

MODERATE: dict[str, float] = {name: kind.rate for name, kind in KNOWN.items() if kind.transient}
"""The preset: every transient fault, now and then."""


class Faults:
    """What goes wrong in one world. Thread-safe; costs nothing while no rate is set.

    `seed`: the world's. `active`: whether any rate is set.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._rates: dict[str, float] = {}
        self._counts: collections.Counter[str] = collections.Counter()
        self._draws: collections.Counter[tuple[str, str]] = collections.Counter()
        self._in_a_row: collections.Counter[tuple[str, str]] = collections.Counter()
        self.active = False

    @property
    def rates(self) -> dict[str, float]:
        """What is set: 0..1 by `name` or `name@place`."""
        with self._lock:
            return dict(self._rates)

    @property
    def counts(self) -> dict[str, int]:
        """How often each fault has happened, those that never did left out."""
        with self._lock:
            return dict(sorted(self._counts.items()))

    def set(self, rates: Mapping[str, float]) -> None:
        """Replace all rates: 0..1 by `name`, or by `name@place` for one region, machine or resource only.

        Raises ValueError: a fault is not known, or a rate is none.
        """
        checked = {}
        for given, rate in rates.items():
            name, at, place = given.partition("@")
            if name not in KNOWN or (at and not place):
                raise ValueError(f"no fault is called {given!r}; there are {', '.join(KNOWN)}")
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
                raise ValueError(f"the rate of {given} is {rate!r}; it must be a number from 0 to 1")
            checked[f"{name}{at}{place.lower()}"] = float(rate)
        with self._lock:
            self._rates = checked
            self._in_a_row.clear()
            self.active = any(checked.values())

    def clear(self) -> None:
        """From now on nothing goes wrong."""
        self.set({})

    def happens(self, name: str, place: str | Sequence[str] = "", key: str = "") -> bool:
        """Whether this fault happens now; it counts as having happened.

        `name`: one of `KNOWN`. `place`: where: a region, or several names that a rate may be limited to. `key`: the
        opportunity: what a client that tries again asks for again.
        """
        return self.active and self._pick((name,), place, (name, key)) is not None

    def pick(self, names: Sequence[str], place: str | Sequence[str] = "", key: str = "") -> str | None:
        """The one of these faults that happens now, or None; three in a row of any of them is the most at one key."""
        return self._pick(names, place, ("", key)) if self.active else None

    def choose(self, name: str, options: Sequence[T], key: str = "") -> T:
        """In which of its forms a fault that happens does; the same for the same seed."""
        return self._chance(name, key, "form").choice(options)

    def between(self, name: str, low: float, high: float, key: str = "") -> float:
        """A number of a fault that happens, such as how long it lasts; the same for the same seed."""
        return self._chance(name, key, "number").uniform(low, high)

    def _pick(self, names: Sequence[str], place: str | Sequence[str], opportunity: tuple[str, str]) -> str | None:
        places = [each.lower() for each in ([place] if isinstance(place, str) else place) if each]
        with self._lock:
            spared = self._in_a_row[opportunity] >= MOST_IN_A_ROW
            for name in names:
                rate = self._rate(name, places)
                if not rate:
                    continue
                self._draws[name, opportunity[1]] += 1
                transient = KNOWN[name].transient
                if (spared and transient) or self._chance(name, opportunity[1], "").random() >= rate:
                    continue
                self._counts[name] += 1
                self._in_a_row[opportunity] += transient
                return name
            self._in_a_row.pop(opportunity, None)
            return None

    def _rate(self, name: str, places: Sequence[str]) -> float:
        return max(
            (self._rates[key] for key in (f"{name}@{place}" for place in places) if key in self._rates),
            default=self._rates.get(name, 0.0),
        )

    def _chance(self, name: str, key: str, use: str) -> random.Random:
        number = self._draws[name, key]
        return random.Random(f"{self._seed}|{name}|{key}|{number}|{use}")  # noqa: S311 - reproducible, not cryptography


def parse(text: str) -> dict[str, float]:
    """Rates as the command line gives them: `transient`, `arm.throttled=0.2,kube.conflict@westus=0.1`, or both.

    Raises ValueError: it cannot be read.
    """
    rates: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, number = part.partition("=")
        if part == PRESET:
            rates.update(MODERATE)
            continue
        if not equals:
            raise ValueError(f"{part!r} is neither {PRESET!r} nor NAME=RATE; there are {', '.join(KNOWN)}")
        try:
            rates[name.strip()] = float(number)
        except ValueError:
            raise ValueError(f"the rate of {name.strip()} is {number!r}; it must be a number from 0 to 1") from None
    Faults(0).set(rates)
    return rates


def read_rates(document: object) -> dict[str, float]:
    """Rates as the report door takes them: `{"rates": {name: rate}}`, `{"preset": "transient"}`, or both.

    Raises ValueError: it cannot be read.
    """
    if not isinstance(document, dict) or not document or set(document) - {"rates", "preset"}:
        raise ValueError(f'it must be {{"rates": {{NAME: RATE}}}} or {{"preset": "{PRESET}"}}')
    if document.get("preset", PRESET) != PRESET:
        raise ValueError(f"no preset is called {document['preset']!r}; there is {PRESET!r}")
    rates = document.get("rates", {})
    if not isinstance(rates, dict):
        raise ValueError("rates must be an object: NAME: RATE")  # noqa: TRY004 - one error for all that is unreadable
    return {**(MODERATE if "preset" in document else {}), **rates}
