"""The machines: public address, network interface, VM, the host behind it, and its downloads before k3s starts."""

import functools
import hashlib
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from crdbmesh.clients.azure import compare, kinds
from crdbmesh.clients.ssh.connect import read_host_key
from crdbmesh.clients.waiting import Say
from crdbmesh.desired import azure as desired
from crdbmesh.desired import backup, disks, hardening
from crdbmesh.desired import machine as hosts
from crdbmesh.engine.step import Gap
from crdbmesh.errors import HostError, RefusedError, WaitError
from crdbmesh.local import contents
from crdbmesh.observe import machines, resource, serving
from crdbmesh.observe.resource import Observed
from crdbmesh.run.world import lost_folder
from crdbmesh.spec import documents
from crdbmesh.spec.versions import Artifact
from crdbmesh.steps import rollout, secrets
from crdbmesh.steps.base import MachineStep, ResourceStep

BOOT_DEADLINE_S = 600.0
DOWNLOAD_DEADLINE_S = 900.0


class Address(MachineStep, ResourceStep):
    """A machine's public address."""

    kind = kinds.PUBLIC_IP

    def observe(self) -> Observed:
        """Judge the public IP as it is."""
        return machines.address(self.world, self.machine)


class Nic(MachineStep, ResourceStep):
    """A machine's network interface."""

    kind = kinds.NIC

    def observe(self) -> Observed:
        """Judge the interface as it is."""
        return machines.nic(self.world, self.machine)


class AvailabilitySet(ResourceStep):
    """The region's availability set, where its machines are in no zones: a VM joins one at its creation only."""

    kind = kinds.AVAILABILITY_SET

    def observe(self) -> Observed:
        """Judge the set as it is; there is nothing to want where machines are in zones."""
        return machines.availability_set(self.world, self.region) or Observed("availability set", {})


