"""The service manager of a simulated machine: units, jobs, restarts and the journal.

Sources: systemd.service(5), systemctl(1), journalctl(1). A service whose program this world knows (k3s, the daemons of
the image) is a small state machine driven by `tick`; any other command of a unit runs by the same ticks.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crdbmesh_simulator.filesystem import Actor
from crdbmesh_simulator.machines import internet, units
from crdbmesh_simulator.machines.tasks import CommandTask, Daemon, Ended, Task
from crdbmesh_simulator.machines.units import Unit

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.machine_os import MachineOS

_START_LIMIT = (5, 10.0)


@dataclass(slots=True)
class Service:
    """The state of a unit at run time."""

    name: str
    unit: Unit
    active: str = "inactive"
    sub: str = "dead"
    result: str = "success"
    task: Task | None = None
    pid: int = 0
    exit_code: int = 0
    restarts: int = 0
    since: float = 0.0
    started: list[float] = field(default_factory=list)
    restart_at: float | None = None
    failed_jobs: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the journal."""

    time: float
    unit: str
    identifier: str
    pid: int
    message: str
    boot: int


class Systemd:
    """The service manager. Every method takes the world's lock itself."""

    def __init__(self, machine: MachineOS) -> None:
        self._machine = machine
        self._lock = machine.world.lock
        self.services: dict[str, Service] = {}
        self.journal: list[Entry] = []

    # --- units ---

    def find(self, name: str) -> Service | None:
        """The state of a unit, loaded when it has a file."""
        with self._lock:
            service = self.services.get(name)
            unit = units.find_unit(self._machine.files, name)
            if service is None:
                if unit is None:
                    return None
                service = self.services[name] = Service(name, unit)
            elif service.active in ("inactive", "failed"):
                if unit is None:
                    del self.services[name]
                    return None
                service.unit = unit
            return service

    def stale(self, service: Service) -> bool:
        """Whether the unit's file changed since it was loaded."""
        unit = units.find_unit(self._machine.files, service.name)
        return unit is None or unit.text != service.unit.text

    def reload(self) -> None:
        """`systemctl daemon-reload`: read all unit files again, and run the generators."""
        with self._lock:
            for service in self.services.values():
                unit = units.find_unit(self._machine.files, service.name)
                if unit is not None:
                    service.unit = unit
            self._machine.sshd.generate()

    def file_state(self, name: str) -> str:
        """`enabled`, `disabled`, `static` or `not-found`."""
        with self._lock:
            unit = units.find_unit(self._machine.files, name)
            if unit is None:
                return "not-found"
            links = self._machine.files.glob(f"/etc/systemd/system/*/{name}", Actor())
            if any(posixpath.dirname(link).endswith((".wants", ".requires")) for link in links):
                return "enabled"
            return "disabled" if any(key.startswith("Install.") for key in unit.settings) else "static"

    def install_links(self, name: str) -> list[tuple[str, str]]:
        """The links that enabling a unit makes: path and target."""
        unit = units.find_unit(self._machine.files, name)
        if unit is None:
            return []
        found = []
        for key, folder in (("WantedBy", "wants"), ("RequiredBy", "requires")):
            for value in unit.all(f"Install.{key}"):
                found += [(f"/etc/systemd/system/{target}.{folder}/{name}", unit.path) for target in value.split()]
        found += [
            (f"/etc/systemd/system/{alias}", unit.path)
            for value in unit.all("Install.Alias")
            for alias in value.split()
        ]
        return found

    # --- jobs ---

    def start(self, name: str) -> bool:
        """Begin to start a unit. Returns False when it was active already."""
        with self._lock:
            service = self.find(name)
            if service is None:
                raise LookupError(name)
            if service.active in ("active", "activating") and service.restart_at is None:
                return False
            service.restarts = 0
            service.started.clear()
            self._start(service)
            return True

    def stop(self, name: str) -> bool:
        """Stop a unit. Returns False when it was not running."""
        with self._lock:
            service = self.services.get(name)
            if service is None or service.active in ("inactive", "failed"):
                return False
            description = service.unit.get("Unit.Description", name)
            self.log(name, "systemd", f"Stopping {name} - {description}...", 1)
            self._end(service)
            service.active, service.sub, service.result, service.restart_at = "inactive", "dead", "success", None
            service.since = self._machine.world.clock.now()
            self.log(name, "systemd", f"Stopped {name} - {description}.", 1)
            self._machine.sshd.unit_stopped(name)
            return True

    def tick(self, now: float) -> None:
        """Let services start, serve, fail and start again."""
        with self._lock:
            for service in list(self.services.values()):
                if service.restart_at is not None:
                    if now >= service.restart_at:
                        service.restarts += 1
                        self._start(service)
                elif service.task is not None:
                    service.task.tick(now)
                    self._watch(service, service.task)

    def shut_down(self) -> None:
        """Stop everything, as at a reboot or a power cut."""
        with self._lock:
            for service in self.services.values():
                self._end(service)
                service.active, service.sub, service.restart_at = "inactive", "dead", None
            self.services.clear()

    def log(self, unit: str, identifier: str, message: str, pid: int = 0) -> None:
        """Write to the journal."""
        with self._lock:
            now = self._machine.world.clock.now()
            self.journal.append(Entry(now, unit, identifier, pid, message, self._machine.boots))
            del self.journal[:-5000]

    # --- inside ---

    def _start(self, service: Service) -> None:
        now = self._machine.world.clock.now()
        unit, service.restart_at = service.unit, None
        description = unit.get("Unit.Description", service.name)
        service.since = now
        burst, window = _START_LIMIT
        service.started = [moment for moment in service.started if now - moment < window]
        if len(service.started) >= burst:
            self._say(service, "Start request repeated too quickly.")
            self._fail(service, "start-limit-hit", again=False)
            return
        service.started.append(now)
        self.log(service.name, "systemd", f"Starting {service.name} - {description}...", 1)
        service.active, service.sub, service.result = "activating", "start", "success"
        if not self._mounted_for(service):
            service.active, service.sub, service.result = "inactive", "dead", "dependency"
            self.log(service.name, "systemd", f"Dependency failed for {service.name} - {description}.", 1)
            return
        if service.name.endswith(".mount"):
            self._mount(service)
            return
        if not service.name.endswith(".service") or not unit.all("Service.ExecStart"):
            service.active, service.sub = "active", "listening" if service.name.endswith(".socket") else "exited"
            self._machine.sshd.unit_started(service.name)
            return
        env = units.environment(unit)
        actor = self._actor(unit)
        before = [units.command(line, env) for line in unit.all("Service.ExecStartPre")]
        if before:
            service.sub = "start-pre"
            service.task = CommandTask(self._machine, before, env, actor, service.name)
            return
        self._main(service)

    def _mounted_for(self, service: Service) -> bool:
        """Start what `RequiresMountsFor` needs; return whether it is there (systemd.unit(5))."""
        for path in [one for line in service.unit.all("Unit.RequiresMountsFor") for one in line.split()]:
            parts = path.strip("/").split("/")
            for count in range(len(parts)):
                mount = self.find(f"{'-'.join(parts[: count + 1])}.mount")
                if mount is not None and mount.active != "active":
                    self._start(mount)
                if mount is not None and mount.active != "active":
                    return False
        return True

    def _mount(self, service: Service) -> None:
        what, where = (service.unit.get(f"Mount.{key}") for key in ("What", "Where"))
        try:
            self._machine.devices.mount(what, where)
        except OSError as error:
            self.log(service.name, "mount", f"mount: {where}: {error.strerror} ({what})", 1)
            self._fail(service, "exit-code", code=32)
            return
        self._activate(service, "mounted")

    def _main(self, service: Service) -> None:
        unit = service.unit
        env = units.environment(unit)
        argv, _ = units.command(unit.all("Service.ExecStart")[-1], env)
        service.sub = "start"
        service.pid = self._machine.next_pid()
        service.task = self._launch(service, argv, env)
        service.task.pid = service.pid
        if unit.type in ("simple", "exec", "idle", "forking") and service.task.exit_code is None:
            self._activate(service, "running")
        self._watch(service, service.task)

    def _actor(self, unit: Unit) -> Actor:
        name = unit.get("Service.User", "root")
        return self._machine.actor(name) if name in self._machine.users else Actor()

    def _launch(self, service: Service, argv: list[str], env: dict[str, str]) -> Task:
        from crdbmesh_simulator.machines import k3s

        inode = self._machine.files.find(argv[0], Actor()) if argv[0].startswith("/") else None
        if inode is None or not inode.is_file or not inode.permissions & 0o111:
            reason = "No such file or directory" if inode is None else "Permission denied"
            return self._not_found(service, f"Unable to locate executable '{argv[0]}': {reason}")
        content = bytes(inode.content)
        program = internet.program(content)
        k3s_role = argv[1:2] in (["server"], ["agent"]) and program is not None and program.name == "k3s"
        if program is not None and program.name.endswith("-daemon"):
            return Daemon()
        if program is not None and k3s_role:
            self._machine.world.ran(self._machine.hostname, argv)
            return k3s.K3s(self._machine, service.name, program.version, argv)
        return CommandTask(self._machine, [(argv, False)], env, self._actor(service.unit), service.name)

    def _not_found(self, service: Service, reason: str) -> Task:
        self._say(service, reason)
        return Ended(203)

    def _say(self, service: Service, text: str) -> None:
        self.log(service.name, "systemd", f"{service.name}: {text}", 1)

    def _watch(self, service: Service, task: Task) -> None:
        if task.exit_code is not None and service.sub == "start-pre":
            self._prepared(service, task.exit_code)
        elif task.exit_code is not None:
            task.tick(self._machine.world.clock.now())
            self._exited(service, task.exit_code)
        elif task.ready and service.active == "activating":
            self._activate(service, "running")

    def _prepared(self, service: Service, code: int) -> None:
        service.task = None
        if code == 0:
            self._main(service)
            return
        self._say(service, f"Control process exited, code=exited, status={code}/FAILURE")
        self._fail(service, "exit-code", code=code)

    def _activate(self, service: Service, sub: str) -> None:
        service.active, service.sub = "active", sub
        service.since = self._machine.world.clock.now()
        description = service.unit.get("Unit.Description", service.name)
        self.log(service.name, "systemd", f"Started {service.name} - {description}.", 1)
        self._machine.sshd.unit_started(service.name)

    def _exited(self, service: Service, code: int) -> None:
        unit, was = service.unit, service.active
        service.task, service.exit_code, service.pid = None, code, 0
        if code == 0 and unit.type == "oneshot":
            if unit.get("Service.RemainAfterExit", "no") in ("yes", "true", "1"):
                self._activate(service, "exited")
            else:
                service.active, service.sub = "inactive", "dead"
                self.log(service.name, "systemd", f"Finished {service.name} - {unit.get('Unit.Description', '')}.", 1)
            return
        name = {203: "EXEC", 143: "TERM"}.get(code, "FAILURE" if code else "SUCCESS")
        self._say(service, f"Main process exited, code=exited, status={code}/{name}")
        if code == 0 and was == "active":
            policy = unit.get("Service.Restart", "no")
            service.active, service.sub = "inactive", "dead"
            if policy == "always":
                self._schedule(service)
            return
        result = "protocol" if code == 0 else "exit-code"
        self._fail(service, result, code=code)

    def _fail(self, service: Service, result: str, *, code: int = 0, again: bool = True) -> None:
        was = service.active
        service.active, service.sub, service.result, service.exit_code = "failed", "failed", result, code
        service.failed_jobs += was == "activating"
        service.since = self._machine.world.clock.now()
        self._say(service, f"Failed with result '{result}'.")
        if was == "activating":
            description = service.unit.get("Unit.Description", service.name)
            self.log(service.name, "systemd", f"Failed to start {service.name} - {description}.", 1)
        if again and service.unit.get("Service.Restart", "no") in ("always", "on-failure", "on-abnormal"):
            self._schedule(service)

    def _schedule(self, service: Service) -> None:
        service.active, service.sub = "activating", "auto-restart"
        service.restart_at = self._machine.world.clock.now() + service.unit.restart_s
        self._say(service, f"Scheduled restart job, restart counter is at {service.restarts + 1}.")

    def _end(self, service: Service) -> None:
        if service.task is not None:
            service.task.stop()
        if (where := service.unit.get("Mount.Where")) in self._machine.devices.mounts:
            self._machine.devices.unmount(where)
        service.task, service.pid = None, 0
