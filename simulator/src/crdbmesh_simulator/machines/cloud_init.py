"""cloud-init of a simulated machine, as Ubuntu 24.04 on Azure runs it (cloudinit.readthedocs.io, module reference).

Stages: `init-local` and `init` (host name, write_files, users, ssh host keys, bootcmd), then sshd may start, then
`modules-config` (runcmd is written to a script) and `modules-final` (packages, deferred files, the runcmd script).
What is not handled here is recorded, and is a warning as of what the published schema does not know: it makes the
status `degraded`.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import gzip
import json
import posixpath
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from crdbmesh_simulator.filesystem import Actor
from crdbmesh_simulator.machines import ssh_keys
from crdbmesh_simulator.shell.process import Buffer, Process, Run, Signalled, decode, execute

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.machine_os import MachineOS

Steps = Generator[float, None, None]
"""What takes time: it yields simulated seconds to wait."""

_HANDLED = frozenset({
    "ssh_keys", "ssh_deletekeys", "ssh_genkeytypes", "write_files", "runcmd", "bootcmd", "hostname", "fqdn",
    "prefer_fqdn_over_hostname", "preserve_hostname", "users", "ssh_authorized_keys", "disable_root",
    "disable_root_opts", "ssh_pwauth", "timezone", "locale", "final_message", "allow_public_ssh_keys",
    "ssh_quiet_keygen", "ssh_publish_hostkeys", "no_ssh_fingerprints", "manage_etc_hosts", "merge_how", "merge_type",
    "output",
})  # fmt: skip
_STAGES = ("init-local", "init", "modules-config", "modules-final")
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
    """What cloud-init does at the first boot, and its status after.

    `machine`: whose. `custom_data`: as it came through ARM, decoded from base64. `initialised`, `provisioned`: whether
    the first boot has got through the stages before sshd, and through all.
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
        self._enter("init-local")
        yield 0.8
        self._leave("init-local")
        self._enter("init")
        yield 1.0
        self._read_user_data()
        yield from self._bootcmd()
        self._write_files(deferred=False)
        self._hostname()
        self._users()
        self._ssh()
        self._leave("init")
        self.initialised = True

    def run_modules(self) -> Steps:
        """The stages after sshd has started."""
        self._enter("modules-config")
        yield 1.0
        self._misc()
        self._leave("modules-config")
        self._enter("modules-final")
        yield 0.5
        self._write_files(deferred=True)
        yield from self._runcmd()
        yield 0.5
        self._leave("modules-final")
        self.provisioned = True

    def run_again(self) -> Steps:
        """A later boot of the same instance: only what runs at each boot, and what an interrupted first boot left."""
        self.stages = {name: Stage() for name in _STAGES}
        for name in _STAGES if self.provisioned else _STAGES[:2]:
            self._enter(name)
            yield 0.4
            if name == "init":
                yield from self._bootcmd()
            self._leave(name)
        if not self.provisioned:
            yield from self.run_modules()

    # --- status ---

    @property
    def finished(self) -> bool:
        """Whether all stages are over."""
        return self.stages["modules-final"].finished is not None

    @property
    def exit_code(self) -> int:
        """Of `cloud-init status`: 1 after an error, 2 after a recoverable one."""
        if self._errors():
            return 1
        return 2 if self._warnings() else 0

    def status_text(self, *, long: bool) -> str:
        """What `cloud-init status` prints."""
        status, extended = self._words()
        if not long:
            return f"status: {status}\n"
        errors = "".join(f"\n\t- {error}" for error in self._errors()) or " []"
        warnings = self._warnings()
        recoverable = "\nWARNING:" + "".join(f"\n\t- {warning}" for warning in warnings) if warnings else " {}"
        return (
            f"status: {status}\nextended_status: {extended}\nboot_status_code: enabled-by-generator\n"
            f"last_update: {self._last_update()}\ndetail: DataSourceAzure [seed=/dev/sr0]\n"
            f"errors:{errors}\nrecoverable_errors:{recoverable}\n"
        )

    def status_json(self) -> str:
        """What `cloud-init status --format json` prints."""
        status, extended = self._words()
        running = next((name for name, stage in self.stages.items() if stage.start and not stage.finished), None)
        warnings = self._warnings()
        document: dict[str, Any] = {
            "boot_status_code": "enabled-by-generator",
            "datasource": "azure",
            "detail": "DataSourceAzure [seed=/dev/sr0]",
            "errors": self._errors(),
            "extended_status": extended,
            "last_update": self._last_update(),
            "recoverable_errors": {"WARNING": warnings} if warnings else {},
            "stage": running,
            "status": status,
        }
        for name, stage in self.stages.items():
            document[name] = {
                "errors": stage.errors, "finished": stage.finished,
                "recoverable_errors": {"WARNING": stage.warnings} if stage.warnings else {}, "start": stage.start,
            }  # fmt: skip
        return json.dumps(document, indent=2, sort_keys=True) + "\n"

    def _words(self) -> tuple[str, str]:
        running = "done" if self.finished else "running" if self.stages["init-local"].start else "not started"
        if self._errors():
            return "error", f"error - {running}"
        if self._warnings() and running != "not started":
            return running, f"degraded {running}"
        return running, running

    def _errors(self) -> list[str]:
        return [error for stage in self.stages.values() for error in stage.errors]

    def _warnings(self) -> list[str]:
        return [warning for stage in self.stages.values() for warning in stage.warnings]

    def _last_update(self) -> str:
        return dt.datetime.fromtimestamp(self._updated, dt.UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")

    def _enter(self, name: str) -> None:
        self._updated = self.stages[name].start = self._machine.world.clock.now()

    def _leave(self, name: str) -> None:
        self._updated = self.stages[name].finished = self._machine.world.clock.now()

    def _warn(self, message: str, *, stage: str = "init") -> None:
        self.stages[stage].warnings.append(message)
        self._machine.systemd.log("cloud-init.service", "cloud-init", f"[WARNING]: {message}")

    def _fail(self, module: str, cause: str, *, stage: str) -> None:
        self.stages[stage].errors.append(f"('{module}', {cause})")
        self._machine.systemd.log(
            "cloud-final.service", "cloud-init", f"[ERROR]: Failed to run module {module}: {cause}"
        )

    # --- user data ---

    def _read_user_data(self) -> None:
        data = self._custom_data
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
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
            self._warn("Failed loading yaml blob. Yaml load allows (<class 'dict'>,) root types, "
                       f"but got {type(document).__name__} instead")  # fmt: skip

    # --- modules ---

    def _bootcmd(self) -> Steps:
        commands = self._config.get("bootcmd")
        if commands:
            status = yield from self._script("bootcmd", _shellify(commands))
            if status:
                self._fail("bootcmd", f"ProcessExecutionError('Exit code: {status}')", stage="init")

    def _write_files(self, *, deferred: bool) -> None:
        stage = "modules-final" if deferred else "init"
        for number, entry in enumerate(self._config.get("write_files") or [], 1):
            if not isinstance(entry, dict) or not entry.get("path"):
                self._warn(f"No path provided to write for entry {number} in module write_files", stage=stage)
                continue
            if bool(entry.get("defer")) != deferred:
                continue
            try:
                self._write_file(entry)
            except (OSError, ValueError, LookupError, binascii.Error, zlib.error) as error:
                self._fail("write_files_deferred" if deferred else "write_files", repr(error), stage=stage)
                return

    def _write_file(self, entry: dict[str, Any]) -> None:
        machine, path = self._machine, posixpath.normpath(str(entry["path"]))
        content = _decoded(entry.get("content", ""), str(entry.get("encoding", "text/plain")))
        machine.files.mkdir(posixpath.dirname(path), self._root, parents=True)
        machine.files.write(path, content, self._root, append=bool(entry.get("append")))
        mode = entry.get("permissions", "0644")
        machine.files.chmod(path, mode if isinstance(mode, int) else int(str(mode), 8), self._root)
        user, _, group = str(entry.get("owner", "root:root")).partition(":")
        if user not in machine.users or (group and group not in machine.groups):
            raise LookupError(f"Unknown user or group: {entry.get('owner')}")
        machine.files.chown(path, machine.users[user].uid, machine.groups[group or "root"], self._root)

    def _hostname(self) -> None:
        name = self._config.get("hostname") or str(self._config.get("fqdn") or "").partition(".")[0]
        if name and not self._config.get("preserve_hostname"):
            self._machine.set_hostname(str(name))

    def _users(self) -> None:
        machine = self._machine
        given = self._config.get("users", ["default"])
        for entry in given if isinstance(given, list) else ["default"]:
            if entry == "default":
                machine.add_user(machine.hardware.admin, sudo=True, keys=machine.hardware.authorized_keys)
                extra = self._config.get("ssh_authorized_keys") or []
                if extra:
                    machine.add_keys(machine.hardware.admin, [str(key) for key in extra])
            elif isinstance(entry, dict) and entry.get("name"):
                keys = [str(key) for key in entry.get("ssh_authorized_keys") or []]
                machine.add_user(str(entry["name"]), sudo="NOPASSWD" in str(entry.get("sudo", "")), keys=keys,
                                 shell=str(entry.get("shell", "/bin/sh")))  # fmt: skip

    def _ssh(self) -> None:
        files = self._machine.files
        if self._config.get("ssh_deletekeys", True):
            for path in files.glob("/etc/ssh/ssh_host_*key*", self._root):
                files.remove(path, self._root)
        # The Azure datasource says no where the VM's `disablePasswordAuthentication` is true.
        passwords = self._config.get("ssh_pwauth", False)
        if str(passwords).lower() != "unchanged":
            word = "yes" if str(passwords).lower() in ("true", "1", "yes", "on") else "no"
            path = "/etc/ssh/sshd_config.d/50-cloud-init.conf"
            files.write(path, f"PasswordAuthentication {word}\n", self._root, mode=0o600)
        given = self._config.get("ssh_keys")
        if given and isinstance(given, dict):
            self._write_keys({str(key): str(value) for key, value in given.items()})
            return
        kinds = self._config.get("ssh_genkeytypes", ["rsa", "ecdsa", "ed25519"])
        for kind in kinds:
            path = f"/etc/ssh/ssh_host_{kind}_key"
            if files.find(path, self._root) is None and kind in ssh_keys.KINDS:
                private, public = ssh_keys.generate(kind, f"root@{self._machine.hostname}")
                files.write(path, private, self._root, mode=0o600)
                files.write(f"{path}.pub", public, self._root, mode=0o644)

    def _write_keys(self, given: dict[str, str]) -> None:
        for key, value in given.items():
            kind, _, half = key.partition("_")
            if kind not in ("rsa", "dsa", "ecdsa", "ed25519") or half not in ("private", "public", "certificate"):
                reason = f"Skipping {key} - unsupported key type" if half else f'"{key}" entry is not valid'
                self._warn(f"ssh_keys: {reason}")
                continue
            suffix = {"private": "", "public": ".pub", "certificate": "-cert.pub"}[half]
            mode = 0o600 if half == "private" else 0o644
            self._machine.files.write(f"/etc/ssh/ssh_host_{kind}_key{suffix}", value, self._root, mode=mode)
        for key, value in given.items():
            kind, _, half = key.partition("_")
            if half == "private" and f"{kind}_public" not in given:
                public = ssh_keys.public_of(value)
                if public is None:
                    self._warn(f"Failed to generate a public key for {key}")
                    continue
                self._machine.files.write(f"/etc/ssh/ssh_host_{kind}_key.pub", public, self._root, mode=0o644)

    def _misc(self) -> None:
        if self._config.get("timezone"):
            self._machine.files.write("/etc/timezone", f"{self._config['timezone']}\n", self._root)
        if self._config.get("locale"):
            self._machine.files.write("/etc/default/locale", f"LANG={self._config['locale']}\n", self._root)

    def _runcmd(self) -> Steps:
        commands = self._config.get("runcmd")
        if commands and (yield from self._script("runcmd", _shellify(commands))):
            self._fail("scripts_user", "RuntimeError('Runparts: 1 failures (runcmd) in 1 attempted commands')",
                       stage="modules-final")  # fmt: skip

    def _script(self, name: str, text: str) -> Run:
        path = f"/var/lib/cloud/instance/scripts/{name}"
        machine, output = self._machine, Buffer()
        machine.files.mkdir(posixpath.dirname(path), self._root, parents=True)
        machine.files.write(path, text, self._root)
        machine.files.chmod(path, 0o700, self._root)
        env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        try:
            status = yield from execute(Process(machine, [path], env, "/", self._root, stdout=output, stderr=output))
        except Signalled:
            status = 143
        machine.files.write("/var/log/cloud-init-output.log", bytes(output.data), self._root, append=True)
        for line in decode(output.take()).splitlines():
            machine.systemd.log("cloud-final.service", "cloud-init", line)
        return status


def _decoded(content: object, encoding: str) -> bytes:
    data = content if isinstance(content, bytes) else str("" if content is None else content).encode()
    kinds: dict[str, Callable[[bytes], bytes]] = {
        "text/plain": lambda raw: raw,
        "b64": base64.b64decode, "base64": base64.b64decode,
        "gz": gzip.decompress, "gzip": gzip.decompress,
    }  # fmt: skip
    encoding = encoding.strip().lower()
    if encoding in ("gz+b64", "gz+base64", "gzip+b64", "gzip+base64"):
        return gzip.decompress(base64.b64decode(data))
    return kinds.get(encoding, kinds["text/plain"])(data)


def _shellify(commands: object) -> str:
    lines = ["#!/bin/sh"]
    for command in commands if isinstance(commands, list) else []:
        if isinstance(command, list):
            lines.append(" ".join("'" + str(word).replace("'", "'\\''") + "'" for word in command))
        elif command is not None:
            lines.append(str(command))
    return "\n".join(lines) + "\n"