class VirtualMachine(MachineStep, ResourceStep):
    """A machine's VM, running."""

    kind = kinds.VM

    def observe(self) -> Observed:
        """Judge the VM as it is; one that was made with another login key than ours is of no use."""
        seen = machines.vm(self.world, self.machine)
        if seen.found is not None and seen.refusal is None:
            public = self.world.login_key().public
            if not machines.accepts_key(seen.found, public):
                raise lost_folder(seen.title)
        return seen

    def check(self) -> Gap | None:
        """Judge the VM as it is; one that runs restarts when its size changes."""
        seen = self.observe()
        gap = seen.gap()
        return gap and replace(gap, restarts=(self.machine.node,) if self._resizes(seen.found) else ())

    def _resizes(self, found: Mapping[str, Any] | None) -> bool:
        return bool(found and machines.is_running(found) and machines.other_size(found, self.machine))

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Create it, or change its size, tags or data disks and start it again; the rest of it stays as it is."""
        seen = self.observe()
        world, session, group = self.world, self.world.session, self.world.group
        if seen.found is None:
            secrets.make(world)
            world.renew_host_key(self.machine)
            key = world.host_key(self.machine)
            body = desired.virtual_machine(
                world.mesh,
                self.machine,
                session.subscription_id,
                zone=world.zone_of(self.machine),
                login_key=world.login_key().public,
                cloud_init=hosts.cloud_init(world.mesh, host_key=key.private, host_key_public=key.public),
                disks=disks.attached(world.mesh, self.machine, session.subscription_id),
                trusted=desired.can_be_trusted(world.mesh, world.capabilities(self.machine)),
            )
            body |= backup.lacking_identity(world.mesh, session.subscription_id, None)
            world.record(kinds.DISK.type, body["properties"]["storageProfile"]["osDisk"]["name"])
            world.record(self.kind.type, seen.name)
            self.kind.ensure(session, group, seen.name, body=body, say=say)
            return
        is_settled = seen.found["properties"].get("provisioningState") == "Succeeded"
        identity = backup.lacking_identity(world.mesh, session.subscription_id, seen.found)
        if identity or not is_settled or compare.differences(resource.judged(seen.wanted), seen.found):
            merged = compare.merge(seen.found.get("tags"), seen.wanted["tags"], "tags")
            body = {**seen.wanted, **identity, "tags": merged}
            if profile := seen.wanted["properties"].get("storageProfile"):
                # A PATCH replaces the list: other people's disks stay in it.
                listed = compare.merge(
                    {"dataDisks": seen.found["properties"]["storageProfile"].get("dataDisks")}, profile
                )
                body["properties"] = {**body["properties"], "storageProfile": listed}
            options = kinds.unless_changed(seen.found)
            change = functools.partial(self.kind.update, session, group, seen.name, body=body, say=say, **options)
            if self._resizes(seen.found):
                self._resize(change, say)
            else:
                change()
        if is_settled and not machines.is_running(seen.found):
            kinds.start_vm(session, group, seen.name, say=say)

    def _resize(self, change: Callable[[], object], say: Say) -> None:
        """Resize a VM that runs, which restarts it; under a database that serves, it is drained first."""
        node = self.machine.node
        with rollout.one(self.world, self.machine, f"{node} is resized", say):
            if not serving.is_initialised(self.world):
                change()
                return
            with rollout.drained(self.world, self.machine, say):
                change()


class HostReady(MachineStep):
    """The host answers SSH with a key that we know, lets us in, and its first boot is done.

    From layout 2 on it has then made itself another host key: that of its birth is in its custom data, which Azure
    keeps for its life (Microsoft Learn, "Custom data and cloud-init": "Do not pass any secrets").
    """

    def check(self) -> Gap | None:
        """Log in and ask cloud-init."""
        if not_yet := self._booting():
            return Gap(not_yet)
        if self._exchanges and not self.world.folder.read(contents.own_host_key(self.machine.node)):
            return Gap(f"{self.machine.node} has the host key of its birth")
        return None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Wait until SSH lets us in, then until cloud-init has ended."""
        host = self.world.host(self.machine)
        host.wait_ready(self.world.deadline(BOOT_DEADLINE_S), say)

        def probe() -> tuple[bool | None, str]:
            not_yet = self._booting()
            return (None, not_yet) if not_yet else (True, "")

        awaited = f"the first boot of {self.machine.node} (cloud-init)"
        self.world.wait_until(probe, awaited=awaited, deadline_s=BOOT_DEADLINE_S, say=say)
        # Not before cloud-init is done: it would write the key of its birth once more.
        if self._exchanges and not self.world.folder.read(contents.own_host_key(self.machine.node)):
            say("exchanging its host key")
            self._exchange_host_key()

    def _booting(self) -> str | None:
        """Say what keeps the first boot from being over; None when it is."""
        try:
            host = self.world.host(self.machine)
            done = host.run("cloud-init status --format json", check=False, timeout_s=60, describe="cloud-init status")
        except (HostError, WaitError) as error:
            return str(error)
        status = _cloud_init_status(done.stdout)
        # An error in some module of the image's own does not keep us from logging in and going on.
        return None if status in {"done", "error", "disabled"} else f"{self.machine.node}: cloud-init is {status}"

    @property
    def _exchanges(self) -> bool:
        return self.world.mesh.layout > 1

    def _exchange_host_key(self) -> None:
        """Have the machine make itself a host key, and know it by that one only once it has shown it.

        Before it can show the key we have its public half, so that a run that dies here is followed by one that is
        let in by either.
        """
        world, node = self.world, self.machine.node
        made = world.host(self.machine).run(_MAKE_HOST_KEY, sudo=True, describe="make a host key").stdout.strip()
        read_host_key(made)
        world.folder.append(contents.next_host_keys(node), made)
        world.forget_host(self.machine)
        world.host(self.machine).run(_TAKE_HOST_KEY, sudo=True, describe="take the new host key")
        world.forget_host(self.machine)
        shown = world.host(self.machine).shown_host_key()
        if shown != read_host_key(made):
            raise HostError(f"{node} still shows its earlier host key", hint="look at sshd's journal there")
        world.folder.write(contents.own_host_key(node), f"{made}\n")
        world.folder.delete(contents.next_host_keys(node))
        world.forget_host(self.machine)


