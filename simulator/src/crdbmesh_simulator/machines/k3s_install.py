"""What the k3s installation script of get.k3s.io does, when a shell is given it (docs.k3s.io)."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from crdbmesh_simulator.machines import internet
from crdbmesh_simulator.machines.filesystem import Actor
from crdbmesh_simulator.machines.process import Buffer, Bytes, Process, decode

_UNIT = """\
[Unit]
Description=Lightweight Kubernetes
Documentation=https://k3s.io
Wants=network-online.target
After=network-online.target

[Install]
WantedBy=multi-user.target

[Service]
Type={type}
EnvironmentFile=-/etc/default/%N
EnvironmentFile=-/etc/sysconfig/%N
EnvironmentFile=-{env_file}
KillMode=process
Delegate=yes
User=root
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart={bin_dir}/k3s \\
    {command}

"""
_KILLALL = """\
#!/bin/sh
[ $(id -u) -eq 0 ] || exec sudo $0 $@
for service in /etc/systemd/system/k3s*.service; do
    [ -s $service ] && systemctl stop $(basename $service)
done
rm -rf /run/k3s /var/lib/cni
"""
_UNINSTALL = """\
#!/bin/sh
[ $(id -u) -eq 0 ] || exec sudo $0 $@
{bin_dir}/k3s-killall.sh
systemctl disable {name}
systemctl reset-failed {name}
rm -f {systemd_dir}/{name}.service {systemd_dir}/{name}.service.env
systemctl daemon-reload
for cmd in kubectl crictl ctr; do
    if [ -L {bin_dir}/$cmd ]; then
        rm -f {bin_dir}/$cmd
    fi
done
rm -rf /etc/rancher/k3s /run/k3s /run/flannel /var/lib/rancher/k3s /var/lib/kubelet
rm -f {bin_dir}/k3s {bin_dir}/k3s-killall.sh {bin_dir}/{name}-uninstall.sh
"""


class _Stop(Exception):  # noqa: N818
    """The script ended with an exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(slots=True)
class _Plan:
    command: str
    arguments: list[str]
    name: str
    bin_dir: str
    systemd_dir: str

    @property
    def unit(self) -> str:
        return f"{self.systemd_dir}/{self.name}.service"

    @property
    def hashed(self) -> tuple[str, ...]:
        return (f"{self.bin_dir}/k3s", self.unit, f"{self.unit}.env")


def run(process: Process, arguments: list[str]) -> int:
    """Run the script with its arguments and environment."""
    try:
        _Installer(process).run(arguments)
    except _Stop as stop:
        return stop.status
    return 0


