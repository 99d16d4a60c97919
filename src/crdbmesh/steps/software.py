"""The downloads of every machine before k3s starts, each with the checksum that its project publishes."""

import hashlib
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from crdbmesh.clients.waiting import Say
from crdbmesh.desired import machine as hosts
from crdbmesh.engine.step import Gap
from crdbmesh.errors import RefusedError
from crdbmesh.spec.versions import Artifact
from crdbmesh.steps.base import MachineStep

DOWNLOAD_DEADLINE_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Software(MachineStep):
    """The k3s binary, its unit and, on servers, the Cilium chart; each with the checksum its project publishes."""

    def check(self) -> Gap | None:
        """Compare checksums on the machine."""
        wanted = self._wanted()
        found = self._checksums(wanted)
        absent = [f"lacks {path}" for path in wanted if path not in found]
        other = [f"has another {path}" for path, digest in wanted.items() if found.get(path, digest) != digest]
        return Gap(f"{self.machine.node} {', '.join([*absent, *other])}") if absent or other else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Have the machine download what it lacks, and keep it only if the checksum is right."""
        host = self.world.host(self.machine)
        wanted = self._artifacts()
        found = self._checksums(wanted)
        for path, artifact in wanted.items():
            if found.get(path) != artifact.sha256:
                say(f"downloading {artifact.url}")
                script = _download(artifact, path, mode="0755" if path == hosts.K3S_BINARY else "0644")
                deadline_s = self.world.deadline(DOWNLOAD_DEADLINE_S)
                host.run(script, sudo=True, timeout_s=deadline_s, describe=f"download {path}")
        unit = hosts.k3s_unit(self.region, self.machine).encode()
        if host.write_file(hosts.unit_path(self.region, self.machine), unit, mode=0o644):
            host.run("systemctl daemon-reload", sudo=True)

    def _wanted(self) -> dict[str, str]:
        unit = hosts.k3s_unit(self.region, self.machine).encode()
        digests = {path: artifact.sha256 for path, artifact in self._artifacts().items()}
        return {**digests, hosts.unit_path(self.region, self.machine): hashlib.sha256(unit).hexdigest()}

    def _checksums(self, paths: Iterable[str]) -> dict[str, str]:
        # sha256sum says on stderr what it cannot read, and goes on.
        command = f"sha256sum {shlex.join(paths)} 2>/dev/null || true"
        said = self.world.host(self.machine).run(command, sudo=True, timeout_s=120, describe="sha256sum").stdout
        parts = (line.partition("  ") for line in said.splitlines())
        return {path.strip(): digest for digest, _, path in parts}

    def _artifacts(self) -> dict[str, Artifact]:
        machine = self.world.host(self.machine).run("uname -m").stdout.strip()
        mesh = self.world.mesh
        k3s = mesh.versions.k3s
        if (binary := k3s.binary(machine)) is None:
            raise RefusedError(
                f"{self.machine.node} is {machine}; k3s {k3s.version} is pinned for {', '.join(k3s.sha256)}",
                hint="choose a VM size and image of one of these architectures",
            )
        wanted = {hosts.K3S_BINARY: binary}
        if self.machine in self.region.servers:
            wanted[hosts.chart_path(mesh)] = mesh.versions.cilium.chart
        return wanted


def _download(artifact: Artifact, path: str, *, mode: str) -> str:
    """Return the script of a download; a second one, beside it, does not disturb what it fetches."""
    damaged = f"{artifact.url} arrived damaged: SHA-256 {artifact.sha256} expected, ${{seen%% *}} seen; it is not used"
    return "\n".join(
        [
            "set -eu",
            f"mkdir -p {shlex.quote(path.rpartition('/')[0])}",
            f"part=$(mktemp {shlex.quote(f'{path}.XXXXXX')})",
            "trap 'rm -f \"$part\"' EXIT",
            f'curl -fsSL --proto =https --retry 5 --retry-delay 2 -o "$part" {shlex.quote(artifact.url)}',
            'seen=$(sha256sum < "$part")',
            f'test "$seen" = "{artifact.sha256}  -" || {{ echo "{damaged}" >&2; exit 1; }}',
            f'chmod {mode} "$part"',
            f'mv -f "$part" {shlex.quote(path)}',
        ]
    )
