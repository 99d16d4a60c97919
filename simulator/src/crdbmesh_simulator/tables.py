"""Reads the tables that stand beside a package's modules as TOML."""

from __future__ import annotations

import functools
import importlib.resources
import tomllib
from typing import Any


@functools.cache
def read(package: str, name: str) -> dict[str, Any]:
    """The document `name.toml` of a package."""
    return tomllib.loads(importlib.resources.files(package).joinpath(f"{name}.toml").read_text(encoding="utf-8"))
