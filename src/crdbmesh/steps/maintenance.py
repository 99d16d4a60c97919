"""Keeps machines patched: the packages of their distribution, and a reboot where these, or the operator, ask for one.

k3s renews its certificates only when it starts (docs.k3s.io, "k3s certificate"), so a reboot renews them too.
"""

from dataclasses import dataclass

from crdbmesh.clients.waiting import Say
from crdbmesh.engine.step import Gap
from crdbmesh.errors import HostError
from crdbmesh.steps import rollout
from crdbmesh.steps.base import MachineStep

UPGRADE_DEADLINE_S = 1800.0
BOOT_DEADLINE_S = 900.0

_APT = "DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -q -o DPkg::Lock::Timeout=600"
_LOOK = f"""set -eu
{_APT} update >/dev/null
{_APT} -s --with-new-pkgs upgrade
if test -e /run/reboot-required; then echo reboot; fi
"""
_UPGRADE = f"{_APT} -y --with-new-pkgs -o Dpkg::Options::=--force-confold upgrade"
_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Patched(MachineStep):
    """A machine has the patches of its distribution and runs with them; with `reboots` it has rebooted in this run."""

    reboots: bool = False

    def check(self) -> Gap | None:
        """Ask the package manager, and whether a reboot is due."""
        before, now = self.world.once(f"boot/{self.machine.node}", self._boot_id), self._boot_id()
        packages, due = self._look()
        parts = []
        if packages:
            more = ", …" if len(packages) > _NAMED else ""
            parts.append(f"{len(packages)} packages can be upgraded ({', '.join(packages[:_NAMED])}{more})")
        if due or (self.reboots and now == before):
            parts.append("a reboot is due" if due else "a reboot is asked for")
        return Gap(f"{self.machine.node}: {'; '.join(parts)}") if parts else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Upgrade the packages; then, where a reboot is due, drain the machine and reboot it."""
        host, node = self.world.host(self.machine), self.machine.node
        with rollout.one(self.world, self.machine, f"{node} is maintained", say):
            say("upgrading packages")
            deadline_s = self.world.deadline(UPGRADE_DEADLINE_S)
            host.run(_UPGRADE, sudo=True, timeout_s=deadline_s, describe="apt-get upgrade")
            before = self.world.once(f"boot/{node}", self._boot_id)
            if not self._look()[1] and not (self.reboots and self._boot_id() == before):
                return
            with rollout.drained(self.world, self.machine, say):
                self._reboot(say)

    def _reboot(self, say: Say) -> None:
        host, before = self.world.host(self.machine), self._boot_id()
        say("rebooting")
        host.run("systemctl reboot --no-block", sudo=True)

        def probe() -> tuple[bool | None, str]:
            try:
                now = self._boot_id()
            except HostError as error:
                host.close()
                return None, str(error)
            return (True, "") if now != before else (None, "it has not gone down yet")

        awaited = f"{self.machine.node} to come back from its reboot"
        self.world.wait_until(probe, awaited=awaited, deadline_s=BOOT_DEADLINE_S, say=say)

    def _look(self) -> tuple[list[str], bool]:
        """Return the packages that can be upgraded, and whether a reboot is due."""
        said = self.world.host(self.machine).run(_LOOK, sudo=True, timeout_s=900, describe="apt-get update").stdout
        lines = said.splitlines()
        return [line.split()[1] for line in lines if line.startswith("Inst ")], lines[-1:] == ["reboot"]

    def _boot_id(self) -> str:
        return self.world.host(self.machine).run(_BOOT_ID, timeout_s=30).stdout.strip()
