"""Judges what only a machine itself says of its safety: Secrets encrypted, snapshots of etcd taken, the clock kept.

Sources: docs.k3s.io, `k3s secrets-encrypt` and `k3s etcd-snapshot`; chronyc(1), `tracking` with `-c`.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from crdbmesh.desired.cockroach import max_offset_ms
from crdbmesh.desired.hardening import SNAPSHOT_HOURS
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Machine

STALE = timedelta(hours=2 * SNAPSHOT_HOURS + 1)
_LOOK = "k3s secrets-encrypt status; k3s etcd-snapshot ls; chronyc -c tracking"


def read(world: World, machine: Machine) -> list[str]:
    """Say what is wrong with a server, each with its remedy."""
    said = world.host(machine).run(f"{{ {_LOOK}; }} 2>&1", sudo=True, check=False).stdout
    return [f"{machine.node}: {one}" for one in judge(said, datetime.now(UTC), max_offset_ms(world.mesh) / 2)]


def judge(said: str, now: datetime, most_ms: float) -> Iterator[str]:
    """Judge what the three programs said. A server without a snapshot is young, and takes its first within hours."""
    if "Encryption Status: Enabled" not in said:
        status = re.search(r"Encryption Status: (.*)", said)
        remedy = "`k3s secrets-encrypt enable` on one server, restart k3s on each, then `reencrypt --force --skip`"
        yield f"Secrets are not encrypted ({status[1] if status else 'k3s does not say'}): {remedy}"
    taken = [datetime.fromisoformat(at) for at in re.findall(r"file://\S+ +\d+ +(\S+)$", said, re.MULTILINE)]
    if taken and now - max(taken) > STALE:
        age = (now - max(taken)).total_seconds() / 3600
        yield f"the last snapshot of etcd is {age:.0f} hours old: see `journalctl -u k3s` for why it takes none"
    clock = re.search(r"^[0-9A-F]{8},(?:[^,\n]*,){3}([^,\n]+),.*,([^,\n]+)$", said, re.MULTILINE)
    if clock is None:
        yield "chrony does not tell its clock: `systemctl restart chrony`"
    elif clock[2] != "Normal" or abs(float(clock[1])) * 1000 > most_ms:
        off = f"{float(clock[1]) * 1000:+.0f} ms off, {clock[2].lower()}"
        yield f"its clock is {off}: `chronyc sources` must show PHC0, the clock of Azure's host"
