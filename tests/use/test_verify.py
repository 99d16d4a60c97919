"""`verify` from inside a mesh: what holds, and, for each way that is cut, the cause that it names from evidence."""

from __future__ import annotations

import base64
import datetime as dt
import re
import signal
import subprocess
import time
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from tests import forks
from tests.doors import rule
from tests.use.conftest import REGIONS, Mesh
from tests.use.test_client_regions import opened

from crdbmesh.clients import database
from crdbmesh.local import pki

pytestmark = pytest.mark.timeout(300)

NETWORK = "/resourceGroups/crdbmesh/providers/Microsoft.Network/"
OTHER = f"{NETWORK}networkSecurityGroups/crdbmesh-westus-nsg/securityRules/other"
SYSTEM = "/api/v1/namespaces/kube-system"
PAIRS = set(permutations(("eastus", "westus"), 2))


def failed(mesh: Mesh) -> list[dict[str, Any]]:
    run = mesh.run("verify", "--output", "json")
    assert run.code == 10, run.stderr
    failures: list[dict[str, Any]] = run.document["failures"]
    assert run.document["failed"] == len(failures) > 0
    return failures


def pairs(failures: list[dict[str, Any]], kind: str, cause: str) -> set[tuple[str, str]]:
    """The regions between which a kind of claim failed for a cause."""
    return {
        (one["source"], one["target"])
        for one in failures
        if one["claim"] == kind and re.search(cause, one["cause"] or "")
    }


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def heal(mesh: Mesh) -> None:
    assert mesh.run("up", "--yes", "--output", "json").code == 0
    until(lambda: mesh.run("verify", "--output", "json").code == 0)


def sql(mesh: Mesh, *statements: str) -> list[dict[str, str]]:
    with opened(mesh) as world:
        return database.query(world.kube("eastus"), "eastus", *statements)


def databases(mesh: Mesh) -> str:
    return str(sql(mesh, "SHOW DATABASES"))


def test_a_mesh_that_is_well_is_proved_with_its_latencies(mesh: Mesh) -> None:
    before = mesh.doors.report()["unknown"]
    run = mesh.run("verify", "--output", "json")
    assert (run.code, run.document["failures"]) == (0, []), run.stderr
    proved = run.document
    assert {one["claim"]: (one["good"], one["wanted"]) for one in proved["claims"]} == {
        "pods": (3, 3),
        "tcp": (9, 9),
        "payload": (9, 9),
        "dns-udp": (9, 9),
        "dns-tcp": (9, 9),
        "clustermesh": (6, 6),
        "nodes": (3, 3),
        "ranges": (31, 31),
        "placement": (31, 31),
        "clock": (3, 3),
        "hardening": (3, 3),
        "certificates": (14, 14),
        "row": (6, 6),
    }
    times = proved["rtt_ms"]
    assert all(times[region][region] < 2 for region in REGIONS)
    assert 50 < times["eastus"]["westus"] < times["eastus"]["northeurope"] < times["westus"]["northeurope"] < 160
    assert {one["name"] for one in proved["certificates"]} >= {
        "database certificate node.crt",
        "database certificate client.root.crt",
        "database CA",
        "Cilium CA",
        "k3s client certificate of the kubeconfig",
    }
    shown = mesh.run("verify")
    assert re.search(r"round trip, ms +eastus +westus +northeurope\neastus +0\.1 +6\d\.\d +9\d\.\d", shown.stdout)
    assert shown.stdout.endswith("proved: nothing falls short\n")
    assert mesh.doors.report()["unknown"] == before


def test_a_rule_that_denies_the_tunnel_is_named(mesh: Mesh) -> None:
    deny = {**rule("Deny", "8472", priority=110), "sourceAddressPrefix": "VirtualNetwork"}
    mesh.doors.put(OTHER, {"properties": deny})
    try:
        cause = "^rule other of network security group crdbmesh-westus-nsg denies UDP 8472 from eastus to westus$"
        failures = failed(mesh)
        assert pairs(failures, "tcp", cause) == PAIRS
        assert pairs(failures, "nodes", cause) == {("westus", "")}
        assert pairs(failures, "dns-udp", "") == set()
    finally:
        mesh.doors.delete(OTHER)
    until(lambda: mesh.run("verify", "--output", "json").code == 0)


