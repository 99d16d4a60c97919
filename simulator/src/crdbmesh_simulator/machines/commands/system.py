"""Programs about the machine itself: uname, hostname, date, uptime, sysctl, modprobe, swapoff, timedatectl and kin."""

from __future__ import annotations

import datetime as dt
import re

from crdbmesh_simulator.machines.commands.table import parse, program
from crdbmesh_simulator.machines.commands.text import lines_of
from crdbmesh_simulator.machines.filesystem import Actor
from crdbmesh_simulator.machines.process import Process, UnsupportedError, UsageError, decode

KERNEL = "6.14.0-1012-azure"


@program("true", "sync", "clear")
def _true(process: Process, argv: list[str]) -> int:  # noqa: ARG001
    return 0


@program("false")
def _false(process: Process, argv: list[str]) -> int:  # noqa: ARG001
    return 1


@program("uname")
def _uname(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "asnrvmpio", {"all": "a", "kernel-name": "s", "nodename": "n", "kernel-release": "r",
                                            "machine": "m", "operating-system": "o"})  # fmt: skip
    arch = process.machine.uname_arch
    parts = {"s": "Linux", "n": process.machine.hostname, "r": KERNEL,
             "v": "#12~24.04.1-Ubuntu SMP Mon Jul 13 16:12:11 UTC 2026", "m": arch, "p": arch, "i": arch,
             "o": "GNU/Linux"}  # fmt: skip
    wanted = [key for key in parts if key in options or "a" in options] or ["s"]
    process.out(" ".join(parts[key] for key in wanted) + "\n")
    return 0


@program("hostname")
def _hostname(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "sfIid", {"short": "s", "fqdn": "f", "all-ip-addresses": "I", "long": "f"})
    machine = process.machine
    if options.operands:
        if process.actor.uid != 0:
            process.err("hostname: you must be root to change the host name\n")
            return 1
        if machine.hostname != options.operands[0]:
            process.act("hostname")
            machine.set_hostname(options.operands[0])
        return 0
    if "I" in options or "i" in options:
        process.out(f"{machine.private_ip() or ''} \n")
    else:
        process.out(("" if "d" in options else machine.hostname) + "\n")
    return 0


@program("hostnamectl")
def _hostnamectl(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "", {"static": "static", "transient": "transient", "pretty": "pretty"})
    machine = process.machine
    verb = options.operands[:1]
    if verb in (["set-hostname"], ["hostname"]) and len(options.operands) > 1:
        if process.actor.uid != 0:
            process.err("Could not set static hostname: Interactive authentication required.\n")
            return 1
        if machine.hostname != options.operands[1]:
            process.act("hostname")
            machine.set_hostname(options.operands[1])
            machine.files.write("/etc/hostname", machine.hostname + "\n", process.actor)
        return 0
    if verb == ["hostname"] or "static" in options:
        process.out(machine.hostname + "\n")
        return 0
    if verb not in ([], ["status"]):
        raise UnsupportedError(" ".join(argv))
    process.out(f" Static hostname: {machine.hostname}\n       Icon name: computer-vm\n         Chassis: vm\n"
                f"  Virtualization: microsoft\nOperating System: Ubuntu 24.04.3 LTS\n          Kernel: Linux {KERNEL}\n"
                f"    Architecture: {'x86-64' if machine.arch == 'amd64' else 'arm64'}\n")  # fmt: skip
    return 0


@program("date")
def _date(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "uId:s:R", {"utc": "u", "iso-8601=": "iso", "date=": "d", "universal": "u"})
    now = process.machine.world.clock.utc()
    if "s" in options or ("d" in options and not re.fullmatch(r"@\d+|now", options.get("d"))):
        raise UnsupportedError(" ".join(argv))
    if options.get("d").startswith("@"):
        now = dt.datetime.fromtimestamp(int(options.get("d")[1:]), dt.UTC)
    if "I" in options or "iso" in options:
        process.out(now.strftime("%Y-%m-%d" + ("T%H:%M:%S+00:00" if "second" in options.get("iso") else "")) + "\n")
        return 0
    form = next((word[1:] for word in options.operands if word.startswith("+")), "%a %b %e %H:%M:%S UTC %Y")
    form = form.replace("%s", str(int(now.timestamp()))).replace("%N", f"{now.microsecond:06d}000")
    form = form.replace("%F", "%Y-%m-%d").replace("%T", "%H:%M:%S").replace("%:z", "+00:00").replace("%3N", "000")
    process.out(now.strftime(form) + "\n")
    return 0


