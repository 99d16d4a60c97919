"""Names: what each cluster's CoreDNS answers, and what a lookup makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from crdbmesh_simulator.workloads import dns
from crdbmesh_simulator.workloads.coredns.message import NOERROR, NXDOMAIN, SERVFAIL

WEST = """\
west.svc.cluster.local:53 {{
    errors
    cache 10
    forward . 10.2.0.4:30053 {{
{options}
    }}
}}
"""


def two(bench: Any, *, protocols: tuple[str, ...] = ("UDP", "TCP"), options: str = "        max_fails 2") -> Any:
    """Clusters 1 and 2; 1 forwards the zone of namespace `west` to 2."""
    east, west = bench.cluster(1), bench.cluster(2)
    bench.coredns(east, custom={"west.server": WEST.format(options=options)})
    bench.coredns(west, node_port=30053, protocols=protocols)
    bench.namespace(west, "west")
    pod = bench.pod(
        west,
        "n20",
        "west",
        "db-0",
        [{"name": "main", "image": "busybox", "command": ["sleep", "infinity"]}],
        hostname="db-0",
        subdomain="db",
    )
    bench.service(west, "west", "db", [{"name": "grpc", "port": 26257}], [pod], clusterIP="None")
    shell = bench.shell(east, "n10")
    bench.advance(5)
    return east, west, pod, shell


def container(box: Any) -> Any:
    return next(iter(box.programs.values())).container


def test_a_service_resolves_to_its_cluster_ip_from_a_short_name(bench: Any) -> None:
    cluster = bench.cluster(1)
    bench.coredns(cluster)
    made = bench.service(cluster, "default", "web", [{"port": 80}])
    shell = bench.shell(cluster, "n10")
    bench.advance(5)
    for name in ("web", "web.default", "web.default.svc", "web.default.svc.cluster.local"):
        assert dns.lookup(bench.world, container(shell), name).addresses == [made["spec"]["clusterIP"]]


def test_a_name_that_does_not_exist_is_nxdomain(bench: Any) -> None:
    cluster = bench.cluster(1)
    bench.coredns(cluster)
    shell = bench.shell(cluster, "n10")
    bench.advance(5)
    assert dns.lookup(bench.world, container(shell), "nobody").rcode == NXDOMAIN
    assert dns.lookup(bench.world, container(shell), "kubernetes.default").found


def test_a_headless_service_names_its_ready_pods_only(bench: Any) -> None:
    cluster = bench.cluster(1)
    bench.coredns(cluster)
    shell = bench.shell(cluster, "n10")
    bench.service(cluster, "default", "quiet", [{"port": 1}], [shell], ready=False, clusterIP="None")
    bench.service(cluster, "default", "loud", [{"port": 1}], [shell], clusterIP="None")
    bench.advance(5)
    assert dns.lookup(bench.world, container(shell), "quiet").rcode == NXDOMAIN
    assert dns.lookup(bench.world, container(shell), "loud").addresses == [shell.ip]


def test_a_lookup_fails_without_a_server_behind_the_cluster_ip(bench: Any) -> None:
    cluster = bench.cluster(1)
    box = bench.coredns(cluster)
    shell = bench.shell(cluster, "n10")
    bench.advance(5)
    bench.remove(cluster, box)
    answer = dns.lookup(bench.world, container(shell), "kubernetes.default")
    assert not answer.rcode
    assert answer.elapsed_s > 0


def test_a_lookup_fails_when_nothing_translates_services(bench: Any) -> None:
    cluster = bench.cluster(1, kube_proxy=False)
    bench.coredns(cluster)
    shell = bench.shell(cluster, "n10")
    bench.advance(5)
    assert not dns.lookup(bench.world, container(shell), "kubernetes.default").rcode


def test_a_remote_zone_is_forwarded_over_the_node_port(bench: Any) -> None:
    _, _, pod, shell = two(bench)
    assert dns.lookup(bench.world, container(shell), "db-0.db.west.svc.cluster.local").addresses == [pod.ip]
    assert dns.lookup(bench.world, container(shell), "db-0.db.west").addresses == [pod.ip]


def test_a_zone_is_not_forwarded_past_a_firewall(bench: Any) -> None:
    _, _, _, shell = two(bench)
    bench.wires.drops.append(lambda _src, _dst, port, _protocol: "dropped by NSG rule x" if port == 30053 else None)
    assert dns.lookup(bench.world, container(shell), "db-0.db.west.svc.cluster.local").rcode == SERVFAIL


@pytest.mark.parametrize(
    ("protocols", "option", "works"),
    [
        (("UDP", "TCP"), "force_tcp", True),
        (("UDP",), "force_tcp", False),
        (("TCP",), "force_tcp", True),
        (("TCP",), "max_fails 2", False),
        (("UDP",), "max_fails 2", True),
        (("UDP",), "prefer_udp", True),
    ],
)
def test_the_remote_service_needs_the_protocol_that_is_forwarded_with(
    bench: Any, protocols: tuple[str, ...], option: str, works: bool
) -> None:
    _, _, _, shell = two(bench, protocols=protocols, options=f"        {option}")
    answer = dns.lookup(bench.world, container(shell), "db-0.db.west.svc.cluster.local")
    assert (answer.rcode == NOERROR) == works


def test_a_second_upstream_answers_for_one_that_is_off(bench: Any) -> None:
    east, west = bench.cluster(1), bench.cluster(2, nodes=2)
    block = WEST.format(options="        policy sequential").replace("10.2.0.4:30053", "10.2.0.5:30053 10.2.0.4:30053")
    bench.coredns(east, custom={"west.server": block})
    bench.coredns(west, node_port=30053)
    bench.namespace(west, "west")
    made = bench.service(west, "west", "db", [{"port": 1}])
    shell = bench.shell(east, "n10")
    bench.advance(5)
    del bench.world.machines[west.members["n21"].machine.key]
    answer = dns.lookup(bench.world, container(shell), "db.west.svc.cluster.local")
    assert answer.addresses == [made["spec"]["clusterIP"]]
    assert answer.elapsed_s >= 2


def test_a_block_for_the_own_zone_loops_until_it_fails(bench: Any) -> None:
    cluster = bench.cluster(1)
    own = "west.svc.cluster.local:53 {\n    errors\n    forward . 10.1.0.4:30053\n}\n"
    box = bench.coredns(cluster, custom={"own.server": own}, node_port=30053)
    bench.namespace(cluster, "west")
    bench.service(cluster, "west", "db", [{"port": 1}])
    shell = bench.shell(cluster, "n10")
    bench.advance(5)
    assert dns.lookup(bench.world, container(shell), "db.west.svc.cluster.local").rcode == SERVFAIL
    assert box.programs["coredns"].exit_code is None


def test_plugin_loop_ends_a_server_that_forwards_to_itself(bench: Any) -> None:
    cluster = bench.cluster(1)
    box = bench.coredns(cluster, corefile=".:53 {\n    loop\n    forward . 10.1.0.4:30053\n}\n", node_port=30053)
    bench.advance(10)
    assert box.programs["coredns"].exit_code == 1
    assert "Loop" in box.programs["coredns"].log[-1]


def test_a_negative_answer_is_kept_for_as_long_as_the_block_says(bench: Any) -> None:
    block = WEST.format(options="        max_fails 2").replace("cache 10", "cache 10 {\n        denial 1000 7 7\n    }")
    east, west = bench.cluster(1), bench.cluster(2)
    bench.coredns(east, custom={"west.server": block})
    bench.coredns(west, node_port=30053, corefile=".:53 {\n    kubernetes cluster.local\n}\n")
    bench.namespace(west, "west")
    shell = bench.shell(east, "n10")
    bench.advance(5)
    name = "late.west.svc.cluster.local"
    assert dns.lookup(bench.world, container(shell), name).rcode == NXDOMAIN
    bench.service(west, "west", "late", [{"port": 1}])
    bench.advance(5)
    assert dns.lookup(bench.world, container(shell), name).rcode == NXDOMAIN
    bench.advance(3)
    assert dns.lookup(bench.world, container(shell), name).found


def test_a_changed_block_is_taken_up_by_reload(bench: Any) -> None:
    east, west = bench.cluster(1), bench.cluster(2)
    box = bench.coredns(east)
    bench.coredns(west, node_port=30053)
    bench.namespace(west, "west")
    bench.service(west, "west", "db", [{"port": 1}])
    shell = bench.shell(east, "n10")
    bench.advance(5)
    assert not dns.lookup(bench.world, container(shell), "db.west.svc.cluster.local").found
    container(box).files["/etc/coredns/custom/west.server"] = WEST.format(options="        max_fails 2").encode()
    bench.advance(50)
    assert dns.lookup(bench.world, container(shell), "db.west.svc.cluster.local").found


def test_a_running_server_keeps_its_configuration_when_the_new_one_is_refused(bench: Any) -> None:
    cluster = bench.cluster(1)
    box = bench.coredns(cluster)
    shell = bench.shell(cluster, "n10")
    bench.advance(5)
    container(box).files["/etc/coredns/custom/bad.server"] = b"bad.local:53 {\n    errors\n}\n}\nmore {\n"
    bench.advance(60)
    log = "\n".join(box.programs["coredns"].log)
    assert log.count("Corefile changed but reload failed") == 1
    assert dns.lookup(bench.world, container(shell), "kubernetes.default").found


def test_a_server_does_not_start_with_a_configuration_that_is_refused(bench: Any) -> None:
    cluster = bench.cluster(1)
    box = bench.coredns(cluster, custom={"bad.server": "bad.local:53 {\n    forwrd . 1.2.3.4\n}\n"})
    bench.advance(5)
    assert box.programs["coredns"].exit_code == 1
    assert box.programs["coredns"].log[-1].endswith("Unknown directive 'forwrd'")


def test_readiness_waits_for_the_kubernetes_api(bench: Any) -> None:
    cluster = bench.cluster(1, kube_proxy=False)
    box = bench.coredns(cluster)
    bench.advance(5)
    program = box.programs["coredns"]
    answer = program.http_get(8181, "/ready", tls=False)
    assert answer is not None
    assert answer.status == 503
    assert program.http_get(8080, "/health", tls=False) is not None


def test_srv_records_share_their_weight(bench: Any) -> None:
    cluster = bench.cluster(1)
    bench.coredns(cluster)
    shells = [bench.shell(cluster, "n10", name=f"shell-{number}") for number in range(3)]
    bench.service(cluster, "default", "trio", [{"name": "grpc", "port": 26257}], shells, clusterIP="None")
    bench.service(cluster, "default", "solo", [{"name": "grpc", "port": 26257}], shells[:1], clusterIP="None")
    bench.advance(5)
    for name, weight in (("trio", "33"), ("solo", "100")):
        answer = dns.lookup(bench.world, container(shells[0]), f"_grpc._tcp.{name}.default.svc.cluster.local.", "SRV")
        assert {record.data.split()[1] for record in answer.records} == {weight}


@pytest.mark.parametrize(("line", "ttl"), [("cache 30", 30), ("cache 90", 60), ("", 60)])
def test_the_cache_caps_the_life_of_what_a_hosts_file_says(bench: Any, line: str, ttl: int) -> None:
    cluster = bench.cluster(1)
    hosts = "hosts /etc/coredns/NodeHosts {\n      ttl 60\n    }"
    bench.coredns(cluster, corefile=f".:53 {{\n    {hosts}\n    {line}\n}}\n")
    shell = bench.shell(cluster, "n10")
    bench.advance(5)
    answer = dns.lookup(bench.world, container(shell), "node-nine.")
    assert [(record.data, record.ttl) for record in answer.records] == [("10.0.0.9", ttl)]


def test_a_dark_region_costs_less_time_once_its_upstreams_have_failed(bench: Any) -> None:
    east = bench.cluster(1)
    block = WEST.format(options="        max_fails 2\n        health_check 60s")
    upstreams = " ".join(f"10.2.0.{number}:30053" for number in (4, 5, 6))
    bench.coredns(east, custom={"west.server": block.replace("10.2.0.4:30053", upstreams)})
    shell = bench.shell(east, "n10")
    bench.advance(5)
    spent = []
    for _ in range(3):
        answer = dns.lookup(bench.world, container(shell), "db.west.svc.cluster.local.")
        assert answer.rcode == SERVFAIL
        spent.append(round(answer.elapsed_s))
    assert spent == [6, 6, 2]
