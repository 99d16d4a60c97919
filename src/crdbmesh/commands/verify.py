"""`crdbmesh verify`: proof from inside the pods of every region, and the likely cause of what falls short."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from crdbmesh.commands import aim as aims
from crdbmesh.commands import rows
from crdbmesh.local.birth import Aim
from crdbmesh.observe import evidence, proof
from crdbmesh.observe.proof import KINDS, Claim, Readings
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Mesh


@dataclass(frozen=True, slots=True)
class Proof:
    """The proof of a mesh."""

    mesh: Mesh
    aim: Aim
    readings: Readings

    @property
    def failures(self) -> list[Claim]:
        """The claims that fall short."""
        return [claim for claim in self.readings.claims if claim.seen is not None]

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return how many of how many are good, by kind of claim; what was not looked at is left out."""
        found = {kind: [claim for claim in self.readings.claims if claim.kind == kind] for kind in KINDS}
        return {
            kind: (sum(one.good for one in claims), sum(one.wanted for one in claims))
            for kind, claims in found.items()
            if claims
        }

    def document(self) -> dict[str, Any]:
        """Return the result as `--output json` prints it."""
        read, names = self.readings, [region.name for region in self.mesh.all_regions()]
        counts, rtt_ms = self.counts(), read.rtt_ms
        return {
            "command": "verify",
            "mesh": self.mesh.name,
            **self.aim.document(),
            "failed": len(self.failures),
            "claims": [{"claim": kind, "good": good, "wanted": wanted} for kind, (good, wanted) in counts.items()],
            "failures": [
                {"claim": one.kind, "source": one.source, "target": one.target, "seen": one.seen, "cause": one.cause}
                for one in self.failures
            ],
            "rtt_ms": {one: {to: round(rtt_ms[one, to], 2) for to in names if (one, to) in rtt_ms} for one in names},
            "clock_offset_ms": {region: round(offset, 3) for region, offset in read.offsets_ms.items()},
            "certificates": [
                {"region": region, "name": name, "ends": ends.isoformat()} for (region, name), ends in read.ends.items()
            ],
        }


def run_verify(world: World, *, stop: threading.Event, told: aims.Told = aims.untold) -> Proof:
    """Prove a mesh. `told` takes what the command is aimed at; once `stop` is set, nothing new is begun.

    The world must not end with `stop`: what this writes, a database of its own, it drops in the end.
    """
    aim = aims.require(world.session, world.folder, world.mesh.name, told)
    readings = proof.read(world, stop, partial(rows.read, world))
    failed = [claim for claim in readings.claims if claim.seen is not None]
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="evidence") as pool:
        causes = dict(zip(map(id, failed), pool.map(partial(evidence.find_cause, world), failed), strict=True))
    readings.claims = [replace(claim, cause=causes.get(id(claim))) for claim in readings.claims]
    return Proof(world.mesh, aim, readings)
