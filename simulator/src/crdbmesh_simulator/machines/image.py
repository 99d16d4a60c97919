"""What the disk of a new machine holds: the Ubuntu 24.04 LTS image of Azure, as far as commands can see it."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping

from crdbmesh_simulator.filesystem import Actor, FileSystem
from crdbmesh_simulator.inodes import Inode
from crdbmesh_simulator.machines import internet

_FOLDERS = {
    "/boot": 0o755, "/dev": 0o755, "/etc": 0o755, "/etc/default": 0o755, "/etc/ssh": 0o755, "/etc/cloud": 0o755,
    "/etc/ssh/sshd_config.d": 0o755, "/etc/sudoers.d": 0o750, "/etc/sysctl.d": 0o755, "/etc/modules-load.d": 0o755,
    "/etc/systemd/system/multi-user.target.wants": 0o755, "/etc/systemd/system/sockets.target.wants": 0o755,
    "/etc/systemd/system/ssh.service.requires": 0o755, "/etc/apt/sources.list.d": 0o755, "/etc/cron.d": 0o755,
    "/etc/netplan": 0o755, "/home": 0o755, "/mnt": 0o755, "/opt": 0o755, "/proc": 0o555, "/proc/sys": 0o555,
    "/proc/self": 0o555, "/root": 0o700, "/run": 0o755, "/run/lock": 0o1777, "/run/systemd/resolve": 0o755,
    "/srv": 0o755,
    "/sys": 0o555, "/sys/class/net/eth0": 0o755, "/sys/class/net/lo": 0o755, "/sys/fs/cgroup": 0o755,
    "/sys/fs/bpf": 0o700, "/tmp": 0o1777,  # noqa: S108 - in a simulated machine
    "/usr/bin": 0o755, "/usr/sbin": 0o755, "/usr/lib/systemd/system": 0o755,
    "/usr/local/bin": 0o755, "/usr/local/sbin": 0o755, "/usr/share": 0o755, "/usr/lib/modules": 0o755,
    "/var/lib": 0o755, "/var/lib/cloud": 0o755, "/var/log": 0o775, "/var/tmp": 0o1777,  # noqa: S108 - in a simulated machine
    "/var/mail": 0o2775,
    "/etc/rancher": 0o755,
}  # fmt: skip

_VOLATILE: Mapping[str, tuple[str, ...]] = {
    "/tmp": (), "/run": ("lock", "systemd"), "/run/lock": (), "/run/systemd": ("resolve",),  # noqa: S108 - as above
}  # fmt: skip

_SYSCTL = {
    "net/ipv4/ip_forward": "0", "net/ipv4/conf/all/forwarding": "0", "net/ipv6/conf/all/forwarding": "0",
    "net/ipv4/conf/all/rp_filter": "2", "net/ipv4/conf/default/rp_filter": "2", "net/core/somaxconn": "4096",
    "net/core/rmem_max": "212992", "net/core/wmem_max": "212992", "net/ipv4/tcp_syncookies": "1",
    "net/ipv4/ip_unprivileged_port_start": "1024", "net/ipv4/ip_local_port_range": "32768\t60999",
    "net/ipv6/conf/all/disable_ipv6": "0", "net/ipv6/conf/default/disable_ipv6": "0",
    "net/netfilter/nf_conntrack_max": "262144", "vm/swappiness": "60", "vm/overcommit_memory": "0",
    "vm/max_map_count": "1048576", "vm/panic_on_oom": "0", "kernel/panic": "0", "kernel/panic_on_oops": "0",
    "kernel/pid_max": "4194304", "fs/inotify/max_user_instances": "128", "fs/inotify/max_user_watches": "65536",
    "fs/file-max": "9223372036854775807",
}  # fmt: skip

OS_RELEASE = """\
PRETTY_NAME="Ubuntu 24.04.3 LTS"
NAME="Ubuntu"
VERSION_ID="24.04"
VERSION="24.04.3 LTS (Noble Numbat)"
VERSION_CODENAME=noble
ID=ubuntu
ID_LIKE=debian
HOME_URL="https://www.ubuntu.com/"
SUPPORT_URL="https://help.ubuntu.com/"
BUG_REPORT_URL="https://bugs.launchpad.net/ubuntu/"
PRIVACY_POLICY_URL="https://www.ubuntu.com/legal/terms-and-policies/privacy-policy"
UBUNTU_CODENAME=noble
LOGO=ubuntu-logo
"""

_SBIN = ("modprobe",)
_DAEMONS = {
    "chrony": ("chrony, an NTP client/server", "/usr/sbin/chronyd"),
    "cron": ("Regular background program processing daemon", "/usr/sbin/cron"),
    "dbus": ("D-Bus System Message Bus", "/usr/bin/dbus-daemon"),
    "rsyslog": ("System Logging Service", "/usr/sbin/rsyslogd"),
    "snapd": ("Snap Daemon", "/usr/lib/snapd/snapd"),
    "systemd-networkd": ("Network Configuration", "/usr/lib/systemd/systemd-networkd"),
    "systemd-resolved": ("Network Name Resolution", "/usr/lib/systemd/systemd-resolved"),
    "unattended-upgrades": (
        "Unattended Upgrades Shutdown",
        "/usr/share/unattended-upgrades/unattended-upgrade-shutdown",
    ),
    "walinuxagent": ("Azure Linux Agent", "/usr/sbin/waagent"),
}
_STAGES = ("cloud-init-local", "cloud-init", "cloud-config", "cloud-final")

_SSH_SOCKET = """\
[Unit]
Description=OpenBSD Secure Shell server socket
Before=sockets.target ssh.service
ConditionPathExists=!/etc/ssh/sshd_not_to_be_run

