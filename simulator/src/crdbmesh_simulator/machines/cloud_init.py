"""cloud-init of a simulated machine, as Ubuntu 24.04 on Azure runs it (cloudinit.readthedocs.io, module reference).

Stages: `init-local` and `init` (bootcmd, write_files, the admin user, ssh host keys), then sshd may start, then
`modules-config` and `modules-final` (the runcmd script). What is not handled here is recorded, and is a warning as of
what the published schema does not know: it makes the status `degraded`.
"""

from __future__ import annotations

import datetime as dt
import json
import posixpath
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from crdbmesh_simulator.filesystem import Actor
from crdbmesh_simulator.machines import sshd
from crdbmesh_simulator.shell.process import Buffer, Process, Run, Signalled, decode, execute

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.machine_os import MachineOS

Steps = Generator[float, None, None]
"""What takes time: it yields simulated seconds to wait."""

_HANDLED = {
    "ssh_keys",
    "ssh_deletekeys",
    "ssh_pwauth",
    "ssh_authorized_keys",
    "write_files",
    "runcmd",
    "bootcmd",
    "hostname",
}
_STAGES = ("init-local", "init", "modules-config", "modules-final")
_SUFFIXES = {"private": "", "public": ".pub"}
_SCHEMA_WARNING = (
    "cloud-config failed schema validation! You may run 'sudo cloud-init schema --system' to check the details."
)


