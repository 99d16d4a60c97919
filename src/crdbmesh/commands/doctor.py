"""`crdbmesh doctor`: every check that can be made before the first write; writes nothing."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crdbmesh.checks import catalog
from crdbmesh.checks.base import Found, Level, Remark, Verdict, refusal
from crdbmesh.checks.catalog import Check, judge
from crdbmesh.checks.facts import Facts
from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.cloud import Cloud
from crdbmesh.commands import specs, status
from crdbmesh.errors import ConfigError, CrdbmeshError
from crdbmesh.local.folder import LocalFolder
from crdbmesh.observe import firewall
from crdbmesh.spec.mesh import Mesh

NAME = "crdbmesh"
"""The mesh whose local folder is checked when no mesh is given."""


@dataclass(frozen=True, slots=True)
class DoctorResult:
    """The result of `doctor`: the verdicts in the catalog's order, and the spec, or None when no regions are given."""

    mesh: Mesh | None
    verdicts: list[Verdict]

    @property
    def ok(self) -> bool:
        """Return True when no check refuses."""
        return not any(verdict.refused for verdict in self.verdicts)

    def count(self, level: Level) -> int:
        """Return the number of checks that ended at that level."""
        return sum(verdict.level is level for verdict in self.verdicts)

    def document(self) -> dict[str, Any]:
        """Return the result as `--output json` prints it."""
        return {
            "command": "doctor",
            "mesh": self.mesh.name if self.mesh else None,
            "regions": [region.name for region in self.mesh.regions] if self.mesh else [],
            "ok": self.ok,
            **{level.value: self.count(level) for level in Level if level is not Level.OK},
            "checks": [_verdict_document(verdict) for verdict in self.verdicts],
        }


def find_mesh(given: specs.Given, cloud: Cloud, root: Path) -> Mesh | None:
    """Return the spec, or None when no regions are given: half of the checks need none. Raises as `specs.choose`."""
    try:
        return specs.choose(given, cloud, root)
    except ConfigError as error:
        absent = [(finding.field, finding.value) for finding in error.findings] == [("regions", "(absent)")]
        if absent and given.file is None:
            return None
        raise


def run_doctor(mesh: Mesh | None, cloud: Cloud, folder: LocalFolder) -> DoctorResult:
    """Make every check, unless interrupted; write nothing, neither to the cloud nor here.

    Without a spec, checks that need it are skipped. The local folder need not exist.
    """
    try:
        session = Session(cloud)
    except CrdbmeshError as error:
        return DoctorResult(mesh, catalog.look(Facts(mesh, folder, cloud, error)))
    with session:
        facts = Facts(mesh, folder, cloud, session)
        verdicts = catalog.look(facts)
        if mesh is not None and verdicts[0].level is not Level.REFUSED:
            verdicts += [judge(check, facts) for check in _ASKED]
        return DoctorResult(mesh, verdicts)


def _rules(facts: Facts) -> Iterator[Remark]:
    """Find what `up` asks about: other people's firewall rules that let in more than the spec."""
    wider = firewall.find_all_wider(facts.world)
    yield Found("none of others lets in more than the spec" if not wider else "let in more than the spec")
    for rule, said in wider.items():
        yield refusal("rule", rule, f"{said} lets in more than the spec", firewall.KEEP_OR_PRUNE)


def _runs(facts: Facts) -> Iterator[Remark]:
    """Find another run, for which `up` would not start."""
    held = status.worked_on(facts.world)
    yield Found("none is at work" if held is None else "one is at work")
    if held is not None:
        yield refusal("lease", facts.mesh.name, held, "wait until it ends; `up` names the lease, and how to break it")


_ASKED = (Check("rules", "Firewall rules", _rules), Check("runs", "Other runs", _runs))
"""The checks that `up` makes by asking or by taking the lease."""


def _verdict_document(verdict: Verdict) -> dict[str, Any]:
    found = [(Level.REFUSED, one) for one in verdict.refused] + [(Level.WARNING, one) for one in verdict.warnings]
    return {
        "check": verdict.check,
        "title": verdict.title,
        "level": verdict.level.value,
        "found": verdict.found,
        "findings": [{"level": level.value, **asdict(finding)} for level, finding in found],
    }
