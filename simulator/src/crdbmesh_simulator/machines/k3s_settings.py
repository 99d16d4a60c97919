"""Reads the settings of `k3s server` and `k3s agent`: config.yaml, its .d folder, and flags.

Sources: docs.k3s.io (configuration file, server and agent reference), k3s's `pkg/cli/cmds` and `pkg/configfilearg`. A
setting in the file of a *server* that no flag has is skipped with a warning, as k3s does it; on an agent, and on any
command line, it is `flag provided but not defined`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any

import yaml

from crdbmesh_simulator import tables
from crdbmesh_simulator.filesystem import Actor, FileSystem

CONFIG = "/etc/rancher/k3s/config.yaml"

_FLAGS: dict[str, dict[str, Any]] = tables.read(__package__, "k3s_flags")
_JOINED = ("cluster-cidr", "service-cidr", "cluster-dns", "node-ip")
"""Lists that are kept as text with commas, the form in which k3s shows them."""

_BACKENDS = ("none", "vxlan", "host-gw", "wireguard-native", "ipsec", "wireguard")


class SettingsError(Exception):
    """Settings that k3s does not start with; the text is what it prints."""


@dataclass(slots=True)
class Settings:
    """The settings of one start of k3s.

    `role`: `server` or `agent`. `values`: as in the documentation; lists as lists, switches as bool, the rest as text.
    `skipped`: keys of a server's configuration file that no flag has.
    """

    role: str
    values: dict[str, Any] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def text(self, name: str, default: str = "") -> str:
        """A setting as text."""
        return str(self.values.get(name, default))

    def critical(self) -> dict[str, Any]:
        """What all servers must share, with defaults."""
        found = {name: self.values.get(name, default) for name, default in _FLAGS["critical"].items()}
        found["disable"] = sorted({word.strip() for text in found["disable"] or [] for word in str(text).split(",")})
        if not found["cluster-dns"]:
            ranges = str(found["service-cidr"]).split(",")
            found["cluster-dns"] = ",".join(str(ipaddress.ip_network(text)[10]) for text in ranges)
        return found


def read(files: FileSystem, argv: list[str]) -> Settings:
    """The settings of `k3s server …` or `k3s agent …`, by its argument vector and the configuration files.

    Raises SettingsError: k3s would not start with them.
    """
    role = argv[1]
    kinds = _kinds(role)
    settings = Settings(role)
    flags = _flags(argv[2:], kinds)
    for name, given in _files(files).items():
        if name not in kinds:
            if role != "server":
                raise SettingsError(f"Incorrect Usage: flag provided but not defined: -{name}")
            settings.skipped.append(name)
            continue
        _put(settings.values, kinds, name, given)
    for name, given in flags.items():
        _put(settings.values, kinds, name, given)
    _check(settings)
    return settings


def _kinds(role: str) -> dict[str, str]:
    """Each flag's name with `text`, `switch` or `list`."""
    roles = ("agent", "server") if role == "server" else ("agent",)
    return {name: kind for each in roles for kind, names in _FLAGS[each].items() for name in names}


def _flags(arguments: list[str], kinds: dict[str, str]) -> dict[str, list[str]]:
    """`--name=value` and `--switch` of a command line."""
    found: dict[str, list[str]] = {}
    for word in arguments:
        name, _, value = word.lstrip("-").partition("=")
        if name not in kinds:
            raise SettingsError(f"Incorrect Usage: flag provided but not defined: -{name}")
        if not value and kinds[name] != "switch":
            raise SettingsError(f"Incorrect Usage: flag needs an argument: -{name}")
        found.setdefault(name, []).append(value or "true")
    return found


def _files(files: FileSystem) -> dict[str, list[str]]:
    root = Actor()
    found: dict[str, list[str]] = {}
    paths = [CONFIG] if files.find(CONFIG, root) is not None else []
    for each in [*paths, *files.glob(f"{CONFIG}.d/*.yaml", root)]:
        try:
            document = yaml.load(files.read(each, root), Loader=yaml.CSafeLoader) or {}
        except yaml.YAMLError as error:
            raise SettingsError(f"yaml: {str(error).splitlines()[0]}") from None
        if not isinstance(document, dict):
            raise SettingsError("yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str into yaml.MapSlice")
        for key, value in document.items():
            given = [_text(item) for item in value] if isinstance(value, list) else [_text(value)]
            name = str(key).removesuffix("+")
            found[name] = [*found.get(name, []), *given] if str(key).endswith("+") else given
    return found


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _put(values: dict[str, Any], kinds: dict[str, str], name: str, given: list[str]) -> None:
    if kinds[name] == "list":
        values[name] = ",".join(given) if name in _JOINED else list(given)
    elif kinds[name] == "switch":
        text = given[-1].lower() or "true"
        if text not in ("true", "false", "1", "0", "t", "f"):
            raise SettingsError(f'Incorrect Usage: invalid boolean value "{given[-1]}" for -{name}: parse error')
        values[name] = text in ("true", "1", "t")
    else:
        values[name] = given[-1]


def _check(settings: Settings) -> None:
    for name in ("cluster-cidr", "service-cidr"):
        for text in settings.text(name).split(",") if settings.text(name) else []:
            try:
                ipaddress.ip_network(text)
            except ValueError:
                raise SettingsError(f"invalid {name} {text}: invalid CIDR address: {text}") from None
    for name in ("node-ip", "node-external-ip", "advertise-address"):
        value = settings.values.get(name)
        for text in (value if isinstance(value, list) else str(value).split(",")) if value else []:
            try:
                ipaddress.ip_address(text)
            except ValueError:
                raise SettingsError(f"invalid {name}: invalid ip format '{text}'") from None
    backend = settings.text("flannel-backend", "vxlan")
    if settings.role == "server" and backend not in _BACKENDS:
        raise SettingsError(f"unknown flannel backend '{backend}'")
