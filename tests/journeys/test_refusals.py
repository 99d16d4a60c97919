"""What cannot be changed in place is refused with the reason and the way; what can be is not; init runs once."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import time
from typing import Any

import pytest

from crdbmesh.checks.existing import existing
from crdbmesh.checks.facts import Facts
from crdbmesh.clients import database
from crdbmesh.engine import plan, run
from crdbmesh.engine.step import Event, Outcome, Step
from crdbmesh.errors import Finding, KubeError, RefusedError
from crdbmesh.local import contents
from crdbmesh.local.folder import SPEC
from crdbmesh.observe import database as observed
from crdbmesh.run.world import World
from crdbmesh.spec import load as config
from crdbmesh.spec import names
from crdbmesh.steps import catalog, cockroach, initialise

MARKER = "/api/v1/namespaces/{0}/configmaps/cockroachdb-init"


def findings(world: Any, regions: list[Any], **document: Any) -> list[Finding]:
    with world.open(world.mesh(regions, **document)) as run_world:
        return list(existing(Facts.of(run_world)))


def bad(results: dict[str, Any]) -> dict[str, str]:
    return {name: result.detail for name, result in results.items() if not result.outcome.good}


def region(name: str, place: int, **more: Any) -> dict[str, Any]:
    """A region with the address plan of that place in the list, written out."""
    ranges = {"vnet": f"10.{place}.0.0/16", "pods": f"10.{100 + place}.0.0/16", "services": f"10.{200 + place}.0.0/16"}
    return {"name": name, "cluster_id": place, **ranges, **more}


EAST2: dict[str, Any] = {"name": "eastus", "machines": 2}
CONTRADICTIONS: dict[str, tuple[list[Any], dict[str, Any], str, str, str]] = {
    # what is changed: regions, the rest, then the finding's field, part of its reason, part of its remedy
    "a region left out": ([EAST2], {}, "regions", "crdbmesh-westus-1", "node decommission"),
    "a region renamed": (
        [EAST2, "northeurope"],
        {},
        "regions",
        "northeurope is new, and a region cannot",
        "end of the",
    ),
    "the first region left out": (["westus"], {}, "regions", "crdbmesh-eastus-1, crdbmesh-eastus-2", "crdbmesh down"),
    "a region in the middle": (
        [EAST2, "northeurope", "westus"],
        {},
        "regions[2]",
        "VNet 10.2.0.0/16 to 10.3.0.0/16",
        "eastus,westus,northeurope",
    ),
    "a region in front": (
        ["northeurope", EAST2, "westus"],
        {},
        "regions[0]",
        "first region is eastus",
        "eastus,westus,nor",
    ),
    "another order": (["westus", EAST2], {}, "regions[1]", "Cilium cluster id 1 to 2", "eastus,westus"),
    "another base": ([EAST2, "westus"], {"network": {"base": "172.16.0.0/12"}}, "regions[1]", "VNet", "crdbmesh down"),
    "another subnet": (
        [{**EAST2, "subnet": "10.1.2.0/24"}, "westus"],
        {},
        "regions[0]",
        "subnet 10.1.1.0/24",
        "SQL BACKUP",
    ),
    "another cluster id": (
        [EAST2, {"name": "westus", "cluster_id": 7}],
        {},
        "regions[1]",
        "cluster id 2 to 7",
        "put its",
    ),
    "other services": (
        [EAST2, {"name": "westus", "services": "10.77.0.0/16"}],
        {},
        "regions[1]",
        "services",
        "put its",
    ),
    "fewer machines": (["eastus", "westus"], {}, "machines", "crdbmesh-eastus-2", "decommission"),
    "an agent that becomes a server": ([{**EAST2, "machines": 3}, "westus"], {}, "machines", "agent", "made anew"),
    "another architecture": (
        [{**EAST2, "size": "Standard_D4ps_v5"}, "westus"],
        {},
        "machines.size",
        "Arm64",
        "one at a",
    ),
    "another controller": ([EAST2, "westus"], {"size": "Standard_D4s_v6"}, "machines.size", "NVMe", "of its kind"),
    "another zone": ([{**EAST2, "zones": ["3"]}, "westus"], {}, "regions.zones", "zone 1", "one at a time"),
    "a smaller disk": ([EAST2, "westus"], {"disk_gib": 64}, "machines.disk_gib", "cannot make a disk smaller", "back"),
    "a greater disk": ([EAST2, "westus"], {"disk_gib": 256}, "machines.disk_gib", "128 GiB", "deallocate"),
    "another user": (
        [EAST2, "westus"],
        {"ssh": {"user": "somebody"}},
        "ssh.user",
        "made with the user crdbmesh",
        "back",
    ),
    "another port": ([EAST2, "westus"], {"ssh": {"port": 2345}}, "ssh.port", "first boot", "put `ssh.port"),
    "another group": ([EAST2, "westus"], {"group": "elsewhere"}, "group", "are in crdbmesh", "group: crdbmesh"),
}


@pytest.mark.long
def test_a_spec_that_contradicts_the_world_is_refused_and_one_that_adds_to_it_is_not(world: Any) -> None:
    mesh = world.mesh([EAST2, "westus"])
    assert not bad(world.up(mesh))
    world.home().write(SPEC, config.dump(mesh))
    assert findings(world, [EAST2, "westus"]) == []

    for what, (regions, changes, field, reason, remedy) in CONTRADICTIONS.items():
        machines = {key: changes[key] for key in ("size", "disk_gib") if key in changes}
        rest = {key: value for key, value in changes.items() if key not in machines}
        ssh = {"port": world.cloud().ssh_port, **rest.pop("ssh", {})}
        base = world.mesh(["eastus"]).model_dump(mode="json", exclude_none=True)
        document = {**base, "regions": regions, "machines": {"per_region": 1, **machines}, "ssh": ssh, **rest}
        with world.open(config.mesh(document)) as run_world:
            found = list(existing(Facts.of(run_world)))
        fitting = [one for one in found if one.field == field and reason in one.reason and remedy in one.remedy]
        assert fitting, f"{what}: {[str(one) for one in found]}"

    # Without the kept spec too, for what Azure knows.
    world.home().delete(SPEC)
    assert [one.field for one in findings(world, [EAST2, "westus"], ssh={"port": 2345})] == ["ssh.port"]
    world.home().write(SPEC, config.dump(mesh))

    # What a changed spec means inside the clusters is refused by the steps that look there.
    services, pods = {"name": "westus", "services": "10.77.0.0/16"}, {"name": "westus", "pods": "10.78.0.0/16"}
    for step, spec, symptom in [
        ("westus/node1/k3s", [EAST2, services], "service-cidr is 10.202.0.0/16, the spec says 10.77.0.0/16"),
        ("westus/node1/k3s", [EAST2, pods], "cluster-cidr"),
        ("westus/cilium", [EAST2, {"name": "westus", "cluster_id": 7}], "the cluster id is 2, the spec says 7"),
    ]:
        refused = surveyed(world, spec)[step]
        assert symptom in refused.detail
        assert "SQL BACKUP" in (refused.hint or "")
    refused = surveyed(world, [EAST2, "westus"], cockroach={"replicas": 1})["eastus/cockroachdb"]
    assert "eastus has 2 CockroachDB pods, the spec says 1" in refused.detail
    assert "cockroachdb-1 first" in (refused.hint or "")
    refused = surveyed(world, [EAST2, "westus"], cockroach={"storage_gib": 10})["westus/cockroachdb"]
    assert "volumes are 60Gi, the spec says 10Gi" in refused.detail
    status, _ = world.kube("eastus", "DELETE", "/apis/apps/v1/namespaces/eastus/statefulsets/cockroachdb")
    assert status == 200
    refused = surveyed(world, [EAST2, "westus"], cockroach={"replicas": 1})["eastus/cockroachdb"]
    assert "eastus has 2 CockroachDB pods" in refused.detail, "a StatefulSet that was deleted left its volumes"

    # A third region at the end and one more machine are no contradiction, and nothing else changes.
    before = world.kube("westus", "GET", MARKER.format("westus"))[1]["data"]
    larger = [EAST2, {"name": "westus", "machines": 2}, "northeurope"]
    assert findings(world, larger) == []
    assert not bad(world.up(world.mesh(larger)))
    health = world.status(world.mesh(larger))
    assert not health.degraded, health
    assert health.cluster_ids == (before["cluster-id"],)
    assert world.kube("northeurope", "GET", MARKER.format("northeurope"))[1]["data"] == before


def surveyed(world: Any, regions: list[Any], **document: Any) -> dict[str, Any]:
    """What `plan` finds that cannot be done, by step. Steps that wait for those are not looked at."""
    with world.open(world.mesh(regions, **document)) as run_world:
        found = plan.survey(plan.order(catalog.steps(run_world)), workers=16)
    return {name: one for name, one in found.items() if getattr(one, "outcome", None) is Outcome.FAILED}


def before_init(run_world: World) -> list[Step]:
    """The catalog's steps up to the one that initialises the cluster."""
    return [*itertools.takewhile(lambda step: step.name != "mesh/init", catalog.steps(run_world))]


