"""Packets: what arrives between pods, nodes and Services."""

from __future__ import annotations

from typing import Any

import pytest

from crdbmesh_simulator.workloads import paths


def said(reason: str | None) -> str:
    assert reason is not None
    return paths.symptom(reason)


def container(box: Any) -> Any:
    return next(iter(box.programs.values())).container


def test_a_pod_reaches_a_pod_on_another_node_through_the_tunnel(bench: Any) -> None:
    cluster = bench.cluster(1, nodes=2)
    dns = bench.coredns(cluster)
    shell = bench.shell(cluster, "n11")
    bench.advance(3)
    assert paths.connect(bench.world, container(shell), dns.ip, 8080) is None


def test_nothing_listening_is_refused(bench: Any) -> None:
    cluster = bench.cluster(1, nodes=2)
    dns = bench.coredns(cluster)
    shell = bench.shell(cluster, "n11")
    bench.advance(3)
    assert said(paths.connect(bench.world, container(shell), dns.ip, 81)) == paths.REFUSED
    assert said(paths.connect(bench.world, container(shell), dns.ip, 8080, "UDP")) == paths.REFUSED


def test_the_tunnel_needs_udp_8472_in_both_directions(bench: Any) -> None:
    cluster = bench.cluster(1, nodes=2)
    dns = bench.coredns(cluster)
    shell = bench.shell(cluster, "n11")
    bench.advance(3)
    for source in ("10.1.0.4", "10.1.0.5"):
        bench.wires.drops[:] = [
            lambda src, _dst, port, protocol, source=source: (
                "rule" if (src, port, protocol) == (source, 8472, "Udp") else None
            )
        ]
        assert said(paths.connect(bench.world, container(shell), dns.ip, 8080)) == paths.TIMEOUT


def test_a_pod_on_a_machine_that_is_off_is_not_reached(bench: Any) -> None:
    cluster = bench.cluster(1, nodes=2)
    dns = bench.coredns(cluster)
    shell = bench.shell(cluster, "n11")
    bench.advance(3)
    del bench.world.machines[cluster.members["n10"].machine.key]
    assert said(paths.connect(bench.world, container(shell), dns.ip, 8080)) == paths.TIMEOUT


def test_another_clusters_pod_is_unknown_without_a_link(bench: Any) -> None:
    east, west = bench.cluster(1), bench.cluster(2)
    dns = bench.coredns(west)
    shell = bench.shell(east, "n10")
    bench.advance(3)
    assert said(paths.connect(bench.world, container(shell), dns.ip, 8080)) == paths.TIMEOUT


def test_a_node_port_of_another_cluster_is_reached_over_the_network_only(bench: Any) -> None:
    east, west = bench.cluster(1), bench.cluster(2)
    bench.coredns(west, node_port=30053)
    shell = bench.shell(east, "n10")
    bench.advance(3)
    assert paths.connect(bench.world, container(shell), "10.2.0.4", 30053) is None
    assert said(paths.connect(bench.world, container(shell), "10.2.0.4", 30054)) == paths.REFUSED
    bench.wires.drops.append(lambda _src, _dst, port, _protocol: "rule" if port == 30053 else None)
    assert said(paths.connect(bench.world, container(shell), "10.2.0.4", 30053)) == paths.TIMEOUT


def test_a_node_port_needs_something_that_translates_it(bench: Any) -> None:
    east, west = bench.cluster(1), bench.cluster(2, kube_proxy=False)
    bench.coredns(west, node_port=30053)
    shell = bench.shell(east, "n10")
    bench.advance(3)
    assert said(paths.connect(bench.world, container(shell), "10.2.0.4", 30053)) == paths.REFUSED
    bench.agents(west, name="west", number=2)
    bench.advance(10)
    assert paths.connect(bench.world, container(shell), "10.2.0.4", 30053) is None