[Socket]
ListenStream=0.0.0.0:22
ListenStream=[::]:22
BindIPv6Only=ipv6-only
Accept=no
FreeBind=yes

[Install]
WantedBy=sockets.target
RequiredBy=ssh.service
"""
_SSH_SERVICE = """\
[Unit]
Description=OpenBSD Secure Shell server
After=network.target auditd.service

[Service]
EnvironmentFile=-/etc/default/ssh
ExecStart=/usr/sbin/sshd -D $SSHD_OPTS
ExecReload=/bin/kill -HUP $MAINPID
KillMode=process
Restart=on-failure
Type=notify

[Install]
WantedBy=multi-user.target
Alias=sshd.service
"""
_SSHD_CONFIG = """\
Include /etc/ssh/sshd_config.d/*.conf
KbdInteractiveAuthentication no
UsePAM yes
X11Forwarding yes
PrintMotd no
AcceptEnv LANG LC_*
Subsystem sftp /usr/lib/openssh/sftp-server
"""


def install(files: FileSystem, commands: Iterable[str], *, vcpus: int, memory_gib: float) -> None:
    """Put the image, with these commands, on an empty disk."""
    root = Actor()
    for path, mode in _FOLDERS.items():
        files.mkdir(path, root, parents=True)
        files.chmod(path, mode, root)
    for name in ("bin", "sbin", "lib"):
        files.symlink(f"usr/{name}", f"/{name}", root)
    files.symlink("/run", "/var/run", root)
    for device in ("null", "zero", "random", "urandom", "tty"):
        files.root.entries["dev"].entries[device] = Inode(0, stat.S_IFCHR | 0o666, 0, 0, 0.0)
    for name in commands:
        _program(files, f"{'/usr/sbin' if name in _SBIN else '/usr/bin'}/{name}", name)
    for name, (description, path) in _DAEMONS.items():
        _program(files, path, f"{name}-daemon")
        _unit(files, name, f"[Unit]\nDescription={description}\n\n[Service]\nType=simple\nExecStart={path}\n"
                           "Restart=on-failure\n"
                           "\n[Install]\nWantedBy=multi-user.target\n", enabled="multi-user.target.wants")  # fmt: skip
    _program(files, "/usr/sbin/sshd", "ssh-daemon")
    for stage in _STAGES:
        _unit(files, stage, f"[Unit]\nDescription=Cloud-init: {stage}\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"
                            "\n[Install]\nWantedBy=cloud-init.target\n", enabled="cloud-init.target.wants")  # fmt: skip
    _unit(files, "ssh", _SSH_SERVICE)
    _unit(files, "ssh.socket", _SSH_SOCKET, enabled="sockets.target.wants")
    _texts(files, vcpus, memory_gib, root)


def empty_volatile(files: FileSystem) -> None:
    """What a boot does to /run, which is in memory, and to /tmp, which systemd-tmpfiles empties on Ubuntu."""
    root = Actor()
    for folder, kept in _VOLATILE.items():
        for name in files.names(folder, root):
            if name not in kept:
                files.remove(f"{folder}/{name}", root, recursive=True)


def _texts(files: FileSystem, vcpus: int, memory_gib: float, root: Actor) -> None:
    cpuinfo = "".join(f"processor\t: {number}\nmodel name\t: Simulated CPU\n\n" for number in range(vcpus))
    kib = int(memory_gib * 1024 * 1024)
    texts: Mapping[str, str] = {
        "/usr/lib/os-release": OS_RELEASE,
        "/etc/issue": "Ubuntu 24.04.3 LTS \\n \\l\n\n",
        "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "/etc/timezone": "Etc/UTC\n",
        "/etc/fstab": "LABEL=cloudimg-rootfs\t/\text4\tdiscard,commit=30,errors=remount-ro\t0 1\n",

               "/etc/hosts": "127.0.0.1 localhost\n\n::1 ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\n",

               "/run/systemd/resolve/stub-resolv.conf": "nameserver 127.0.0.53\nsearch internal.cloudapp.net\n",
        "/run/systemd/resolve/resolv.conf": "nameserver 168.63.129.16\nsearch internal.cloudapp.net\n",
        "/etc/ssh/sshd_config": _SSHD_CONFIG,
        "/etc/ssh/sshd_config.d/60-cloudimg-settings.conf": "PasswordAuthentication no\n",
        "/etc/sysctl.conf": "",
        "/proc/cpuinfo": cpuinfo,
        "/proc/meminfo": f"MemTotal:       {kib} kB\nMemFree:        {kib * 7 // 10} kB\n"
        f"MemAvailable:   {kib * 9 // 10} kB\n"
                         "SwapTotal:             0 kB\nSwapFree:              0 kB\n",
        "/proc/mounts": "/dev/root / ext4 rw,relatime,discard,errors=remount-ro 0 0\n",
        "/proc/swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
        "/proc/version": "Linux version 6.14.0-1012-azure\n",
        "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n",
        "/sys/class/net/eth0/mtu": "1500\n",
    }  # fmt: skip
    for path, text in texts.items():
        files.write(path, text, root)
    for key, value in _SYSCTL.items():
        path = f"/proc/sys/{key}"
        files.mkdir(path.rpartition("/")[0], root, parents=True)
        files.write(path, value + "\n", root)
    files.symlink("../usr/lib/os-release", "/etc/os-release", root)
    files.symlink("../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf", root)
    files.symlink("/proc/mounts", "/etc/mtab", root)
    files.write("/etc/sudoers", "Defaults\tenv_reset\nroot\tALL=(ALL:ALL) ALL\n%sudo\tALL=(ALL:ALL) ALL\n"
                "@includedir /etc/sudoers.d\n",
                root)  # fmt: skip
    files.chmod("/etc/sudoers", 0o440, root)


def _program(files: FileSystem, path: str, name: str) -> None:
    root = Actor()
    files.mkdir(path.rpartition("/")[0], root, parents=True)
    files.write(path, internet.executable(internet.Program(name)), root)
    files.chmod(path, 0o4755 if name == "sudo" else 0o755, root)


def _unit(files: FileSystem, name: str, text: str, *, enabled: str = "") -> None:
    root = Actor()
    full = name if name.endswith(".socket") else f"{name}.service"
    files.write(f"/usr/lib/systemd/system/{full}", text, root)
    if enabled:
        files.mkdir(f"/etc/systemd/system/{enabled}", root, parents=True)
        files.symlink(f"/usr/lib/systemd/system/{full}", f"/etc/systemd/system/{enabled}/{full}", root)
