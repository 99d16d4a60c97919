"""The operating system of a machine: what is on its disk, who its users are, how it boots and goes down."""

from __future__ import annotations

import itertools
import re
import threading
import uuid
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crdbmesh_simulator.filesystem import Actor, FileSystem, Ledger
from crdbmesh_simulator.inodes import EXECUTE, READ
from crdbmesh_simulator.machines import image, internet
from crdbmesh_simulator.machines.cloud_init import CloudInit
from crdbmesh_simulator.machines.devices import Devices
from crdbmesh_simulator.machines.sshd import Sshd
from crdbmesh_simulator.machines.systemd import Systemd
from crdbmesh_simulator.shell.process import Command, NotStartedError, Process, System, UnsupportedError, decode

if TYPE_CHECKING:
    from crdbmesh_simulator.world import Machine, World

KERNEL = "6.14.0-1012-azure"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SUDO_PATH = PATH + ":/snap/bin"

_FIRMWARE_S = (6.0, 10.0)
_SHUTDOWN_S = 3.0
_REBOOT_S = 8.0
_LATE_S = 60.0
"""A boot that is late by more than this goes on from now."""
_ARM_SIZE = re.compile(r"_[A-Z]+\d+(-\d+)?[a-z]*p[a-z]*_", re.ASCII)


