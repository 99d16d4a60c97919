"""The types of single fields of a spec, each with the rule that a value is refused by."""

import re
from ipaddress import IPv4Network
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field


def _checked(pattern: str, rule: str) -> BeforeValidator:
    compiled = re.compile(pattern)

    def check(value: Any) -> Any:
        if isinstance(value, str) and not compiled.fullmatch(value):
            raise ValueError(rule)
        return value

    return BeforeValidator(check)


OWN = "own"
"""The source that stands for the address from which `up` is run."""


def _source(value: Any) -> Any:
    if value in ("*", OWN):
        return value
    try:
        return str(IPv4Network(str(value)))
    except ValueError as error:
        raise ValueError(f"must be an IPv4 address or range such as 203.0.113.7/32, 'own' or '*' ({error})") from error


def _location(value: Any) -> Any:
    if not isinstance(value, str) or re.fullmatch(r"[a-z][a-z0-9]*", value):
        return value
    short = "".join(value.lower().split())
    meant = f"; write {short}" if re.fullmatch(r"[a-z][a-z0-9]*", short) else ""
    raise ValueError(f"must be an Azure region's short name such as eastus: lower-case letters and digits{meant}")


def _zone(value: Any) -> Any:
    # YAML reads [1, 2] as numbers.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


DatabaseName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    _checked(r"[a-z_][a-z0-9_]*", "must be lower-case letters, digits and underscores, starting with a letter"),
    _checked(r"(?!(system|crdb_.*|pg_.*)$).*", "is CockroachDB's own; choose another name"),
    _checked(r"(?!crdbmesh_).*", "begins as crdbmesh's own databases do; choose another name"),
]
MeshName = Annotated[
    str,
    Field(min_length=1, max_length=24),
    _checked(r"[a-z]([-a-z0-9]*[a-z0-9])?", "must be lower-case letters, digits and hyphens, starting with a letter"),
    _checked(r"(?!removed$).*", "is the folder of removed meshes; choose another name"),
]
RegionName = Annotated[str, Field(min_length=1, max_length=32), BeforeValidator(_location)]
Source = Annotated[str, BeforeValidator(_source)]
Zone = Annotated[Literal["1", "2", "3"], BeforeValidator(_zone)]
Container = Annotated[
    str,
    _checked(r"https://[a-z0-9]{3,24}\.blob\.[a-z0-9.]+/[a-z0-9](-?[a-z0-9]){2,62}", "must be a container's URL"),
]
Image = Annotated[str, _checked(r"[^:\s]+:[^:\s]+:[^:\s]+:[^:\s]+", "must be publisher:offer:sku:version")]
LoginName = Annotated[
    str,
    Field(max_length=32),
    _checked(
        r"(?!(root|admin|administrator|user|guest|test)$)[a-z_][-a-z0-9_]*",
        "must be a Linux user name that Azure allows",
    ),
]
