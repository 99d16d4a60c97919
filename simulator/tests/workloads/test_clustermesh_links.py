"""Clustermesh: when a link between two clusters is up, and what is said when it is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crdbmesh_simulator.workloads import paths

STATUS = ("cilium-dbg", "status", "-o", "json")
KVSTOREMESH = ("/usr/bin/clustermesh-apiserver", "kvstoremesh-dbg", "status", "-o", "json")
TROUBLESHOOT = ("/usr/bin/clustermesh-apiserver", "kvstoremesh-dbg", "troubleshoot")


def symptom(reason: str | None) -> str:
    assert reason is not None
    return paths.symptom(reason)


class Pair:
    """Two clusters, `east` (1) and `west` (2), that name each other; `changes` break the west one."""

    def __init__(
        self, bench: Any, ca: Any, *, west_name: str = "west", west_id: int = 2, east_entry: Any = None, **changes: Any
    ) -> None:
        self.bench = bench
        pods = changes.pop("pods", None)
        self.east = bench.cluster(1, kube_proxy=False)
        self.west = bench.cluster(2, kube_proxy=False, pods=pods)
        entry = east_entry or {"ips": ["10.2.0.4"]}
        self.agent = bench.agents(self.east, name="east", number=1, remotes=bench.mesh_remotes(ca, "east", ["west"]))[0]
        self.peer = bench.agents(
            self.west, name=west_name, number=west_id, remotes=bench.mesh_remotes(ca, west_name, ["east"])
        )[0]
        bench.advance(10)
        self.mesh = bench.mesh(
            self.east,
            name="east",
            number=1,
            ca=ca,
            remotes={"west": entry},
            **{key[5:]: value for key, value in changes.items() if key.startswith("east_")},
        )
        others = {key: value for key, value in changes.items() if not key.startswith("east_")}
        bench.mesh(self.west, name=west_name, number=west_id, ca=ca, remotes={"east": {"ips": ["10.1.0.4"]}}, **others)
        bench.advance(40)

    def agent_says(self) -> dict[str, Any]:
        answer = self.bench.run(self.agent, *STATUS)
        found: dict[str, Any] = json.loads(answer.stdout)["cluster-mesh"]["clusters"][0]
        return found

    def kvstoremesh_says(self) -> dict[str, Any]:
        answer = self.bench.run(self.mesh, *KVSTOREMESH, container="kvstoremesh")
        found: dict[str, Any] = json.loads(answer.stdout)[0]
        return found

    def crosses(self) -> list[str]:
        """What kvstoremesh's own report marks as failed, in order."""
        report = self.bench.run(self.mesh, *TROUBLESHOOT, container="kvstoremesh").stdout.decode()
        return [line.partition("❌")[2].strip() for line in report.splitlines() if "❌" in line]

    def log(self) -> str:
        return "\n".join(self.mesh.programs["kvstoremesh"].log)


def test_a_link_is_ready_when_everything_fits(bench: Any, ca: Any) -> None:
    pair = Pair(bench, ca)
    said = pair.agent_says()
    assert said["ready"] is True
    assert said["connected"] is True
    assert said["num-nodes"] == 1
    assert said["config"] == {
        "cluster-id": 2,
        "kvstoremesh": True,
        "required": True,
        "retrieved": True,
        "sync-canaries": True,
    }
    assert said["synced"] == {"endpoints": True, "identities": True, "nodes": True, "services": True}
    assert said["status"].startswith("etcd: 1/1 connected")
    assert pair.kvstoremesh_says()["ready"] is True


def test_pods_of_two_clusters_reach_each_other_over_a_link(bench: Any, ca: Any) -> None:
    pair = Pair(bench, ca)
    dns = bench.coredns(pair.west)
    shell = bench.shell(pair.east, "n10")
    bench.advance(20)
    source = shell.programs["main"].container
    assert paths.connect(bench.world, source, dns.ip, 8080) is None
    bench.wires.drops.append(lambda _src, _dst, port, _protocol: "rule" if port == 8472 else None)
    assert symptom(paths.connect(bench.world, source, dns.ip, 8080)) == paths.TIMEOUT