@dataclass(slots=True)
class Stage:
    """A boot stage: when it ran and what went wrong in it."""

    start: float | None = None
    finished: float | None = None
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class CloudInit:
    """What cloud-init does at the first boot of a machine, by its custom data, and its status after.

    `initialised`, `provisioned`: whether the first boot has got through the stages before sshd, and through all.
    """

    def __init__(self, machine: MachineOS, custom_data: bytes) -> None:
        self._machine = machine
        self._root = Actor()
        self._custom_data = custom_data
        self._config: dict[str, Any] = {}
        self._updated = 0.0
        self.stages = {name: Stage() for name in _STAGES}
        self.initialised = self.provisioned = False

    # --- what happens ---

    def run_init(self) -> Steps:
        """The stages before sshd starts."""
        yield from self._stage("init-local", 0.8)
        yield from self._stage("init", 1.0)
        self._read_user_data()
        yield from self._script("bootcmd", "bootcmd", "ProcessExecutionError('Unexpected error')", "init")
        self._write_files()
        hardware = self._machine.hardware
        more = [str(key) for key in self._config.get("ssh_authorized_keys") or []]
        self._machine.add_user(hardware.admin, sudo=True, keys=[*hardware.authorized_keys, *more])
        self._ssh()
        self.initialised = True

    def run_modules(self) -> Steps:
        """The stages after sshd has started."""
        yield from self._stage("modules-config", 1.0)
        stage = self.stages["modules-final"]
        self._updated = stage.start = self._machine.world.clock.now()
        yield 0.5
        cause = "RuntimeError('Runparts: 1 failures (runcmd) in 1 attempted commands')"
        yield from self._script("runcmd", "scripts_user", cause, "modules-final")
        yield 0.5
        self._updated = stage.finished = self._machine.world.clock.now()
        self.provisioned = True

    def run_again(self) -> Steps:
        """A later boot of the same instance: only what runs at each boot, and what an interrupted first boot left."""
        self.stages = {name: Stage() for name in _STAGES}
        for name in _STAGES if self.provisioned else _STAGES[:2]:
            yield from self._stage(name, 0.4)
            if name == "init":
                yield from self._script("bootcmd", "bootcmd", "ProcessExecutionError('Unexpected error')", "init")
        if not self.provisioned:
            yield from self.run_modules()

    def _stage(self, name: str, seconds: float) -> Steps:
        self._updated = self.stages[name].start = self._machine.world.clock.now()
        yield seconds
        self._updated = self.stages[name].finished = self._machine.world.clock.now()

    # --- status ---

    @property
    def finished(self) -> bool:
        """Whether all stages are over."""
        return self.stages["modules-final"].finished is not None

    @property
    def exit_code(self) -> int:
        """Of `cloud-init status`: 1 after an error, 2 after a recoverable one."""
        return 1 if self._all("errors") else 2 if self._all("warnings") else 0

    def status_text(self) -> str:
        """What `cloud-init status` prints."""
        return f"status: {self._words()[0]}\n"

    def status_json(self) -> str:
        """What `cloud-init status --format json` prints."""
        status, extended = self._words()
        updated = dt.datetime.fromtimestamp(self._updated, dt.UTC)
        document: dict[str, Any] = {
            "boot_status_code": "enabled-by-generator",
            "datasource": "azure",
            "detail": "DataSourceAzure [seed=/dev/sr0]",
            "errors": self._all("errors"),
            "extended_status": extended,
            "last_update": updated.strftime("%a, %d %b %Y %H:%M:%S +0000"),
            "recoverable_errors": _recoverable(self._all("warnings")),
            "stage": next((name for name, stage in self.stages.items() if stage.start and not stage.finished), None),
            "status": status,
        }
        for name, stage in self.stages.items():
            recoverable = _recoverable(stage.warnings)
            times = {"start": stage.start, "finished": stage.finished}
            document[name] = {"errors": stage.errors, "recoverable_errors": recoverable, **times}
        return json.dumps(document, indent=2, sort_keys=True) + "\n"

    def _words(self) -> tuple[str, str]:
        running = "done" if self.finished else "running" if self.stages["init-local"].start else "not started"
        if self._all("errors"):
            return "error", f"error - {running}"
        degraded = self._all("warnings") and running != "not started"
        return running, f"degraded {running}" if degraded else running

    def _all(self, kind: str) -> list[str]:
        return [text for stage in self.stages.values() for text in getattr(stage, kind)]

    def _warn(self, message: str) -> None:
        self.stages["init"].warnings.append(message)
        self._machine.systemd.log("cloud-init.service", "cloud-init", f"[WARNING]: {message}")

    def _fail(self, module: str, cause: str, stage: str) -> None:
        self.stages[stage].errors.append(f"('{module}', {cause})")
        text = f"[ERROR]: Failed to run module {module}: {cause}"
        self._machine.systemd.log("cloud-final.service", "cloud-init", text)

    # --- user data ---

    def _read_user_data(self) -> None:
        data = self._custom_data
        self._machine.files.mkdir("/var/lib/cloud/instance", self._root, parents=True)
        self._machine.files.write("/var/lib/cloud/instance/user-data.txt", data, self._root, mode=0o600)
        if data.strip():
            self._read_config(data.decode("utf-8", "replace"))
        unknown = sorted(key for key in self._config if key not in _HANDLED)
        if unknown:
            message = f"Additional properties are not allowed: {unknown}"
            self._machine.systemd.log("cloud-init.service", "cloud-init", message)
            self._machine.not_known(f"cloud-init: {', '.join(unknown)}")
            self._warn(_SCHEMA_WARNING)

    def _read_config(self, text: str) -> None:
        if not text.startswith("#cloud-config"):
            self._machine.not_known("cloud-init: user data that is no cloud-config")
            self._warn(f"Unhandled non-multipart (text/x-not-multipart) userdata: '{text[:24]!r}...'")
            return
        try:
            document = yaml.load(text, Loader=yaml.CSafeLoader)
        except yaml.YAMLError as error:
            self._warn(f"Failed loading yaml blob. Invalid format at {str(error).splitlines()[0]}")
            return
        if isinstance(document, dict):
            self._config |= document
        elif document is not None:
            kinds = f"Yaml load allows (<class 'dict'>,) root types, but got {type(document).__name__} instead"
            self._warn(f"Failed loading yaml blob. {kinds}")

    # --- modules ---

    def _write_files(self) -> None:
        for entry in self._config.get("write_files") or []:
            if entry.get("encoding") or entry.get("defer"):
                self._machine.not_known("cloud-init: write_files with an encoding, or deferred")
            try:
                self._write_file(entry)
            except (OSError, ValueError, LookupError) as error:
                self._fail("write_files", repr(error), "init")
                return

    def _write_file(self, entry: dict[str, Any]) -> None:
        machine, path = self._machine, posixpath.normpath(str(entry["path"]))
        machine.files.mkdir(posixpath.dirname(path), self._root, parents=True)
        machine.files.write(path, str(entry.get("content") or ""), self._root, append=bool(entry.get("append")))
        mode = entry.get("permissions", "0644")
        machine.files.chmod(path, mode if isinstance(mode, int) else int(str(mode), 8), self._root)
        user, _, group = str(entry.get("owner", "root:root")).partition(":")
        if user not in machine.users or (group and group not in machine.groups):
            raise LookupError(f"Unknown user or group: {entry.get('owner')}")
        machine.files.chown(path, machine.users[user].uid, machine.groups[group or "root"], self._root)

    def _ssh(self) -> None:
        files = self._machine.files
        if self._config.get("ssh_deletekeys", True):
            for path in files.glob("/etc/ssh/ssh_host_*key*", self._root):
                files.remove(path, self._root)
        # The Azure datasource says no where the VM's `disablePasswordAuthentication` is true.
        word = "yes" if str(self._config.get("ssh_pwauth", False)).lower() in ("true", "1", "yes", "on") else "no"
        path = "/etc/ssh/sshd_config.d/50-cloud-init.conf"
        files.write(path, f"PasswordAuthentication {word}\n", self._root, mode=0o600)
        given = self._config.get("ssh_keys")
        if given and isinstance(given, dict):
            self._write_keys({str(key): str(value) for key, value in given.items()})
            return
        for kind in sshd.KINDS:
            private, public = sshd.generate_key(kind, f"root@{self._machine.hostname}")
            self._write_key(kind, "private", private)
            self._write_key(kind, "public", public)

    def _write_keys(self, given: dict[str, str]) -> None:
        for key, value in given.items():
            kind, _, half = key.partition("_")
            if kind not in sshd.KINDS or half not in _SUFFIXES:
                reason = f"Skipping {key} - unsupported key type" if half else f'"{key}" entry is not valid'
                self._warn(f"ssh_keys: {reason}")
                continue
            self._write_key(kind, half, value)
            public = sshd.public_of(value) if half == "private" and f"{kind}_public" not in given else None
            if public is not None:
                self._write_key(kind, "public", public)

    def _write_key(self, kind: str, half: str, value: str | bytes) -> None:
        path = f"/etc/ssh/ssh_host_{kind}_key{_SUFFIXES[half]}"
        self._machine.files.write(path, value, self._root, mode=0o600 if half == "private" else 0o644)

    def _script(self, name: str, module: str, cause: str, stage: str) -> Run:
        """Run the commands of `bootcmd` or `runcmd`."""
        commands = self._config.get(name)
        if not commands:
            return 0
        path = f"/var/lib/cloud/instance/scripts/{name}"
        machine, output = self._machine, Buffer()
        machine.files.mkdir(posixpath.dirname(path), self._root, parents=True)
        machine.files.write(path, _shellify(commands), self._root)
        machine.files.chmod(path, 0o700, self._root)
        env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        try:
            status = yield from execute(Process(machine, [path], env, "/", self._root, stdout=output, stderr=output))
        except Signalled:
            status = 143
        machine.files.write("/var/log/cloud-init-output.log", bytes(output.data), self._root, append=True)
        for line in decode(output.take()).splitlines():
            machine.systemd.log("cloud-final.service", "cloud-init", line)
        if status:
            self._fail(module, cause, stage)
        return status


def _recoverable(warnings: list[str]) -> dict[str, list[str]]:
    return {"WARNING": warnings} if warnings else {}


def _shellify(commands: object) -> str:
    lines = ["#!/bin/sh"]
    for command in commands if isinstance(commands, list) else []:
        words = (
            [command] if isinstance(command, str) else ["'" + str(word).replace("'", "'\\''") + "'" for word in command]
        )
        lines.append(" ".join(words))
    return "\n".join(lines) + "\n"
