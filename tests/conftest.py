"""For all tests: the order in which they are given out, and no search for garbage in what was imported for them."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

_LONGEST = ("use", "security", "journeys", "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort them so that the longest come first: no worker is left alone with one at the end."""
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
        return _LONGEST.index(folder) if folder in _LONGEST else len(_LONGEST)

    items.sort(key=place)


_MANY_FILES = 300
_OPEN = Path("/proc/self/fd")


def pytest_runtest_teardown() -> None:
    """Close what tests have dropped before the process has as many files open as select(2) takes."""
    if _OPEN.exists() and len([*_OPEN.iterdir()]) > _MANY_FILES:
        gc.collect()


def pytest_collection_finish() -> None:
    """Leave what is there now out of every later collection."""
    gc.freeze()
