"""apt-get, apt, dpkg and snap, as far as installing goes: it needs a way to the internet and takes time."""

from __future__ import annotations

from crdbmesh_simulator.machines.commands.table import parse, program
from crdbmesh_simulator.machines.process import Process, UnsupportedError

_INSTALLED = {"curl", "wget", "openssh-server", "openssh-client", "sudo", "systemd", "cloud-init", "ca-certificates",
              "apt-transport-https", "iptables", "chrony", "python3", "bash", "coreutils", "gnupg", "lsb-release",
              "ufw",
              "software-properties-common", "iproute2", "kmod", "procps", "tar", "gzip", "openssl"}  # fmt: skip
_AVAILABLE = {"jq", "nfs-common", "open-iscsi", "socat", "conntrack", "ipset", "ipvsadm", "net-tools", "dnsutils",
              "unzip",
              "htop", "git", "vim", "tmux", "wireguard", "wireguard-tools", "make", "python3-pip", "bind9-dnsutils",
              "linux-modules-extra-azure", "xfsprogs", "netcat-openbsd", "iputils-ping", "bash-completion"}  # fmt: skip


@program("apt-get", "apt")
def _apt(process: Process, argv: list[str]) -> int:
    options = parse(
        argv[1:],
        "yqo:fV",
        {
            "yes": "y",
            "assume-yes": "y",
            "quiet": "q",
            "no-install-recommends": "no",
            "allow-downgrades": "no",
            "fix-missing": "no",
            "reinstall": "no",
            "purge": "no",
        },
    )
    verb, *names = options.operands or [""]
    machine = process.machine
    if process.actor.uid != 0:
        process.err("E: Could not open lock file /var/lib/apt/lists/lock - open (13: Permission denied)\n"
                    "E: Unable to lock directory /var/lib/apt/lists/\n")  # fmt: skip
        return 100
    if verb in ("update", "upgrade", "dist-upgrade", "full-upgrade"):
        if not machine.world.network.has_egress(machine.hardware):
            process.sleep(30.0)
            process.err("W: Failed to fetch http://azure.archive.ubuntu.com/ubuntu/dists/noble/InRelease  "
                        "Could not connect to azure.archive.ubuntu.com:80, connection timed out\n")  # fmt: skip
            return 0
        process.sleep(6.0)
        process.out("Reading package lists...\n")
        return 0
    if verb in ("clean", "autoclean", "autoremove"):
        return 0
    if verb == "install":
        return _install(process, names)
    if verb in ("remove", "purge"):
        for name in names:
            if name in machine.packages:
                machine.packages.discard(name)
                process.act(f"remove {name}")
        return 0
    raise UnsupportedError(" ".join(argv))


def _install(process: Process, names: list[str]) -> int:
    machine = process.machine
    wanted = [name.partition("=")[0] for name in names]
    unknown = [name for name in wanted if name not in _INSTALLED | _AVAILABLE]
    for name in unknown:
        process.err(f"E: Unable to locate package {name}\n")
        machine.world.not_known("ssh", f"apt-get install {name}")
    if unknown:
        return 100
    new = [name for name in wanted if name not in _INSTALLED and name not in machine.packages]
    if new and not machine.world.network.has_egress(machine.hardware):
        process.sleep(30.0)
        process.err(
            "E: Failed to fetch http://azure.archive.ubuntu.com/ubuntu/pool/  Could not connect, connection timed out\n"
            "E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?\n"
        )
        return 100
    process.sleep(3.0 * len(new))
    for name in new:
        machine.packages.add(name)
        process.act(f"install {name}")
        process.out(f"Setting up {name} ...\n")
    process.out(f"0 upgraded, {len(new)} newly installed, 0 to remove and 0 not upgraded.\n")
    return 0


@program("dpkg", "dpkg-query")
def _dpkg(process: Process, argv: list[str]) -> int:
    if argv[1:] == ["--print-architecture"]:
        process.out(f"{process.machine.arch}\n")
        return 0
    if argv[1:2] not in (["-s"], ["-l"], ["--status"]) or len(argv) < 3:
        raise UnsupportedError(" ".join(argv))
    status = 0
    for name in argv[2:]:
        if name in _INSTALLED | process.machine.packages:
            process.out(f"Package: {name}\nStatus: install ok installed\n" if argv[1] != "-l" else f"ii  {name}\n")
        else:
            process.err(f"dpkg-query: package '{name}' is not installed and no information is available\n")
            status = 1
    return status
