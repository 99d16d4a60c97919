"""From YAML, environment and flags to a `Mesh`; every mistake is reported at once.

Precedence: flags, then `CRDBMESH_*` variables, then the file, then defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from crdbmesh.errors import ConfigError, Finding
from crdbmesh.topology.mesh import InconsistentError, Mesh

_REMEDIES = {
    "extra_forbidden": "remove it, or correct its spelling; `examples/` shows every field",
    "missing": "add it",
}


def read_file(path: Path) -> dict[str, Any]:
    """The mapping in a YAML spec file.

    Raises:
        ConfigError: it cannot be read, is not YAML, or is not a mapping.
    """
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong("--config", path, f"cannot be read ({error.strerror})", "give a readable YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise _wrong("--config", path, f"is not YAML ({reason})", "correct it") from error
    except (ValueError, RecursionError) as error:
        raise _wrong("--config", path, f"holds a value YAML cannot mean ({error})", "correct it") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise _wrong("--config", path, "does not hold a mapping of fields", "see examples/ for the form")
    return loaded


def mesh(document: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Mesh:
    """A validated spec from a document and what overrides it.

    Args:
        document: the spec as nested mappings, as in a YAML file.
        overrides: dotted field names to values, such as `{"machines.per_region": 3}`; None values are left out.

    Raises:
        ConfigError: with every finding.
    """
    merged = _merged(document, overrides or {})
    try:
        return Mesh.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_findings(error)) from error


def dump(spec: Mesh) -> str:
    """The spec as YAML, as `read_file` and `mesh` take it back."""
    text: str = yaml.safe_dump(spec.model_dump(mode="json", exclude_none=True), sort_keys=False)
    return text


def _merged(document: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(document)
    for dotted, value in overrides.items():
        if value is None:
            continue
        *parents, leaf = dotted.split(".")
        at = merged
        for parent in parents:
            inner = at.get(parent)
            at[parent] = dict(inner) if isinstance(inner, Mapping) else {}
            at = at[parent]
        at[leaf] = value
    return merged


def _findings(error: ValidationError) -> list[Finding]:
    findings: list[Finding] = []
    items = error.errors(include_url=False)
    spoiled = {item["loc"][0] for item in items if len(item["loc"]) > 1}
    for item in items:
        if item["type"] == "too_short" and item["loc"][:1] and item["loc"][0] in spoiled:
            # A list whose entries are wrong counts as empty; only the entries' own mistakes are worth telling.
            continue
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, InconsistentError):
            findings.extend(Finding(*problem) for problem in cause.problems)
            continue
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]).lstrip(".")
        reason = item["msg"].removeprefix("Value error, ")
        value = "(absent)" if item["type"] == "missing" else _shown(item["input"])
        remedy = _REMEDIES.get(item["type"], "correct it; `examples/` shows every field")
        findings.append(Finding(field or "spec", value, reason[:1].lower() + reason[1:], remedy))
    return findings


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, str) else value
    return text if len(text) <= 80 else f"{text[:77]}..."


def _wrong(field: str, path: Path, reason: str, remedy: str) -> ConfigError:
    return ConfigError([Finding(field, str(path), reason, remedy)])