def _spelled(up_s: int) -> str:
    """How long, as `uptime -p` writes it."""
    parts = ((up_s // 86400, "day"), (up_s // 3600 % 24, "hour"), (up_s // 60 % 60, "minute"))
    return ", ".join(f"{count} {unit}{'s' * (count != 1)}" for count, unit in parts if count) or "0 minutes"


def _clocked(up_s: int) -> str:
    """How long, as `uptime` writes it."""
    days, hours, minutes = up_s // 86400, up_s // 3600 % 24, up_s // 60 % 60
    since = f"{hours:2}:{minutes:02}" if hours else f"{minutes} min"
    return f"{days} day{'s' * (days != 1)}, {since}" if days else since


@program("uptime")
def _uptime(process: Process, argv: list[str]) -> int:
    up = int(process.machine.uptime())
    if "-s" in argv:
        process.out((process.machine.world.clock.utc() - dt.timedelta(seconds=up)).strftime("%Y-%m-%d %H:%M:%S") + "\n")
    elif "-p" in argv:
        process.out(f"up {_spelled(up)}\n")
    else:
        now = process.machine.world.clock.utc().strftime("%H:%M:%S")
        process.out(f" {now} up {_clocked(up)},  1 user,  load average: 0.20, 0.15, 0.08\n")
    return 0


@program("nproc")
def _nproc(process: Process, argv: list[str]) -> int:  # noqa: ARG001
    process.out(f"{process.machine.hardware.vcpus}\n")
    return 0


@program("free")
def _free(process: Process, argv: list[str]) -> int:
    unit = {"-m": 1024, "-g": 1, "-b": 1024**3}.get(argv[1] if len(argv) > 1 else "", 1024**2)
    total = int(process.machine.hardware.memory_gib * unit)
    process.out("               total        used        free      shared  buff/cache   available\n"
                f"Mem:    {total:12d}{total // 10:12d}{total * 7 // 10:12d}"
                f"{0:12d}{total // 5:12d}{total * 9 // 10:12d}\n"
                f"Swap:   {0:12d}{0:12d}{0:12d}\n")  # fmt: skip
    return 0


@program("lsb_release")
def _lsb_release(process: Process, argv: list[str]) -> int:
    options = parse(
        argv[1:], "icrdas", {"id": "i", "codename": "c", "release": "r", "description": "d", "all": "a", "short": "s"}
    )
    parts = {"i": ("Distributor ID", "Ubuntu"), "d": ("Description", "Ubuntu 24.04.3 LTS"), "r": ("Release", "24.04"),
             "c": ("Codename", "noble")}  # fmt: skip
    for key, (name, value) in parts.items():
        if key in options or "a" in options:
            process.out(f"{value}\n" if "s" in options else f"{name}:\t{value}\n")
    return 0


@program("sysctl", folder="/usr/sbin")
def _sysctl(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "wnpeqa", {"system": "system", "load": "p", "values": "n", "quiet": "q", "write": "w"})
    settings = list(options.operands)
    if "p" in options or "system" in options:
        paths = [*process.machine.files.glob("/etc/sysctl.d/*.conf", Actor()), "/etc/sysctl.conf"]
        paths = (
            paths if "system" in options else [process.path(path) for path in options.operands] or ["/etc/sysctl.conf"]
        )
        settings = []
        for path in paths:
            process.out(f"* Applying {path} ...\n" if "system" in options else "")
            text = decode(process.machine.files.read(path, process.actor)) if process.find(path) else ""
            settings += [line.strip() for line in text.splitlines() if "=" in line and line.strip()[:1] not in "#;-"]
    status = 0
    for setting in settings:
        key, equals, value = (part.strip() for part in setting.partition("="))
        path = "/proc/sys/" + key.replace(".", "/")
        inode = process.machine.files.find(path, process.actor)
        if inode is None:
            process.err(f"sysctl: cannot stat {path}: No such file or directory\n")
            status = 1 if "e" not in options else status
            continue
        if equals:
            if process.actor.uid != 0:
                process.err(f'sysctl: permission denied on key "{key}"\n')
                return 1
            if decode(bytes(inode.content)).strip() != value:
                process.act(f"sysctl {key}")
            process.machine.files.write(path, value + "\n", process.actor)
        value = decode(process.machine.files.read(path, process.actor)).strip()
        process.out("" if "q" in options else f"{value}\n" if "n" in options else f"{key} = {value}\n")
    return status


@program("modprobe", "lsmod", "rmmod", folder="/usr/sbin")
def _modprobe(process: Process, argv: list[str]) -> int:
    machine = process.machine
    if argv[0] == "lsmod":
        process.out("Module                  Size  Used by\n")
        process.out("".join(f"{name:24s}32768  0\n" for name in sorted(machine.modules)))
        return 0
    options = parse(argv[1:], "arqv", {"all": "a", "remove": "r", "quiet": "q"})
    for name in (operand.replace("-", "_") for operand in options.operands):
        if process.actor.uid != 0:
            process.err(f"modprobe: ERROR: could not insert '{name}': Operation not permitted\n")
            return 1
        machine.modules.add(name)
        if name == "br_netfilter":
            machine.files.mkdir("/proc/sys/net/bridge", Actor(), parents=True)
            for key in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
                machine.files.write(f"/proc/sys/net/bridge/{key}", "1\n", Actor())
    return 0


@program("swapoff", "swapon", "mount", "umount", "sysctl-apply", folder="/usr/sbin")
def _swapoff(process: Process, argv: list[str]) -> int:
    if argv[0] == "mount" and len(argv) > 1:
        raise UnsupportedError(" ".join(argv))
    if argv[0] == "mount":
        process.out("/dev/root on / type ext4 (rw,relatime,discard,errors=remount-ro)\n")
    if argv[0] == "umount":
        process.err(f"umount: {argv[-1]}: not mounted.\n")
        return 32
    if argv[0] == "swapoff" and process.actor.uid != 0:
        process.err("swapoff: Not superuser.\n")
        return 1
    return 0


@program("timedatectl")
def _timedatectl(process: Process, argv: list[str]) -> int:
    now = process.machine.world.clock.utc()
    if argv[1:2] == ["show"]:
        properties = {"Timezone": "Etc/UTC", "LocalRTC": "no", "CanNTP": "yes", "NTP": "yes", "NTPSynchronized": "yes"}
        options = parse(argv[2:], "p:", {"property=": "p", "value": "value"})
        for key, value in properties.items():
            if not options.get("p") or key in options.all("p"):
                process.out(f"{value}\n" if "value" in options else f"{key}={value}\n")
        return 0
    if argv[1:] not in ([], ["status"], ["set-ntp", "true"]):
        raise UnsupportedError(" ".join(argv))
    stamp = f"{now:%a %Y-%m-%d %H:%M:%S} UTC"
    process.out(f"               Local time: {stamp}\n           Universal time: {stamp}\n"
                "                Time zone: Etc/UTC (UTC, +0000)\n"
                "System clock synchronized: yes\n              NTP service: active\n"
                if argv[1:2] != ["set-ntp"] else "")  # fmt: skip
    return 0


@program("chronyc")
def _chronyc(process: Process, argv: list[str]) -> int:
    words = [word for word in argv[1:] if word != "-n"]
    if words == ["tracking"]:
        process.out(
            "Reference ID    : 50484330 (PHC0)\nStratum         : 3\n"
            "System time     : 0.000000413 seconds fast of NTP time\n"
            "Last offset     : +0.000000612 seconds\nRMS offset      : 0.000001204 seconds\n"
            "Root delay      : 0.000000001 seconds\nRoot dispersion : 0.000009531 seconds\nLeap status     : Normal\n"
        )
        return 0
    if words[:1] == ["waitsync"]:
        return 0
    raise UnsupportedError(" ".join(argv))


@program("logger")
def _logger(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "t:p:i", {"tag=": "t"})
    tag = options.get("t") or process.machine.user_name(process.actor.uid)
    text = " ".join(options.operands) or decode(process.stdin.read())
    for line in lines_of(text.encode()):
        process.machine.systemd.log("", tag, line)
    return 0


@program("ps", "pgrep", "pkill", "pidof")
def _ps(process: Process, argv: list[str]) -> int:
    services = [service for service in process.machine.systemd.services.values() if service.pid]
    if argv[0] == "ps":
        if argv[1:] not in ([], ["aux"], ["-ef"], ["-e"], ["ax"]):
            raise UnsupportedError(" ".join(argv))
        process.out("    PID TTY          TIME CMD\n      1 ?        00:00:02 systemd\n")
        for service in services:
            words = " ".join(service.unit.all("Service.ExecStart")[-1:])
            process.out(f"{service.pid:7d} ?        00:00:01 {words}\n")
        return 0
    if argv[0] == "pkill":
        raise UnsupportedError(" ".join(argv))
    options = parse(argv[1:], "fxlaos", {})
    if not options.operands:
        raise UsageError("no matching criteria specified", 2)
    hits = [
        service
        for service in services
        if re.search(options.operands[0], " ".join(service.unit.all("Service.ExecStart")))
    ]
    process.out("".join(f"{service.pid}\n" for service in hits))
    return int(not hits)


@program("iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore", folder="/usr/sbin")
def _iptables(process: Process, argv: list[str]) -> int:
    if process.actor.uid != 0:
        process.err(f"{argv[0]}: Permission denied (you must be root)\n")
        return 4
    if argv[0].endswith("restore"):
        process.stdin.read()
    return 0


@program("ufw", folder="/usr/sbin")
def _ufw(process: Process, argv: list[str]) -> int:
    if process.actor.uid != 0:
        process.err("ERROR: You need to be root to run this script\n")
        return 1
    if argv[1:] not in (["status"], ["status", "verbose"], ["disable"]):
        raise UnsupportedError(" ".join(argv))
    process.out("Status: inactive\n" if argv[1] == "status" else "Firewall stopped and disabled on system startup\n")
    return 0
