"""JSON values: private copies of them, made faster than `copy.deepcopy` does."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

Obj = dict[str, Any]
Objs = list[Obj]


def clone(value: Any) -> Any:
    """A deep copy of a JSON value."""
    if isinstance(value, dict):
        return {key: clone(each) if isinstance(each, dict | list) else each for key, each in value.items()}
    if isinstance(value, list):
        return [clone(each) if isinstance(each, dict | list) else each for each in value]
    return value


_PATTERN = re.compile(r"^([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([eE])([+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)$")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_SMALLEST, _LARGEST = -9, 18


def is_quantity(value: Any) -> bool:
    """Tell whether a value is a resource quantity."""
    return not isinstance(value, bool) and _PATTERN.match(str(value)) is not None


def value_of(value: Any) -> Fraction:
    """A quantity as a number; 0 for what is none."""
    found = _PATTERN.match(str(value))
    if found is None:
        return Fraction(0)
    number, _, exponent, suffix = found.groups()
    if exponent is not None:
        return Fraction(number) * Fraction(10) ** int(exponent)
    if suffix in _BINARY:
        return Fraction(number) * Fraction(1024) ** _BINARY[suffix]
    return Fraction(number) * Fraction(10) ** _DECIMAL[suffix or ""]


def canonical(value: Any) -> Any:
    """A quantity in its canonical form; what is none stays as it is."""
    if not is_quantity(value):
        return value
    found = _PATTERN.match(str(value))
    assert found is not None
    number = value_of(value)
    if found[4] in _BINARY and number.denominator == 1 and abs(number) >= 1024:
        return _binary(int(number))
    return _decimal(number, exponents=found[2] is not None)


def _binary(number: int) -> str:
    power = 0
    while number % 1024 == 0 and power < len(_BINARY):
        number //= 1024
        power += 1
    suffix = next((name for name, each in _BINARY.items() if each == power), "")
    return f"{number}{suffix}"


def _decimal(number: Fraction, *, exponents: bool) -> str:
    scaled = number / Fraction(10) ** _SMALLEST
    whole = -(-scaled.numerator // scaled.denominator)
    if whole == 0:
        return "0"
    power = _SMALLEST
    while whole % 1000 == 0 and power < _LARGEST:
        whole //= 1000
        power += 3
    if exponents:
        return f"{whole}e{power}" if power else str(whole)
    return f"{whole}{next(name for name, each in _DECIMAL.items() if each == power)}"