def test_a_reply_needs_the_link_of_the_other_side(bench: Any, ca: Any) -> None:
    pair = Pair(bench, ca)
    dns = bench.coredns(pair.west)
    shell = bench.shell(pair.east, "n10")
    bench.advance(20)
    pair.peer.programs["cilium-agent"].remotes.clear()
    reason = paths.connect(bench.world, shell.programs["main"].container, dns.ip, 8080)
    assert reason is not None
    assert "no route back" in reason


def test_overlapping_pod_ranges_lead_to_the_wrong_place(bench: Any, ca: Any) -> None:
    pair = Pair(bench, ca, pods="10.101.0.0/24")
    dns = bench.coredns(pair.west)
    shell = bench.shell(pair.east, "n10")
    bench.advance(20)
    assert pair.agent_says()["ready"] is True
    assert symptom(paths.connect(bench.world, shell.programs["main"].container, dns.ip, 8080)) == paths.TIMEOUT


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"server_sans": ["clustermesh-apiserver.kube-system.svc"]},
            "certificate is valid for clustermesh-apiserver.kube-system.svc, not west.mesh.cilium.io",
        ),
        ({"server_last": -0.5}, "certificate has expired"),
        ({"node_port": 32380}, "connect: connection refused"),
        ({"east_entry": {"ips": ["10.9.9.9"]}}, "i/o timeout"),
        ({"east_client_cn": "remote-nobody"}, "etcdserver: permission denied"),
        ({"users": ["remote-other"]}, "etcdserver: permission denied"),
    ],
)
def test_what_keeps_the_connection_from_being_made_is_said(
    bench: Any, ca: Any, changes: dict[str, Any], reason: str
) -> None:
    pair = Pair(bench, ca, **changes)
    said = pair.kvstoremesh_says()
    assert "ready" not in said
    assert "connected" not in said
    assert said["status"] == "Waiting for initial connection to be established"
    assert said["last-failure"].startswith("0001-01-01")
    assert reason in pair.log()
    crosses = pair.crosses()
    assert reason in crosses[0]
    if "permission denied" not in reason:
        assert crosses[-1] == "Failed to establish connection: context deadline exceeded"


@pytest.mark.parametrize("key", ["server_ca", "east_client_ca"])
def test_a_certificate_of_another_ca_is_refused(bench: Any, ca: Any, other_ca: Any, key: str) -> None:
    pair = Pair(bench, ca, **{key: other_ca})
    assert "ready" not in pair.kvstoremesh_says()
    assert ("signed by unknown authority" if key == "server_ca" else "unknown certificate authority") in pair.log()


def test_the_old_common_user_is_let_in(bench: Any, ca: Any) -> None:
    assert Pair(bench, ca, east_client_cn="remote").agent_says()["ready"] is True


def test_the_remotes_own_name_must_be_the_configured_one(bench: Any, ca: Any) -> None:
    pair = Pair(bench, ca, west_name="elsewhere", client_cn="remote-elsewhere")
    said = pair.kvstoremesh_says()
    assert said["connected"] is True
    assert said["config"] == {"required": True}
    assert "ready" not in said
    assert "cluster configuration expected to be present but not found" in pair.log()
    assert pair.agent_says()["config"] == {"required": True}


def test_equal_cluster_ids_conflict(bench: Any, ca: Any) -> None:
    pair = Pair(bench, ca, west_id=1)
    said = pair.agent_says()
    assert said["connected"] is True
    assert "ready" not in said
    assert any("clusterID 1 is already used" in line for line in pair.agent.programs["cilium-agent"].log)