@dataclass(slots=True)
class User:
    """An account."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str = "/bin/bash"
    groups: list[int] = field(default_factory=list)


class MachineOS(System):
    """The operating system of one machine; its disk outlives reboots and power cuts.

    Attributes:
        hardware: the VM it runs on.
        files, users, groups, systemd, sshd, cloud_init: its parts.
        commands: the commands that are installed, by name.
        corrupt_downloads: URLs whose content arrives damaged.
        powered_off: set while it goes or is down; a new one for each boot.
        boots: how often it has booted.
        running: whether it is on.
        hangups: what ends the sessions that have a terminal.
    """

    door = "ssh"
    sh = "dash"
    files: FileSystem

    def __init__(
        self, world: World, hardware: Machine, commands: Mapping[str, Command], corrupt_downloads: set[str]
    ) -> None:
        self.world = world
        self.hardware = hardware
        self.files = FileSystem(world.lock, world.clock.now)
        hardware.disk.files = self.files
        self.commands = commands
        self.hangups: set[threading.Event] = set()
        self.users: dict[str, User] = {}
        self.groups: dict[str, int] = {}
        self.modules: set[str] = {"overlay", "nf_conntrack", "hv_netvsc", "ip_tables"}
        self._hostname = hardware.computer_name
        self.arch = "arm64" if _ARM_SIZE.search(hardware.size) else "amd64"
        self.disk_gib = hardware.disk.gib
        self.boots = 0
        self.running = False
        self.powered_off = threading.Event()
        self.corrupt_downloads = corrupt_downloads
        self._pids = itertools.count(700)
        self._going_down: tuple[float, bool] | None = None
        self._coming_up: Generator[float, None, None] | None = None
        self._wake = 0.0
        self.systemd = Systemd(self)
        self.devices = Devices(self)
        self.sshd = Sshd(self)
        self.cloud_init = CloudInit(self, hardware.custom_data)
        image.install(self.files, self.commands, vcpus=hardware.vcpus, memory_gib=hardware.memory_gib)
        self._accounts()

    # --- power ---

    def boot(self) -> None:
        """Power on; what follows happens at the ticks."""
        with self.world.lock:
            self.powered_off = threading.Event()
            self.running, self._going_down = True, None
            if self.boots:
                image.empty_volatile(self.files)
            self.devices.refresh()
            self.boots += 1
            boot = f"{self.hardware.name} {self.boots} {self.world.clock.now()}"
            self.files.mkdir("/proc/sys/kernel/random", Actor(), parents=True)
            self.files.write("/proc/sys/kernel/random/boot_id", f"{uuid.uuid5(uuid.NAMESPACE_OID, boot)}\n", Actor())
            self.hardware.booted_at = self._wake = self.world.clock.now()
            self._coming_up = self._come_up()

    def cut(self) -> None:
        """Power off at once."""
        with self.world.lock:
            self.running, self._going_down, self._coming_up = False, None, None
            for stop in [self.powered_off, *self.hangups]:
                stop.set()
            self.sshd.ports = ()
            self.systemd.shut_down()

    def reboot(self) -> None:
        """Go down shortly and come up again."""
        self._going_down = (self.world.clock.now() + _SHUTDOWN_S, True)

    def tick(self, now: float) -> None:
        """Let services run, and shutdowns and reboots happen."""
        with self.world.lock:
            going = self._going_down
            if going is None or now < going[0]:
                if self.running:
                    self._go_on(now)
                    self.systemd.tick(now)
                return
            self._going_down = None
            if self.running:
                self.cut()
                if going[1]:
                    self._going_down = (now + _REBOOT_S, True)
                return
        self.boot()

    def _go_on(self, now: float) -> None:
        """Take the steps of the boot that are due."""
        while self._coming_up is not None and self._wake <= now:
            wait_s = next(self._coming_up, None)
            if wait_s is None:
                self._coming_up = None
            else:
                self._wake = max(self._wake, now - _LATE_S) + wait_s

    def _come_up(self) -> Generator[float, None, None]:
        yield self.world.random.uniform(*_FIRMWARE_S)
        first = not self.cloud_init.initialised
        self.systemd.reload()
        if first:
            yield from self.cloud_init.run_init()
        self._start("cloud-init-local.service", "cloud-init.service", "ssh.socket", "ssh.service")
        self.systemd.log("", "kernel", f"Linux version {self.hostname} booted")
        for kind in ("mount", "service"):
            for path in self.files.glob(f"/etc/systemd/system/multi-user.target.wants/*.{kind}", Actor()):
                self._start(path.rpartition("/")[2])
        yield from self.cloud_init.run_modules() if first else self.cloud_init.run_again()
        self._start("cloud-config.service", "cloud-final.service")

    def _start(self, *names: str) -> None:
        for name in names:
            if self.systemd.file_state(name) not in ("not-found", "masked"):
                self.systemd.start(name)

    # --- programs ---

    @property
    def place(self) -> str:
        """Its host name."""
        return self._hostname

    @property
    def hostname(self) -> str:
        """Its host name."""
        return self._hostname

    def where(self, process: Process, name: str) -> str | None:
        """Where a command is: PATH is searched unless `name` has a slash."""
        for path in [name] if "/" in name else [f"{folder}/{name}" for folder in process.env["PATH"].split(":")]:
            inode = process.find(path)
            if inode and inode.is_file and ("/" in name or process.actor.may(inode, EXECUTE)):
                return process.path(path)
        return None

    def load(self, process: Process) -> Command:
        """The program that a file holds, or the interpreter of a script."""
        name = process.argv[0]
        where = self.where(process, name)
        inode = process.find(where) if where else None
        if where is None or inode is None:
            self.not_known(" ".join(process.argv))
            raise NotStartedError(f"{name}: {'No such file or directory' if '/' in name else 'command not found'}", 127)
        content = bytes(inode.content)
        if not process.actor.may(inode, EXECUTE | (READ if content.startswith(b"#!") else 0)):
            raise NotStartedError(f"{name}: Permission denied", 126)
        if content.startswith(b"#!"):
            interpreter = decode(content[2:].split(b"\n", 1)[0]).split(None, 1)
            process.argv = [*interpreter, where, *process.argv[1:]]
            return self.load(process)
        program = internet.program(content)
        if program is None and content and b"\0" not in content[:80]:
            process.argv = ["sh", where, *process.argv[1:]]
            return self.load(process)
        if program is None and content.startswith(internet.ELF):
            raise NotStartedError(f"{name}: Segmentation fault (core dumped)", 139)
        if program is None or (program.arch and program.arch != self.arch):
            raise NotStartedError(f"{name}: cannot execute binary file: Exec format error", 126)
        if program.name not in self.commands:
            raise UnsupportedError(" ".join(process.argv))
        return self.commands[program.name]

    def lookup(self, name: str, *, options: str = "") -> Generator[float, None, tuple[list[str], str]]:  # noqa: ARG002
        """What /etc/hosts, Azure's DNS and the internet's say."""
        yield 0.0
        return internet.resolve(self, name), name

    # --- who ---

    def actor(self, name: str, ledger: Ledger | None = None) -> Actor:
        """A user's credentials."""
        user = self.users[name]
        return Actor(user.uid, user.gid, frozenset(user.groups), 0o022 if user.uid == 0 else 0o002, ledger or Ledger())

    def user_name(self, uid: int) -> str:
        """A user's name, or the number when nobody has it."""
        return next((user.name for user in self.users.values() if user.uid == uid), str(uid))

    def group_name(self, gid: int) -> str:
        """A group's name, or the number when there is none."""
        return next((name for name, number in self.groups.items() if number == gid), str(gid))

    def may_sudo(self, name: str) -> bool:
        """Whether a user may become root without a password."""
        for path in self.files.glob("/etc/sudoers.d/*", Actor()):
            text = self.files.read(path, Actor()).decode("utf-8", "replace")
            if re.search(rf"(?m)^{re.escape(name)}\s+ALL=\(ALL(:ALL)?\)\s+NOPASSWD:\s*ALL", text):
                return True
        return False

    def add_user(self, name: str, *, sudo: bool, keys: list[str], shell: str = "/bin/bash") -> None:
        """Make an account as cloud-init does, or add to one that is there."""
        if name not in self.users:
            uid = max([999, *(user.uid for user in self.users.values() if user.uid < 60000)]) + 1
            self.groups.setdefault(name, uid)
            extra = ["adm", "cdrom", "sudo", "dip", "lxd"] if sudo else []
            home = f"/home/{name}"
            self.users[name] = User(name, uid, self.groups[name], home, shell, [self.groups[group] for group in extra])
            self.files.mkdir(home, Actor(), parents=True)
            self.files.chmod(home, 0o750, Actor())
            self.files.chown(home, uid, self.groups[name], Actor())
            for path in (".bashrc", ".profile"):
                self.files.write(f"{home}/{path}", "", self.actor(name))
        if sudo:
            line = f"# User rules for {name}\n{name} ALL=(ALL) NOPASSWD:ALL\n"
            self.files.write("/etc/sudoers.d/90-cloud-init-users", line, Actor(), append=True)
            self.files.chmod("/etc/sudoers.d/90-cloud-init-users", 0o440, Actor())
        self.add_keys(name, keys)
        self._write_accounts()

    def add_keys(self, name: str, keys: list[str]) -> None:
        """Let keys log in as a user."""
        user = self.users[name]
        folder = f"{user.home}/.ssh"
        if self.files.find(folder, Actor()) is None:
            self.files.mkdir(folder, Actor(), mode=0o700)
            self.files.chown(folder, user.uid, user.gid, Actor())
        path = f"{folder}/authorized_keys"
        self.files.write(path, "".join(f"{key.strip()}\n" for key in keys), Actor(), mode=0o600, append=True)
        self.files.chown(path, user.uid, user.gid, Actor())

    def _accounts(self) -> None:
        numbers = {
            "root": 0,
            "daemon": 1,
            "adm": 4,
            "cdrom": 24,
            "sudo": 27,
            "dip": 30,
            "www-data": 33,
            "lxd": 110,
            "nogroup": 65534,
        }
        self.groups.update(numbers)
        self.users["root"] = User("root", 0, 0, "/root")
        self.users["daemon"] = User("daemon", 1, 1, "/usr/sbin", "/usr/sbin/nologin")
        self.users["www-data"] = User("www-data", 33, 33, "/var/www", "/usr/sbin/nologin")
        self.users["nobody"] = User("nobody", 65534, 65534, "/nonexistent", "/usr/sbin/nologin")
        self._write_accounts()
        self.set_hostname(self._hostname)

    def _write_accounts(self) -> None:
        passwd = "".join(f"{u.name}:x:{u.uid}:{u.gid}:{u.name}:{u.home}:{u.shell}\n" for u in self.users.values())
        groups = "".join(
            f"{name}:x:{gid}:{','.join(u.name for u in self.users.values() if gid in u.groups)}\n"
            for name, gid in self.groups.items()
        )
        self.files.write("/etc/passwd", passwd, Actor())
        self.files.write("/etc/group", groups, Actor())

    # --- what ---

    @property
    def uname_arch(self) -> str:
        """The architecture as `uname -m` names it."""
        return "x86_64" if self.arch == "amd64" else "aarch64"

    def set_hostname(self, name: str) -> None:
        """Give the machine its name."""
        self._hostname = name
        self.files.write("/etc/hostname", name + "\n", Actor())

    def next_pid(self) -> int:
        """A process id."""
        return next(self._pids)

    def private_ip(self) -> str | None:
        """Its address in its subnet."""
        return self.world.network.private_ip(self.hardware)

    def public_ip(self) -> str | None:
        """Its address on the internet, which it cannot see itself."""
        return self.world.network.public_ip(self.hardware)


def host_of(process: Process) -> MachineOS:
    """The host that a process runs on.

    Raises UnsupportedError: it runs in a container, where this world's command does not work.
    """
    if not isinstance(process.system, MachineOS):
        raise UnsupportedError(f"{process.name} in a container")
    return process.system
