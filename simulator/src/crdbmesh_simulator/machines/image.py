"""What the disk of a new machine holds: Azure's image of Ubuntu 24.04 LTS (`image.toml`), and facts of the machine."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from typing import Any

from crdbmesh_simulator import tables
from crdbmesh_simulator.filesystem import Actor, FileSystem
from crdbmesh_simulator.inodes import Inode
from crdbmesh_simulator.machines import internet

_IMAGE: dict[str, dict[str, Any]] = tables.read(__package__, "image")
_SBIN = ("modprobe",)
_UNIT = "[Unit]\nDescription={}\n\n[Service]\n{}\n[Install]\nWantedBy={}.target\n"
_STAGES = ("cloud-init-local", "cloud-init", "cloud-config", "cloud-final")


def install(files: FileSystem, commands: Iterable[str], *, vcpus: int, memory_gib: float) -> None:
    """Put the image, with these commands, on an empty disk."""
    root, kib = Actor(), int(memory_gib * 1024 * 1024)
    for path, mode in _IMAGE["folders"].items():
        files.mkdir(path, root, parents=True)
        files.chmod(path, int(mode, 8), root)
    for path, target in _IMAGE["links"].items():
        files.symlink(target, path, root)
    for device in ("null", "zero", "random", "urandom", "tty"):
        files.root.entries["dev"].entries[device] = Inode(0, stat.S_IFCHR | 0o666, 0, 0, 0.0)
    for name in commands:
        if name == "k3s":
            continue
        _program(files, f"{'/usr/sbin' if name in _SBIN else '/usr/bin'}/{name}", name)
    _program(files, "/usr/sbin/sshd", "ssh-daemon")
    for name, (description, path) in _IMAGE["daemons"].items():
        _program(files, path, f"{name}-daemon")
        service = f"Type=simple\nExecStart={path}\nRestart=on-failure\n"
        _write(files, f"/usr/lib/systemd/system/{name}.service", _UNIT.format(description, service, "multi-user"))
        _enable(files, f"{name}.service", "multi-user")
    for stage in _STAGES:
        text = _UNIT.format(f"Cloud-init: {stage}", "Type=oneshot\nRemainAfterExit=yes\n", "cloud-init")
        _write(files, f"/usr/lib/systemd/system/{stage}.service", text)
        _enable(files, f"{stage}.service", "cloud-init")
    _enable(files, "ssh.socket", "sockets")
    free, available = kib * 7 // 10, kib * 9 // 10
    texts = {
        **_IMAGE["texts"],
        "/proc/cpuinfo": "".join(f"processor\t: {one}\nmodel name\t: Simulated CPU\n\n" for one in range(vcpus)),
        "/proc/meminfo": f"MemTotal:       {kib} kB\nMemFree:        {free} kB\nMemAvailable:   {available} kB\n"
        "SwapTotal:             0 kB\nSwapFree:              0 kB\n",
    }
    for path, text in texts.items():
        _write(files, path, text)
    files.chmod("/etc/sudoers", 0o440, root)
    boot_kernel(files)


def boot_kernel(files: FileSystem) -> None:
    """What a boot makes of the kernel's settings: its own values, and what systemd-sysctl reads (sysctl.d(5))."""
    for name, value in _IMAGE["sysctl"].items():
        _write(files, f"/proc/sys/{name}", f"{value}\n")
    for path in files.glob("/etc/sysctl.d/*.conf", Actor()):
        apply_sysctl(files, files.read(path, Actor()).decode())


def apply_sysctl(files: FileSystem, text: str) -> str | None:
    """Set what the lines of a file say; return the first setting that there is not."""
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        path = f"/proc/sys/{name.strip().replace('.', '/')}"
        if equals and not line.startswith(("#", ";")):
            if files.find(path, Actor()) is None:
                return name.strip().replace(".", "/")
            _write(files, path, f"{value.strip()}\n")
    return None


def empty_volatile(files: FileSystem) -> None:
    """What a boot does to /run and the kernel's settings, in memory, and to /tmp, which systemd-tmpfiles empties."""
    boot_kernel(files)
    root = Actor()
    for folder, kept in _IMAGE["volatile"].items():
        for name in files.names(folder, root):
            if name not in kept:
                files.remove(f"{folder}/{name}", root, recursive=True)


def _write(files: FileSystem, path: str, text: str | bytes) -> None:
    files.mkdir(path.rpartition("/")[0], Actor(), parents=True)
    files.write(path, text, Actor())


def _program(files: FileSystem, path: str, name: str) -> None:
    _write(files, path, internet.executable(internet.Program(name)))
    files.chmod(path, 0o4755 if name == "sudo" else 0o755, Actor())


def _enable(files: FileSystem, unit: str, target: str) -> None:
    folder = f"/etc/systemd/system/{target}.target.wants"
    files.mkdir(folder, Actor(), parents=True)
    files.symlink(f"/usr/lib/systemd/system/{unit}", f"{folder}/{unit}", Actor())