def test_a_firewall_keeps_the_link_down_and_its_opening_brings_it_up(bench: Any, ca: Any) -> None:
    def rule(_src: str, _dst: str, port: int, _protocol: str) -> str | None:
        return "rule" if port == 32379 else None

    bench.wires.drops.append(rule)
    pair = Pair(bench, ca)
    assert "ready" not in pair.agent_says()
    assert "i/o timeout" in pair.log()
    bench.wires.drops.clear()
    bench.advance(30)
    assert pair.agent_says()["ready"] is True


def test_a_lost_remote_is_noticed_by_kvstoremesh_after_two_heartbeats_and_never_by_agents(bench: Any, ca: Any) -> None:
    pair = Pair(bench, ca)
    del bench.world.machines[pair.west.members["n20"].machine.key]
    bench.advance(100)
    assert pair.kvstoremesh_says()["ready"] is True
    assert pair.crosses()[0].endswith("dial tcp 10.2.0.4:32379: i/o timeout")
    bench.advance(40)
    said = pair.kvstoremesh_says()
    assert "ready" not in said
    assert "connected" not in said
    assert said["num-failures"] == 1
    assert not said["last-failure"].startswith("0001-01-01")
    bench.advance(300)
    assert pair.agent_says()["ready"] is True


def test_a_short_break_is_no_failure(bench: Any, ca: Any) -> None:
    pair = Pair(bench, ca)
    bench.wires.drops.append(lambda _src, _dst, port, _protocol: "rule" if port == 32379 else None)
    bench.advance(100)
    bench.wires.drops.clear()
    bench.advance(60)
    said = pair.kvstoremesh_says()
    assert said["ready"] is True
    assert "num-failures" not in said


def test_an_agent_waits_for_a_remote_that_was_never_reached(bench: Any, ca: Any) -> None:
    pair = Pair(bench, ca, east_entry={"ips": ["10.9.9.9"]})
    said = pair.agent_says()
    assert said["connected"] is True
    assert "ready" not in said
    assert said["config"] == {"required": True}
    assert said["synced"] == {}
    head = "etcd: 1/1 connected, leases=0, lock leases=0, has-quorum=true: endpoint status checks are disabled, ID: "
    assert said["status"].startswith(head)


def test_readiness_of_the_mesh_containers(bench: Any, ca: Any) -> None:
    pair = Pair(bench, ca)
    for name, port in (("apiserver", 9880), ("kvstoremesh", 9881)):
        answer = pair.mesh.programs[name].http_get(port, "/readyz", tls=False)
        assert answer is not None
        assert answer.status == 200


def test_an_agent_without_the_api_is_not_ready(bench: Any) -> None:
    cluster = bench.cluster(1, kube_proxy=False)
    cluster.members["n10"].running = False
    agent = bench.agents(cluster, name="east", number=1)[0]
    bench.advance(20)
    answer = agent.programs["cilium-agent"].http_get(9879, "/healthz", tls=False)
    assert answer is not None
    assert answer.status == 503
    assert b"connection refused" in answer.body
    assert bench.run(agent, *STATUS).exit_code == 1


def test_status_names_the_state_of_the_agent_and_of_its_way_to_the_api(bench: Any) -> None:
    cluster = bench.cluster(1, kube_proxy=False)
    agent = bench.agents(cluster, name="east", number=1)[0]
    bench.advance(10)
    said = json.loads(bench.run(agent, *STATUS).stdout)
    assert said["cilium"]["state"] == said["kubernetes"]["state"] == "Ok"
    assert "cluster-mesh" not in said


def test_an_unknown_subcommand_is_recorded(bench: Any) -> None:
    cluster = bench.cluster(1, kube_proxy=False)
    agent = bench.agents(cluster, name="east", number=1)[0]
    bench.advance(10)
    assert bench.run(agent, "cilium-dbg", "monitor").exit_code == 1
    assert [unknown.what for unknown in bench.world.unknown] == ["cilium-dbg monitor"]
