"""Reads the tables that stand beside a package's modules as TOML or YAML."""

from __future__ import annotations

import functools
import importlib.resources
import tomllib
from typing import Any

import yaml


@functools.cache
def read(package: str, name: str) -> dict[str, Any]:
    """The document `name.toml` of a package."""
    return tomllib.loads(importlib.resources.files(package).joinpath(f"{name}.toml").read_text(encoding="utf-8"))


@functools.cache
def read_yaml(package: str, name: str) -> dict[str, Any]:
    """The document `name.yaml` of a package."""
    text = importlib.resources.files(package).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.load(text, Loader=yaml.CSafeLoader)
    return found