class Software(MachineStep):
    """The k3s binary, its unit, what k3s reads as it starts and, on servers, the Cilium chart, by their checksums.

    The binary of a node that runs another version is left to the rollout (`k3s.Member`): a reboot would run a new one.
    """

    def check(self) -> Gap | None:
        """Compare checksums on the machine, also of what the kernel says of its settings."""
        wanted = {path: artifact.sha256 for path, artifact in self._artifacts().items()}
        texts = {**self._files(), **hardening.kernel(self.world.mesh)}
        wanted |= {path: hashlib.sha256(text.encode()).hexdigest() for path, text in texts.items()}
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
                download(self, artifact, path, say)
        for path, text in self._files().items():
            changed = host.write_file(path, text.encode(), mode=0o644)
            if changed and path == hosts.unit_path(self.region, self.machine):
                host.run("systemctl daemon-reload", sudo=True)
        if hardening.kernel(self.world.mesh):
            host.run(f"sysctl -q -p {hardening.SYSCTL}", sudo=True)

    def _files(self) -> dict[str, str]:
        unit = {hosts.unit_path(self.region, self.machine): hosts.k3s_unit(self.region, self.machine)}
        return {**unit, **hardening.files(self.world.mesh, self.region, self.machine)}

    def _checksums(self, paths: Iterable[str]) -> dict[str, str]:
        # sha256sum says on stderr what it cannot read, and goes on.
        command = f"sha256sum {shlex.join(paths)} 2>/dev/null || true"
        said = self.world.host(self.machine).run(command, sudo=True, timeout_s=120, describe="sha256sum").stdout
        parts = (line.partition("  ") for line in said.splitlines())
        return {path.strip(): digest for digest, _, path in parts}

    def _artifacts(self) -> dict[str, Artifact]:
        binary, mesh = k3s_binary(self), self.world.mesh
        wanted = {} if machines.other_k3s(self.world, self.machine) else {hosts.K3S_BINARY: binary}
        if self.machine in self.region.servers:
            wanted[hosts.chart_path(mesh)] = mesh.versions.cilium.chart
        return wanted


def k3s_binary(step: MachineStep) -> Artifact:
    """Return the download of a machine's k3s; raise RefusedError when none is pinned for its architecture."""
    machine, k3s = step.world.host(step.machine).run("uname -m").stdout.strip(), step.world.mesh.versions.k3s
    if (binary := k3s.binary(machine)) is None:
        reason = f"{step.machine.node} is {machine}; k3s {k3s.version} is pinned for {', '.join(k3s.sha256)}"
        raise RefusedError(reason, hint="choose a VM size and image of one of these architectures")
    return binary


def download(step: MachineStep, artifact: Artifact, path: str, say: Say) -> None:
    """Have a machine download a file, and keep it only if its checksum is right."""
    say(f"downloading {artifact.url}")
    script = _download(artifact, path, mode="0755" if path == hosts.K3S_BINARY else "0644")
    deadline_s = step.world.deadline(DOWNLOAD_DEADLINE_S)
    step.world.host(step.machine).run(script, sudo=True, timeout_s=deadline_s, describe=f"download {path}")


_MAKE_HOST_KEY = """set -eu
cd /etc/ssh
rm -f crdbmesh_next crdbmesh_next.pub
ssh-keygen -q -t ed25519 -N '' -C "$(hostname)" -f crdbmesh_next
cat crdbmesh_next.pub
"""
_TAKE_HOST_KEY = """set -eu
cd /etc/ssh
mv -f crdbmesh_next.pub ssh_host_ed25519_key.pub
mv -f crdbmesh_next ssh_host_ed25519_key
systemctl restart ssh
"""
"""A restart of sshd leaves the sessions that are open (`KillMode=process` in its unit)."""


def _cloud_init_status(stdout: str) -> str:
    try:
        return str(documents.read_json(stdout).get("status", "unknown"))
    except (ValueError, AttributeError):
        return "unclear"


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