def test_ranges_with_their_majority_in_one_region_are_named_and_placed_again(mesh: Mesh) -> None:
    sql(mesh, "ALTER RANGE default CONFIGURE ZONE USING num_replicas = 1, constraints = '[]', gc.ttlseconds = 600")
    try:
        (claim,) = failed(mesh)
        assert claim["claim"] == "placement"
        assert claim["cause"].startswith("RANGE default has 1 replicas, not 3 and no constraints, not 1 in eastus, ")
        assert "eastus: 8 of 31 ranges have their majority there, such as /Table/1" in claim["seen"]
        status = mesh.run("status", "--output", "json")
        assert (status.code, status.document["survival"]["bad"]) == (10, True)
        assert "but not of eastus: 8 of 31 ranges" in status.document["survival"]["text"]
        refused = mesh.run("drill", "region-down", "northeurope", "--yes", "--output", "json")
        assert "they would have no majority without it" in refused.stdout
    finally:
        heal(mesh)
    survival = "It survives the loss of any one region, or of any one machine; not of one region and a machine."
    assert mesh.run("status", "--output", "json").document["survival"]["text"] == survival
    (zone,) = [one for one in sql(mesh, "SHOW ALL ZONE CONFIGURATIONS") if one["target"] == "RANGE default"]
    assert "gc.ttlseconds = 600" in zone["raw_config_sql"]
    assert "+region=northeurope: 1" in zone["raw_config_sql"]


@pytest.mark.long
def test_a_rule_that_denies_what_goes_out_is_named_with_each_port(mesh: Mesh) -> None:
    deny = {**rule("Deny", "*", priority=110), "direction": "Outbound", "destinationAddressPrefix": "10.1.0.0/16"}
    mesh.doors.put(OTHER, {"properties": deny})
    try:
        cause = "rule other of network security group crdbmesh-westus-nsg denies {} from westus to eastus"
        # Cilium's kvstoremesh notices a connection that is gone after a while.
        until(lambda: bool(pairs(failed(mesh), "clustermesh", "")))
        failures = failed(mesh)
        for kind, flow in (("dns-udp", "UDP 30054"), ("dns-tcp", "TCP 30054"), ("clustermesh", "TCP 32379")):
            assert pairs(failures, kind, cause.format(flow)) == {("westus", "eastus")}
    finally:
        mesh.doors.delete(OTHER)
    until(lambda: mesh.run("verify", "--output", "json").code == 0)


@pytest.mark.long
def test_a_peering_that_is_gone_is_named(mesh: Mesh) -> None:
    mesh.doors.delete(f"{NETWORK}virtualNetworks/crdbmesh-eastus/virtualNetworkPeerings/crdbmesh-eastus-to-westus")
    cause = "^peering eastus -> westus is absent; peering westus -> eastus is Disconnected$"
    failures = failed(mesh)
    for kind in ("tcp", "dns-udp", "dns-tcp"):
        assert pairs(failures, kind, cause) == PAIRS
    heal(mesh)


@pytest.mark.long
def test_a_dns_block_that_is_gone_is_named(mesh: Mesh) -> None:
    path = f"{SYSTEM}/configmaps/coredns-custom"
    assert mesh.doors.kube("eastus", "PATCH", path, {"data": {"crdbmesh-westus.server": None}})[0] == 200
    cause = "^ConfigMap coredns-custom in eastus has no block for the zone westus.svc.cluster.local$"
    until(
        lambda: (
            pairs(mesh.run("verify", "--output", "json").document["failures"], "dns-tcp", cause)
            == {("eastus", "westus")}
        )
    )
    failures = failed(mesh)
    assert pairs(failures, "dns-udp", cause) == {("eastus", "westus")}
    assert pairs(failures, "tcp", "") == set()
    heal(mesh)


@pytest.mark.long
def test_an_mtu_that_does_not_fit_into_the_tunnel_is_named(mesh: Mesh) -> None:
    def told(mtu: str) -> None:
        for region in REGIONS:
            path = f"{SYSTEM}/configmaps/cilium-config"
            assert mesh.doors.kube(region, "PATCH", path, {"data": {"mtu": mtu}})[0] == 200
            _, agents = mesh.doors.kube(region, "GET", f"{SYSTEM}/pods?labelSelector=k8s-app%3Dcilium")
            for agent in agents["items"]:
                mesh.doors.kube(region, "DELETE", f"{SYSTEM}/pods/{agent['metadata']['name']}")

    told("1500")
    cause = "^Cilium in eastus gives pods an MTU of 1500, and 1450 fit into a VXLAN tunnel between machines"
    try:
        until(lambda: pairs(failed(mesh), "payload", cause) >= PAIRS)
    finally:
        told("0")
    until(lambda: mesh.run("verify", "--output", "json").code == 0)