def test_kube_proxy_replacement_must_be_on_for_node_ports(bench: Any) -> None:
    east, west = bench.cluster(1), bench.cluster(2, kube_proxy=False)
    bench.coredns(west, node_port=30053)
    bench.agents(west, name="west", number=2, **{"kube-proxy-replacement": "false"})
    shell = bench.shell(east, "n10")
    bench.advance(10)
    assert said(paths.connect(bench.world, container(shell), "10.2.0.4", 30053)) == paths.REFUSED


def test_a_service_of_another_cluster_is_not_routable(bench: Any) -> None:
    east, west = bench.cluster(1), bench.cluster(2)
    bench.coredns(west)
    shell = bench.shell(east, "n10")
    bench.advance(3)
    assert said(paths.connect(bench.world, container(shell), "10.202.0.10", 53)) == paths.TIMEOUT


def test_a_service_without_endpoints_refuses(bench: Any) -> None:
    cluster = bench.cluster(1)
    made = bench.service(cluster, "default", "web", [{"port": 80}])
    shell = bench.shell(cluster, "n10")
    assert said(paths.connect(bench.world, container(shell), made["spec"]["clusterIP"], 80)) == paths.REFUSED
    assert said(paths.connect(bench.world, container(shell), made["spec"]["clusterIP"], 81)) == paths.TIMEOUT


def test_local_traffic_policy_keeps_to_the_nodes_own_pods(bench: Any) -> None:
    east, west = bench.cluster(1), bench.cluster(2, nodes=2)
    dns = bench.coredns(west)
    port = {"name": "dns", "port": 53, "protocol": "TCP", "nodePort": 30053}
    bench.service(west, "kube-system", "outside", [port], [dns], type="NodePort", externalTrafficPolicy="Local")
    shell = bench.shell(east, "n10")
    bench.advance(3)
    assert paths.connect(bench.world, container(shell), "10.2.0.4", 30053) is None
    assert said(paths.connect(bench.world, container(shell), "10.2.0.5", 30053)) == paths.REFUSED


def test_the_api_is_reached_on_loopback_from_the_host_only(bench: Any) -> None:
    cluster = bench.cluster(1)
    shell = bench.shell(cluster, "n10")
    host = bench.pod(
        cluster,
        "n10",
        "default",
        "host",
        [{"name": "a", "image": "busybox", "command": ["sleep", "9"]}],
        hostNetwork=True,
    )
    assert paths.connect(bench.world, container(host), "127.0.0.1", 6444) is None
    assert said(paths.connect(bench.world, container(shell), "127.0.0.1", 6444)) == paths.REFUSED
    assert paths.connect(bench.world, container(shell), "10.201.0.1", 443) is None
    cluster.members["n10"].running = False
    assert said(paths.connect(bench.world, container(host), "127.0.0.1", 6444)) == paths.REFUSED


@pytest.mark.parametrize(("mtu", "carries"), [(None, True), ("1450", True), ("1500", False)])
def test_packets_that_do_not_fit_into_the_tunnel_are_lost(
    bench: Any, ca: Any, mtu: str | None, *, carries: bool
) -> None:
    cluster = bench.cluster(1, nodes=2, kube_proxy=False)
    bench.agents(cluster, name="east", number=1, **({"mtu": mtu} if mtu else {}))
    bench.coredns(cluster)
    bench.namespace(cluster, "east")
    seeds = ["cockroachdb-0.cockroachdb.east.svc.cluster.local"]
    boxes = [
        bench.cockroach(cluster, f"n1{number}", number, ca=ca, namespace="east", join=seeds) for number in range(2)
    ]
    bench.headless(cluster, "east", boxes)
    bench.advance(20)
    assert paths.connect(bench.world, boxes[1].programs["db"].container, boxes[0].ip, 26257) is None
    certs = "--certs-dir=/cockroach/cockroach-certs"
    made = bench.run(boxes[0], "/cockroach/cockroach", "init", certs, "--host=cockroachdb-0.cockroachdb.east")
    assert made.exit_code == 0, made.stderr
    bench.advance(60)
    assert (boxes[1].programs["db"].inner.database is not None) == carries
    lost = f"dial tcp {boxes[0].ip}:26257: i/o timeout"
    assert (lost in "\n".join(boxes[1].programs["db"].log)) != carries
