"""For each link of the chain: break just that, and see `up` or `status` say so, at the step and with its symptom.

A link is broken either in the world, through a door, or in the desired state, by a step that wants something else than
the catalog's. Nothing is patched: the plan is a list, and one of its steps is another one.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from tests.journeys.conftest import failures

from crdbmesh.desired import Object
from crdbmesh.desired import cilium as cilium_manifests
from crdbmesh.desired import cockroach as manifests
from crdbmesh.engine import plan, run
from crdbmesh.engine.step import Event, Outcome, Result, Step
from crdbmesh.local import pki
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.steps import catalog, cilium, cockroach
from crdbmesh.steps import k3s as dns

Mutate = Callable[[World, list[Object]], list[Object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherObjects(cilium.Cilium):
    """Cilium's step, wanting other objects."""

    mutate: Mutate

    def objects(self) -> list[Object]:
        return self.mutate(self.world, cilium.Cilium.objects(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherForwarders(dns.Forwarders):
    """The DNS step, wanting other objects."""

    mutate: Mutate

    def objects(self) -> list[Object]:
        return self.mutate(self.world, dns.Forwarders.objects(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherPods(cockroach.Pods):
    """The StatefulSet's step, wanting another one."""

    mutate: Mutate

    def objects(self) -> list[Object]:
        return self.mutate(self.world, cockroach.Pods.objects(self))


OTHER: dict[str, type[Any]] = {"cilium": OtherObjects, "dns": OtherForwarders, "cockroachdb": OtherPods}


def up_with(world: Any, step: str, mutate: Mutate) -> dict[str, Result]:
    """`up` with one step of the plan replaced."""
    mesh = world.mesh(["eastus", "westus"], patience=PATIENCE)

    def replaced(original: Step) -> Step:
        if original.name != step:
            return original
        fields = {field.name: getattr(original, field.name) for field in dataclasses.fields(original)}
        other: Step = OTHER[step.rpartition("/")[2]](**fields, mutate=mutate)
        return other

    with world.open(mesh) as run_world:
        steps = [replaced(original) for original in catalog.steps(run_world)]
        return run.run(plan.order(steps), workers=32, notify=lambda _event: None)


def values(change: Callable[[dict[str, Any]], None]) -> Mutate:
    """Change the chart's values."""

    def mutate(_world: World, objects: list[Object]) -> list[Object]:
        secret, chart = objects
        content = yaml.safe_load(chart["spec"]["valuesContent"])
        change(content)
        return [secret, {**chart, "spec": {**chart["spec"], "valuesContent": yaml.safe_dump(content)}}]

    return mutate


def no_network_plugin(content: dict[str, Any]) -> None:
    content["k8sServicePort"] = 7777


def no_image(content: dict[str, Any]) -> None:
    content["image"] = {"repository": "registry.invalid/cilium", "useDigest": False}


def same_id(content: dict[str, Any]) -> None:
    content["cluster"]["id"] = 1


def same_pod_range(content: dict[str, Any]) -> None:
    content["ipam"]["operator"]["clusterPoolIPv4PodCIDRList"] = ["10.101.0.0/16"]


def wrong_clustermesh_port(content: dict[str, Any]) -> None:
    content["clustermesh"]["config"]["clusters"][0]["port"] = 32380


@functools.cache
def other_ca() -> pki.KeyPair:
    return pki.make_cilium_ca(now=datetime.now(UTC))


def another_ca(_world: World, objects: list[Object]) -> list[Object]:
    other = other_ca()
    return [cilium_manifests.secret(ca_cert=other.cert_pem, ca_key=other.key_pem), objects[1]]


def no_udp(_world: World, objects: list[Object]) -> list[Object]:
    service, *rest = objects
    ports = [port for port in service["spec"]["ports"] if port["protocol"] == "TCP"]
    return [{**service, "spec": {**service["spec"], "ports": ports}}, *rest]


def wrong_upstream(_world: World, objects: list[Object]) -> list[Object]:
    service, blocks, deployment = objects
    data = {key: text.replace("10.2.1.", "10.2.9.") for key, text in blocks["data"].items()}
    return [service, {**blocks, "data": data}, deployment]


def no_block(_world: World, objects: list[Object]) -> list[Object]:
    return [objects[0], objects[2]]


def command(change: Callable[[str], str]) -> Mutate:
    """Change the start command."""

    def mutate(_world: World, objects: list[Object]) -> list[Object]:
        (workload,) = objects
        container = workload["spec"]["template"]["spec"]["containers"][0]
        container["command"] = [*container["command"][:-1], change(container["command"][-1])]
        return [workload]

    return mutate


def only_own_seeds(text: str) -> str:
    return text.replace("cockroachdb-0.cockroachdb.eastus.", "cockroachdb-0.cockroachdb.westus.")


def other_locality(text: str) -> str:
    return text.replace("region=westus", "region=eastus")


def other_cluster_name(text: str) -> str:
    return text.replace("--cluster-name=crdbmesh", "--cluster-name=another")


PATIENCE = 0.04
"""Deadlines of seconds, for a world in which minutes take seconds."""

BROKEN: list[tuple[str, str, Mutate, str, str]] = [
    ("network plugin", "westus/cilium", values(no_network_plugin), "westus/cilium", "in westus"),
    ("image", "westus/cilium", values(no_image), "westus/cilium", "pod cilium-"),
    ("cluster id", "westus/cilium", values(same_id), "/clustermesh", "the clustermesh links"),
    ("clustermesh port", "westus/cilium", values(wrong_clustermesh_port), "westus/clustermesh", "eastus"),
    ("CA", "westus/cilium", another_ca, "/clustermesh", "certificate"),
    ("pod range", "westus/cilium", values(same_pod_range), "/reach", "connect"),
    ("NodePort", "westus/dns", no_udp, "eastus/reach", "does not resolve"),
    ("DNS upstream", "eastus/dns", wrong_upstream, "eastus/reach", "does not resolve"),
    ("DNS block", "eastus/dns", no_block, "eastus/reach", "does not resolve"),
    ("join seed", "westus/cockroachdb", command(only_own_seeds), "mesh/proof", "westus"),
    ("locality", "westus/cockroachdb", command(other_locality), "mesh/proof", "locality"),
    ("cluster name", "westus/cockroachdb", command(other_cluster_name), "mesh/proof", "westus"),
]


def marks(link: str) -> list[pytest.MarkDecorator]:
    """Two links are in the default suite; the others take their time elsewhere."""
    return [] if link in {"network plugin", "CA"} else [pytest.mark.long]


@pytest.mark.parametrize(
    ("link", "step", "mutate", "failing", "symptom"),
    [pytest.param(*case, id=case[0], marks=marks(case[0])) for case in BROKEN],
)
def test_a_broken_link_fails_up_at_its_step_with_its_symptom(
    world: Any, link: str, step: str, mutate: Mutate, failing: str, symptom: str
) -> None:
    results = up_with(world, step, mutate)
    failed = {name: r.detail for name, r in results.items() if r.outcome is Outcome.FAILED}
    assert failed, f"nothing failed without {link}"
    where = [name for name in failed if name.endswith(failing)]
    assert where, failed
    assert symptom.lower() in failed[where[0]].lower(), failed
    assert results["mesh/proof"].outcome is not Outcome.CHANGED


@pytest.mark.long
def test_a_certificate_that_names_another_region_is_caught_where_it_is_issued(world: Any) -> None:
    mesh = world.mesh(["eastus", "westus"], patience=PATIENCE)
    with world.open(mesh) as run_world:
        ca = run_world.cockroach_ca()
        wrong = pki.issue_cockroach_node(ca, "northeurope", now=datetime.now(UTC))
        files = {"ca.crt": ca.cert_pem, "node.crt": wrong.cert_pem, "node.key": wrong.key_pem}

        def spoil(event: Event) -> None:
            if (event.step, event.kind) == ("westus/certificates", "applied"):
                secret = manifests.secret(mesh.region("westus"), names.NODE_SECRET, files)
                run_world.kube("westus").apply(secret)

        results = run.run(plan.order(catalog.steps(run_world)), workers=32, notify=spoil)
    failed = {name: r.detail for name, r in results.items() if r.outcome is Outcome.FAILED}
    assert "does not name" in failed["westus/certificates"]


def test_a_host_that_shows_another_key_is_refused(world: Any) -> None:
    mesh = world.mesh(["eastus"], patience=PATIENCE)
    with world.open(mesh) as run_world:
        made = [step for step in catalog.steps(run_world) if catalog.place(step.name)[1] in {"network", "machines"}]
        made = [step for step in made if not step.name.endswith(("/host", "/software", "/disk"))]
        results = run.run(plan.order(made), workers=8, notify=lambda _event: None)
    assert not [name for name, result in results.items() if result.outcome is Outcome.FAILED]
    world.home().write("host-keys/eastus-1.key", pki.make_host_key("another").private)
    results = world.up(mesh)
    assert results["eastus/node1/host"].outcome is Outcome.FAILED
    assert "host key" in results["eastus/node1/host"].detail


def test_a_machine_makes_itself_a_host_key_and_is_let_in_wherever_a_run_died_on_the_way(world: Any) -> None:
    mesh = world.mesh(["eastus"])
    home = world.home()
    birth, own, coming = (f"host-keys/eastus-1.{kind}" for kind in ("key", "pub", "next"))

    def up() -> list[str]:
        with world.open(mesh) as run_world:
            made = [step for step in catalog.steps(run_world) if catalog.place(step.name)[1] in {"network", "machines"}]
            results = run.run(plan.order(made), workers=8, notify=lambda _event: None)
        assert not failures(results)
        return [name for name, result in results.items() if result.outcome is Outcome.CHANGED]

    up()
    first = home.read(own)
    assert first is not None
    assert first.split()[1] != pki.read_ssh_key(home.read(birth), "").public.split()[1]
    assert home.read(coming) is None
    assert up() == []
    # It died before it knew whether the machine shows the key that it has made.
    home.write(coming, f"{pki.make_host_key('of a run before').public}\n{first}")
    home.delete(own)
    assert up() == ["eastus/node1/host"]
    second = home.read(own)
    assert second not in (None, first)
    # A successor is another machine: neither its own key nor that of its birth is its predecessor's.
    given = home.read(birth)
    world.resource("DELETE", "Microsoft.Compute/virtualMachines/crdbmesh-eastus-1")
    up()
    assert home.read(birth) != given
    assert home.read(own) not in (None, second)


def test_a_firewall_that_lets_somebody_else_in_only_keeps_us_out(world: Any) -> None:
    mesh = world.mesh(["eastus"], allow_from=["203.0.113.9"], patience=PATIENCE / 2)
    results = world.up(mesh)
    assert results["eastus/node1/host"].outcome is Outcome.FAILED
    assert "waited" in results["eastus/node1/host"].detail


def test_an_own_address_that_changed_changes_the_firewall_before_anything_waits_for_ssh(world: Any) -> None:
    mesh = world.mesh(["eastus"], allow_from=["own"])

    def up_to_the_host(address: str) -> dict[str, Result]:
        with world.open(mesh.with_own(address)) as run_world:
            steps = catalog.steps(run_world)
            until = next(at for at, step in enumerate(steps) if step.name == "eastus/node1/host")
            return run.run(plan.order(steps[: until + 1]), workers=8, notify=lambda _event: None)

    made = up_to_the_host("127.0.0.1")
    assert all(result.outcome.good for result in made.values()), made
    path = "Microsoft.Network/networkSecurityGroups/crdbmesh-eastus-nsg"
    nsg = world.resource("GET", path)[1]
    for rule in nsg["properties"]["securityRules"]:
        if rule["properties"].get("sourceAddressPrefix") == "127.0.0.1/32":
            rule["properties"]["sourceAddressPrefix"] = "203.0.113.9/32"
    world.doors.put(nsg["id"], nsg)
    results = up_to_the_host("127.0.0.1")
    assert [name for name, result in results.items() if result.outcome is Outcome.CHANGED] == ["eastus/firewall"]
    assert results["eastus/node1/host"].outcome is Outcome.HELD


def test_a_lost_token_is_refused_rather_than_replaced(world: Any) -> None:
    mesh = world.mesh(["eastus"], patience=0.1)
    assert not [r for r in world.up(mesh).values() if r.outcome is Outcome.FAILED]
    world.home().write("tokens/eastus", "another")
    results = world.up(mesh)
    assert results["eastus/node1/k3s"].outcome is Outcome.FAILED
    assert "local folder" in results["eastus/node1/k3s"].detail


@pytest.mark.long
def test_a_lost_peering_degrades_status_and_names_it(world: Any) -> None:
    mesh = world.mesh(["eastus", "westus"])
    assert not [r for r in world.up(mesh).values() if r.outcome is Outcome.FAILED]
    path = "Microsoft.Network/virtualNetworks/crdbmesh-westus/virtualNetworkPeerings/crdbmesh-westus-to-eastus"
    world.resource("DELETE", path)
    health = world.status(mesh)
    assert health.degraded
    eastus, westus = health.regions
    assert eastus.layer("peerings").cause == "peering eastus -> westus is Disconnected"
    assert westus.layer("peerings").cause == "peering westus -> eastus is absent"
    assert eastus.layer("dns").good == 0
    # kvstoremesh notices after minutes; the agents keep the link ready from its cache for ever.
    deadline = time.monotonic() + 60
    while not health.regions[0].layer("clustermesh").cause:
        assert time.monotonic() < deadline, "the broken link is never noticed"
        time.sleep(0.2)
        health = world.status(mesh)
    cause = str(health.regions[0].layer("clustermesh").cause)
    assert health.regions[0].layer("clustermesh").good == 0
    assert cause.startswith("kvstoremesh: westus: ")
    assert "context deadline exceeded" not in cause
