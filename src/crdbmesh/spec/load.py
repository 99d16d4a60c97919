"""Makes a `Mesh` from YAML, environment and flags; every mistake is in the ConfigError that its functions raise.

Precedence: flags, then `CRDBMESH_*` variables, then the file or else the kept spec, then defaults.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from crdbmesh.errors import ABSENT, ConfigError, Finding
from crdbmesh.redaction import cut, learn
from crdbmesh.spec import birth, documents
from crdbmesh.spec.consistency import find_problems
from crdbmesh.spec.mesh import Mesh

_REMEDIES = {
    "extra_forbidden": "remove it, or correct its spelling; `examples/` shows every field",
    "missing": "add it",
}
_REASONS = {
    "extra_forbidden": "is not a field",
    "missing": "is needed",
    "tuple_type": "must be a list, even of one",
    "model_type": "must be a mapping of fields",
    "dict_type": "must be a mapping",
    "too_short": "must have at least one entry",
}
"""Reasons in place of pydantic's, which are in terms of Python."""


def read_file(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML spec file; a path in it is taken from the file's folder.

    A mistake in it is a ConfigError, which quotes no license key.
    """
    try:
        loaded = yaml.load(path.read_text(encoding="utf-8"), Loader=documents.Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigError.of(
            "--config", str(path), f"cannot be read ({error.strerror})", "give a readable YAML file"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError.of("--config", str(path), f"is not YAML ({reason})", "correct it") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError.of("--config", str(path), f"holds an impossible value ({error})", "correct it") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise ConfigError.of("--config", str(path), "does not hold a mapping of fields", "see examples/ for the form")
    if isinstance(license_file := loaded.get("license_file"), str):
        if "crl-0-" in license_file:
            learn(license_file, whole=True)
            remedy = "save the key in a file of its own, and give that file's path"
            raise ConfigError.of("license_file", "(a license key)", "is the key itself, not the path of a file", remedy)
        loaded["license_file"] = str(path.absolute().parent / Path(license_file).expanduser())
    return loaded


def read_kept(path: Path) -> dict[str, Any]:
    """Return the mapping in a spec that `up` kept; a field it lacks is what the version that made the mesh built."""
    return birth.fill(read_file(path), birth.BEFORE)


def mesh(document: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Mesh:
    """Return a validated spec, made from a document (nested mappings, as in a YAML file) and overrides.

    `overrides` are values by dotted field name, such as `{"machines.per_region": 3}`; None values are ignored.
    """
    merged = _merged(document, overrides or {})
    merged = birth.fill(merged, birth.PROFILES.get(str(merged.get("profile")), {}))
    try:
        made = Mesh.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_findings(error)) from error
    if problems := list(find_problems(made)):
        raise ConfigError(problems)
    return made


def dump(spec: Mesh) -> str:
    """Return the spec as YAML, which `read_file` and `mesh` read back."""
    text: str = yaml.safe_dump(spec.model_dump(mode="json", exclude_none=True), sort_keys=False, width=10**6)
    return text


def places(text: str) -> Iterator[tuple[str, int]]:
    """Yield the dotted field of each value and each list in a YAML text, with its line from 1 on.

    An entry of a list is called by its name or, if it has none, its value: `regions[eastus].size`, `allow_from[own]`.
    """

    def walk(node: yaml.Node | None, field: str) -> Iterator[tuple[str, int]]:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                yield from walk(value, f"{field}.{key.value}".lstrip("."))
            return
        if node is not None:
            yield field, node.start_mark.line + 1
        for entry in node.value if isinstance(node, yaml.SequenceNode) else ():
            parts = entry.value if isinstance(entry, yaml.MappingNode) else ()
            named = next((value.value for key, value in parts if key.value == "name"), entry.value)
            yield from walk(entry, f"{field}[{named}]")

    yield from walk(yaml.compose(text, Loader=documents.Loader), "")


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
            # A list whose entries are wrong counts as empty; only the mistakes in its entries are reported.
            continue
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]).lstrip(".")
        reason = _REASONS.get(item["type"], item["msg"].removeprefix("Value error, "))
        value = ABSENT if item["type"] == "missing" else _shown(item["input"])
        remedy = _REMEDIES.get(item["type"], "correct it; `examples/` shows every field")
        findings.append(Finding(field or "spec", value, reason[:1].lower() + reason[1:], remedy))
    return findings


def _shown(value: object) -> str:
    return cut(value if isinstance(value, str) else repr(value), 80)