def until_it_holds(world: Any, mesh: Any, notify: Any = lambda _event: None) -> None:
    """`up`, again while pods that were told of other seeds are being replaced."""
    for _ in range(6):
        failed = bad(world.up(mesh, notify=notify))
        if not failed:
            return
    raise AssertionError(failed)


@pytest.mark.long
def test_init_runs_once_whatever_is_lost_and_whichever_region_comes_first(world: Any) -> None:
    regions = [region("eastus", 1), region("westus", 2)]
    mesh, reversed_mesh = world.mesh(regions, patience=0.04), world.mesh(regions[::-1], patience=0.04)
    said: list[str] = []

    def note(event: Event) -> None:
        said.append(event.text)

    # Whoever claimed the target first decides; a spec with another first region follows.
    with world.open(mesh) as run_world:
        steps = before_init(run_world)
        assert not bad(run.run(plan.order(steps), workers=32, notify=note))
        claim = initialise.Initialised(name="mesh/init", world=run_world)
        with pytest.raises(RefusedError, match="not one node of this spec"):
            claim._target({"eastus": {"target": "gone:26257"}, "westus": {}})
        claim._claim(observed.address_of("westus", 0), {"eastus": {}, "westus": {}})
        with pytest.raises(KubeError, match="another run") as caught:
            claim._claim(observed.address_of("eastus", 0), {"eastus": {}, "westus": {}})
        assert caught.value.retryable
    assert not bad(world.up(mesh, notify=note))
    assert [text for text in said if text.startswith("cockroach init on")] == [
        "cockroach init on cockroachdb-0.cockroachdb.westus.svc.cluster.local:26257"
    ]
    first = world.status(mesh).cluster_ids
    assert len(first) == 1
    assert world.home().read(contents.CLUSTER_ID) == first[0]

    # Lost markers are written again, also by a spec with another first region; nothing is initialised.
    said.clear()
    for spec in (mesh, reversed_mesh):
        for name in ("eastus", "westus"):
            assert world.kube(name, "DELETE", MARKER.format(name))[0] == 200
        until_it_holds(world, spec, note)
    assert not [text for text in said if text.startswith("cockroach init on")]
    assert world.status(mesh).cluster_ids == first
    until_it_holds(world, mesh, note)

    # Lost volumes are no reason to begin anew: with the markers, and with nothing but the local folder's word.
    for name in ("eastus", "westus"):
        world.kube(name, "DELETE", f"/apis/apps/v1/namespaces/{name}/statefulsets/cockroachdb")
        world.kube(name, "DELETE", f"/api/v1/namespaces/{name}/pods/cockroachdb-0")
        world.kube(name, "DELETE", f"/api/v1/namespaces/{name}/persistentvolumeclaims/datadir-cockroachdb-0")
    assert "the volumes are gone" in bad(world.up(mesh))["mesh/proof"]
    for name in ("eastus", "westus"):
        world.kube(name, "DELETE", MARKER.format(name))
    failed = bad(world.up(mesh, notify=note))
    assert first[0] in failed["mesh/init"]
    assert "begins an empty cluster" in {r.step: r.hint or "" for r in world.up(mesh).values()}["mesh/init"]
    assert not [text for text in said if text.startswith("cockroach init on")]

    # Once that is said, it is done, and a region of another cluster is not taken in.
    world.home().delete(contents.CLUSTER_ID)
    until_it_holds(world, world.mesh(regions))
    second = world.status(mesh).cluster_ids
    assert len(second) == 1
    assert second != first


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Apart(cockroach.Pods):
    """The StatefulSet's step, for a cluster of another name."""

    def objects(self) -> list[Any]:
        (workload,) = cockroach.Pods.objects(self)
        container = workload["spec"]["template"]["spec"]["containers"][0]
        change = functools.partial(str.replace, container["command"][-1])
        container["command"] = [*container["command"][:-1], change("--cluster-name=crdbmesh", "--cluster-name=another")]
        return [workload]


def test_regions_that_were_initialised_apart_are_never_marked_as_one_cluster(world: Any) -> None:
    mesh = world.mesh(["eastus", "westus"], patience=0.04)
    with world.open(mesh) as run_world:
        steps = before_init(run_world)
        west = next(step for step in steps if step.name == "westus/cockroachdb")
        fields = {field.name: getattr(west, field.name) for field in dataclasses.fields(west)}
        steps = [Apart(**fields) if step is west else step for step in steps]
        assert not bad(run.run(plan.order(steps), workers=32, notify=lambda _event: None))
        kube = run_world.kube("eastus")
        for name, cluster in (("eastus", "crdbmesh"), ("westus", "another")):
            database.initialise(kube, "eastus", target=observed.address_of(name, 0), cluster_name=cluster)
        deadline = time.monotonic() + 30
        while any(observed.read_states(run_world).values()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        init = initialise.Initialised(name="mesh/init", world=run_world)
        gap = init.check()
        assert gap is not None
        with pytest.raises(RefusedError, match="not one CockroachDB cluster"):
            init.apply(gap, lambda _text: None)
    for name in ("eastus", "westus"):
        assert world.kube(name, "GET", MARKER.format(name))[0] == 404
    assert names.INIT_MARKER in MARKER
