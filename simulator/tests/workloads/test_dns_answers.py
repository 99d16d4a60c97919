"""Names: what each cluster's CoreDNS answers, and what a lookup makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from crdbmesh_simulator.workloads import dns

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
    assert dns.lookup(bench.world, container(shell), "nobody").rcode == dns.NXDOMAIN
    assert dns.lookup(bench.world, container(shell), "kubernetes.default").found


def test_a_headless_service_names_its_ready_pods_only(bench: Any) -> None:
    cluster = bench.cluster(1)
    bench.coredns(cluster)
    shell = bench.shell(cluster, "n10")
    bench.service(cluster, "default", "quiet", [{"port": 1}], [shell], ready=False, clusterIP="None")
    bench.service(cluster, "default", "loud", [{"port": 1}], [shell], clusterIP="None")
    bench.advance(5)
    assert dns.lookup(bench.world, container(shell), "quiet").rcode == dns.NXDOMAIN
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
    assert dns.lookup(bench.world, container(shell), "db-0.db.west.svc.cluster.local").rcode == dns.SERVFAIL


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
    assert (answer.rcode == dns.NOERROR) == works


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
    assert dns.lookup(bench.world, container(shell), "db.west.svc.cluster.local").rcode == dns.SERVFAIL
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
    assert dns.lookup(bench.world, container(shell), name).rcode == dns.NXDOMAIN
    bench.service(west, "west", "late", [{"port": 1}])
    bench.advance(5)
    assert dns.lookup(bench.world, container(shell), name).rcode == dns.NXDOMAIN
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


def kubernetes(*options: str) -> str:
    """A Corefile with these options of plugin `kubernetes`."""
    lines = "".join(f"      {option}\n" for option in options)
    return f".:53 {{\n    kubernetes cluster.local in-addr.arpa {{\n{lines}    }}\n}}\n"


@pytest.mark.parametrize(
    ("option", "found"),
    [
        ("ttl 5", {"quiet": True, "loud": True, "loud-host": False}),
        ("noendpoints", {"quiet": True, "loud": False, "loud-host": False}),
        ("endpoint_pod_names", {"quiet": True, "loud": True, "loud-host": True}),
        ("ignore empty_service", {"quiet": False, "loud": True, "loud-host": False}),
        ("labels app=loud", {"quiet": False, "loud": False, "loud-host": False}),
    ],
)
def test_options_of_the_kubernetes_plugin_say_which_names_there_are(
    bench: Any, option: str, found: dict[str, bool]
) -> None:
    cluster = bench.cluster(1)
    bench.coredns(cluster, corefile=kubernetes(option))
    shell = bench.shell(cluster, "n10")
    bench.service(cluster, "default", "quiet", [{"port": 1}], [])
    bench.service(cluster, "default", "loud", [{"port": 1}], [shell], clusterIP="None")
    bench.advance(5)
    names = {"quiet": "quiet", "loud": "loud", "loud-host": "shell.loud"}
    answers = {
        key: dns.lookup(bench.world, container(shell), f"{name}.default.svc.cluster.local.").found
        for key, name in names.items()
    }
    assert answers == found


def test_an_option_that_this_world_does_not_act_out_is_reported(bench: Any) -> None:
    cluster = bench.cluster(1)
    bench.coredns(cluster, corefile=kubernetes("multicluster clusterset.local"))
    bench.advance(5)
    assert "CoreDNS plugin kubernetes multicluster" in str(bench.world.unknown)


@pytest.mark.parametrize(
    ("block", "found"),
    [
        ("forward . 10.2.0.4:30053 10.3.0.4:30053 {\n policy sequential\n }", False),
        ("forward . 10.2.0.4:30053 10.3.0.4:30053 {\n policy sequential\n failover NXDOMAIN\n }", True),
        ("forward . 10.2.0.4:30053 10.3.0.4:30053 {\n policy sequential\n failover REFUSED\n }", False),
        ("forward . 10.2.0.4:30053 {\n next NXDOMAIN\n }\n forward . 10.3.0.4:30053", True),
        ("forward . 10.2.0.4:30053 {\n next SERVFAIL\n }\n forward . 10.3.0.4:30053", False),
    ],
)
def test_another_upstream_is_asked_after_an_answer_only_if_its_code_says_so(
    bench: Any, block: str, *, found: bool
) -> None:
    first, *others = (bench.cluster(number) for number in (1, 2, 3))
    bench.coredns(first, custom={"west.server": f"west.svc.cluster.local:53 {{\n {block}\n}}\n"})
    for other in others:
        bench.coredns(other, node_port=30053)
        bench.namespace(other, "west")
    bench.service(others[1], "west", "db", [{"port": 1}])
    shell = bench.shell(first, "n10")
    bench.advance(5)
    assert dns.lookup(bench.world, container(shell), "db.west.svc.cluster.local").found == found
