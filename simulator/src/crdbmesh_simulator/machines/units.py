"""Reads systemd unit files (systemd.unit(5), systemd.service(5), systemd.exec(5))."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from crdbmesh_simulator.filesystem import Actor, FileSystem

FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")

_UNITS_S = {"": 1.0, "s": 1.0, "sec": 1.0, "ms": 0.001, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(slots=True)
class Unit:
    """A unit as its file and drop-ins describe it.

    `settings`: `Section.Key` -> all values, in order; an empty assignment clears the ones before.
    """

    name: str
    path: str
    text: str
    settings: dict[str, list[str]] = field(default_factory=dict)

    def all(self, key: str) -> list[str]:
        """All values of a setting."""
        return self.settings.get(key, [])

    def get(self, key: str, default: str = "") -> str:
        """The last value of a setting."""
        return self.settings.get(key, [default])[-1]

    @property
    def type(self) -> str:
        """The service type: `simple`, `exec`, `notify`, `oneshot` and so on."""
        given = self.get("Service.Type")
        return given or ("simple" if self.all("Service.ExecStart") else "oneshot")

    @property
    def restart_s(self) -> float:
        """How long systemd waits before it starts the service again."""
        return seconds(self.get("Service.RestartSec", "100ms"))


def full_name(name: str) -> str:
    """A unit's name with its type."""
    known = (".service", ".socket", ".target", ".timer", ".mount", ".path", ".slice", ".device")
    return name if name.endswith(known) else f"{name}.service"


def find_unit(files: FileSystem, name: str) -> Unit | None:
    """Load a unit by its full name, or None when there is no file (a masked one has an empty text)."""
    root = Actor()
    for folder in FOLDERS:
        path = f"{folder}/{name}"
        inode = files.find(path, root)
        if inode is None:
            continue
        text = bytes(inode.content).decode("utf-8", "replace")
        unit = Unit(name, path, text)
        texts = [text]
        for base in reversed(FOLDERS):
            texts += [
                files.read(drop_in, root).decode("utf-8", "replace")
                for drop_in in files.glob(f"{base}/{name}.d/*.conf", root)
            ]
        unit.text = "\n".join(texts)
        for part in texts:
            _read(part, unit.settings)
        return unit
    return None


def _read(text: str, settings: dict[str, list[str]]) -> None:
    section = ""
    for line in _logical_lines(text):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            continue
        key, _, value = line.partition("=")
        name = f"{section}.{key.strip()}"
        if value.strip():
            settings.setdefault(name, []).append(value.strip())
        else:
            settings.pop(name, None)


def _logical_lines(text: str) -> Iterator[str]:
    """Lines without comments, those that end in a backslash joined with the next."""
    kept = [line for line in map(str.strip, text.splitlines()) if line[:1] not in ("#", ";")]
    for line in re.sub(r"\\\n", " ", "\n".join(kept)).splitlines():
        if line.strip():
            yield line.strip()


def command(line: str, env: dict[str, str]) -> tuple[list[str], bool]:
    """An Exec line as an argument vector, and whether its failure is ignored."""
    prefix = re.match(r"[-@:+!|]*", line)
    assert prefix is not None
    words = []
    for word in shlex.split(line[prefix.end() :]):
        alone = re.fullmatch(r"\$([A-Za-z_]\w*)", word)
        if alone:
            words += env.get(alone[1], "").split()
            continue
        words.append(re.sub(r"\$\{([A-Za-z_]\w*)\}", lambda m: env.get(m[1], ""), word).replace("$$", "$"))
    return words, "-" in prefix[0]


def environment(unit: Unit) -> dict[str, str]:
    """The environment of a service's processes."""
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/root",
        "USER": "root",
        "INVOCATION_ID": "simulated",
    }
    for line in unit.all("Service.Environment"):
        env |= dict(word.split("=", 1) for word in shlex.split(line))
    return env


def seconds(text: str) -> float:
    """A time span such as `5s`, `1min 30s` or `infinity`."""
    if text in ("infinity", "0"):
        return float("inf") if text == "infinity" else 0.0
    return sum(float(number) * _UNITS_S.get(unit, 1.0) for number, unit in re.findall(r"([\d.]+)\s*([a-z]*)", text))