class _Installer:
    def __init__(self, process: Process) -> None:
        self._process = process
        self._env = process.env

    def run(self, arguments: list[str]) -> None:
        plan = self._plan([*shlex.split(self._env.get("INSTALL_K3S_EXEC", "")), *arguments])
        before = self._hashes(plan)
        self._download(plan)
        self._info("Skipping installation of SELinux RPM")
        self._links(plan)
        self._scripts(plan)
        self._root(["systemctl", "disable", plan.name], quiet=True)
        self._root(["rm", "-f", plan.unit, f"{plan.unit}.env"])
        self._unit(plan)
        self._start(plan, before)

    def _plan(self, words: list[str]) -> _Plan:
        url = self._env.get("K3S_URL", "")
        if not words or words[0].startswith("-"):
            command = "agent" if url else "server"
            if url and not (self._env.get("K3S_TOKEN") or self._env.get("K3S_TOKEN_FILE")):
                self._fatal("Defaulted k3s exec command to 'agent' because K3S_URL is defined, but K3S_TOKEN or "
                            "K3S_TOKEN_FILE is not defined.")  # fmt: skip
        else:
            command, *words = words
        if url and not url.startswith("https://"):
            self._fatal(f"Only https:// URLs are supported for K3S_URL (have {url})")
        given = self._env.get("INSTALL_K3S_NAME")
        name = f"k3s-{given}" if given else "k3s" if command == "server" else f"k3s-{command}"
        return _Plan(command, words, name, self._env.get("INSTALL_K3S_BIN_DIR") or "/usr/local/bin",
                     self._env.get("INSTALL_K3S_SYSTEMD_DIR") or "/etc/systemd/system")  # fmt: skip

    def _download(self, plan: _Plan) -> None:
        files, binary = self._process.machine.files, f"{plan.bin_dir}/k3s"
        if self._env.get("INSTALL_K3S_SKIP_DOWNLOAD") in ("true", "binary"):
            self._info("Skipping k3s download and verify")
            inode = files.find(binary, Actor())
            if inode is None or not inode.permissions & 0o111:
                self._fatal(f"Executable k3s binary not found at {binary}")
            return
        version, arch = self._version(), self._process.machine.arch
        self._info(f"Using {version} as release")
        hash_url, url = internet.checksum_url(version, arch), internet.k3s_url(version, arch)
        self._info(f"Downloading hash {hash_url}")
        expected = decode(self._fetch(hash_url)).split(" ")[0]
        inode = files.find(binary, Actor())
        if inode is not None and inode.digest == expected:
            self._info("Skipping binary downloaded, installed k3s matches hash")
            return
        self._info(f"Downloading binary {url}")
        content = self._fetch(url)
        self._info("Verifying binary download")
        got = internet.sha256(content)
        if got != expected:
            self._fatal(f"Download sha256 does not match {expected}, got {got}")
        self._info(f"Installing k3s to {binary}")
        self._write(binary, content, "0755")

    def _version(self) -> str:
        if self._env.get("INSTALL_K3S_COMMIT") or self._env.get("INSTALL_K3S_PR"):
            self._process.machine.world.not_known("ssh", "k3s installer: builds of commits and pull requests")
            self._fatal("Download failed")
        given = self._env.get("INSTALL_K3S_VERSION")
        if given:
            return given
        channel = self._env.get("INSTALL_K3S_CHANNEL") or "stable"
        self._info(f"Finding release for channel {channel}")
        base = self._env.get("INSTALL_K3S_CHANNEL_URL") or "https://update.k3s.io/v1-release/channels"
        output = Buffer()
        status = self._process.run(
            ["curl", "-w", "%{url_effective}", "-sSfL", f"{base}/{channel}", "-o", "/dev/null"], stdout=output
        )
        if status:
            self._fatal("Download failed")
        return decode(bytes(output.data)).rpartition("/")[2]

    def _fetch(self, url: str) -> bytes:
        output = Buffer()
        if self._process.run(["curl", "-sfL", url], stdout=output, stdin=Bytes()):
            self._fatal("Download failed")
        return bytes(output.data)

    def _links(self, plan: _Plan) -> None:
        if self._env.get("INSTALL_K3S_SYMLINK") == "skip":
            return
        for name in ("kubectl", "crictl", "ctr"):
            path = f"{plan.bin_dir}/{name}"
            if self._process.machine.files.find(path, Actor(), follow=False) is None:
                self._info(f"Creating {path} symlink to k3s")
                self._root(["ln", "-sf", "k3s", path])
            else:
                self._info(f"Skipping {path} symlink to k3s, already exists")

    def _scripts(self, plan: _Plan) -> None:
        killall, uninstall = f"{plan.bin_dir}/k3s-killall.sh", f"{plan.bin_dir}/{plan.name}-uninstall.sh"
        self._info(f"Creating killall script {killall}")
        self._write(killall, _KILLALL.encode(), "0755")
        self._info(f"Creating uninstall script {uninstall}")
        text = _UNINSTALL.format(bin_dir=plan.bin_dir, name=plan.name, systemd_dir=plan.systemd_dir)
        self._write(uninstall, text.encode(), "0755")

    def _unit(self, plan: _Plan) -> None:
        self._info(f"env: Creating environment file {plan.unit}.env")
        kept = [
            f"{key}={shlex.quote(value)}"
            for key, value in sorted(self._env.items())
            if re.match(r"(K3S|CONTAINERD)_", key) or re.match(r"(NO|HTTP|HTTPS)_PROXY", key, re.IGNORECASE)
        ]
        self._write(f"{plan.unit}.env", "".join(f"{line}\n" for line in kept).encode(), "0600")
        self._info(f"systemd: Creating service file {plan.unit}")
        command = plan.command + " \\\n" + "".join(f"\t{shlex.quote(word)} \\\n" for word in plan.arguments)
        text = _UNIT.format(type=self._env.get("INSTALL_K3S_TYPE") or "notify", env_file=f"{plan.unit}.env",
                            bin_dir=plan.bin_dir, command=command)  # fmt: skip
        self._write(plan.unit, text.encode(), "0644")

    def _start(self, plan: _Plan, before: list[str | None]) -> None:
        if self._env.get("INSTALL_K3S_SKIP_ENABLE") == "true":
            return
        self._info(f"systemd: Enabling {plan.name} unit")
        self._root(["systemctl", "enable", plan.unit])
        self._root(["systemctl", "daemon-reload"])
        if self._env.get("INSTALL_K3S_SKIP_START") == "true":
            return
        if before == self._hashes(plan) and self._env.get("INSTALL_K3S_FORCE_RESTART") != "true":
            self._info("No change detected so skipping service start")
            return
        self._info(f"systemd: Starting {plan.name}")
        self._root(["systemctl", "restart", plan.name])

    def _hashes(self, plan: _Plan) -> list[str | None]:
        found = [self._process.machine.files.find(path, Actor()) for path in plan.hashed]
        return [inode.digest if inode else None for inode in found]

    def _write(self, path: str, content: bytes, mode: str) -> None:
        self._root(["tee", path], stdin=Bytes(content), quiet=True)
        self._root(["chmod", mode, path])

    def _root(self, argv: list[str], *, quiet: bool = False, stdin: Bytes | None = None) -> None:
        words = argv if self._process.actor.uid == 0 else ["sudo", *argv]
        changes: dict[str, object] = {"stdin": stdin or Bytes()}
        if quiet:
            changes |= {"stdout": Buffer(), "stderr": Buffer()}
        status = self._process.run(words, **changes)
        if status and not quiet:
            raise _Stop(status)

    def _info(self, message: str) -> None:
        self._process.out(f"[INFO]  {message}\n")

    def _fatal(self, message: str) -> None:
        self._process.err(f"[ERROR]  {message}\n")
        raise _Stop(1)