@pytest.mark.long
@pytest.mark.parametrize(
    ("path", "file", "seen"),
    [
        (f"{SYSTEM}/secrets/cilium-ca", "ca.crt", "the Cilium CA in westus (Secret cilium-ca) is not the mesh's"),
        (
            "/api/v1/namespaces/westus/secrets/cockroachdb.node",
            "node.crt",
            "database certificate node.crt (Secret cockroachdb.node) is not from the mesh's CA",
        ),
    ],
)
def test_another_ca_is_named(mesh: Mesh, path: str, file: str, seen: str) -> None:
    now = dt.datetime.now(dt.UTC)
    if file == "ca.crt":
        other = pki.make_cilium_ca(now=now).cert_pem
    else:
        other = pki.issue_cockroach_node(pki.make_cockroach_ca(now=now), "westus", now=now).cert_pem
    before = mesh.doors.kube("westus", "GET", path)[1]["data"][file]
    changed = {"data": {file: base64.b64encode(other.encode()).decode()}}
    assert mesh.doors.kube("westus", "PATCH", path, changed)[0] == 200
    try:
        assert [one["seen"] for one in failed(mesh) if one["claim"] == "certificates"] == [seen]
    finally:
        mesh.doors.kube("westus", "PATCH", path, {"data": {file: before}})


def test_a_server_whose_secrets_are_not_encrypted_is_named(mesh: Mesh) -> None:
    with opened(mesh) as world:
        host = world.host(world.mesh.region("westus").machines[0])
        host.run("k3s secrets-encrypt disable", sudo=True)
        try:
            (claim,) = failed(mesh)
        finally:
            host.run("k3s secrets-encrypt enable", sudo=True)
    assert (claim["claim"], claim["source"]) == ("hardening", "westus")
    assert claim["seen"].startswith("westus-1: Secrets are not encrypted (Disabled): `k3s secrets-encrypt enable`")


def test_its_database_is_dropped_also_after_an_interrupt(mesh: Mesh) -> None:
    with forks.Popen(
        mesh.command("verify", "--output", "json"), env=mesh.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        until(lambda: "crdbmesh_verify" in databases(mesh) or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        assert process.returncode in {0, 130}
    assert "crdbmesh_verify" not in databases(mesh)


def test_only_databases_that_killed_runs_have_left_are_dropped(mesh: Mesh) -> None:
    old, young = f"{int(time.time()) - 90_000:08x}", f"{int(time.time()) - 600:08x}"
    theirs = ["crdbmesh_verify", f"crdbmesh_verify_{old}_{'a' * 16}", f"crdbmesh_verify_{young}_{'b' * 16}"]
    left = f"crdbmesh_verify_{old}_{'c' * 16}"
    for name in (*theirs, left):
        sql(mesh, f"CREATE DATABASE {name}", f"CREATE TABLE {name}.rows (id INT PRIMARY KEY)")
    sql(mesh, f"CREATE TABLE {theirs[1]}.accounts (id INT PRIMARY KEY)")
    try:
        run = mesh.run("verify", "--output", "json")
        assert run.code == 0, run.stderr
        found = {one["database_name"] for one in sql(mesh, "SHOW DATABASES")}
        assert {name for name in found if name.startswith("crdbmesh_")} == set(theirs)
    finally:
        sql(mesh, *(f"DROP DATABASE IF EXISTS {name} CASCADE" for name in (*theirs, left)))


def test_what_is_no_certificate_is_a_failed_claim(mesh: Mesh) -> None:
    path = "/api/v1/namespaces/westus/secrets/cockroachdb.node"
    before = mesh.doors.kube("westus", "GET", path)[1]["data"]["node.crt"]
    garbage = {"data": {"node.crt": base64.b64encode(b"no certificate").decode()}}
    assert mesh.doors.kube("westus", "PATCH", path, garbage)[0] == 200
    try:
        ((seen, source),) = [(one["seen"], one["source"]) for one in failed(mesh) if one["claim"] == "certificates"]
        assert (seen.partition(":")[0], source) == ("what is there cannot be read", "westus")
    finally:
        mesh.doors.kube("westus", "PATCH", path, {"data": {"node.crt": before}})
