"""CockroachDB: starting, joining, initialising, and what its command line says."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

BINARY = "/cockroach/cockroach"
CERTS = "--certs-dir=/cockroach/cockroach-certs"
SEEDS = ["cockroachdb-0.cockroachdb.east.svc.cluster.local", "cockroachdb-1.cockroachdb.east.svc.cluster.local:26257"]


def region(bench: Any, ca: Any, *, count: int = 3, join: Any = None, overrides: Any = None, **changes: Any) -> Any:
    """Cluster 1 with CoreDNS and `count` pods in namespace `east`; `overrides` by pod number."""
    cluster = bench.cluster(1, nodes=count)
    bench.namespace(cluster, "east")
    bench.coredns(cluster)
    boxes = []
    for number in range(count):
        more = {**changes, **(overrides or {}).get(number, {})}
        authority = more.pop("ca", ca)
        boxes.append(
            bench.cockroach(cluster, f"n1{number}", number, ca=authority, namespace="east", join=join or SEEDS, **more)
        )
    bench.headless(cluster, "east", boxes)
    bench.advance(8)
    return cluster, boxes


def health(box: Any, *, ready: bool = True) -> tuple[int, str]:
    answer = box.programs["db"].http_get(8080, "/health?ready=1" if ready else "/health", tls=True)
    assert answer is not None
    return answer.status, str(json.loads(answer.body).get("error", ""))


def init(bench: Any, box: Any, host: str = "cockroachdb-0.cockroachdb", *more: str) -> Any:
    return bench.run(box, BINARY, "init", CERTS, f"--host={host}", *more)


def node(box: Any) -> Any:
    return box.programs["db"].inner


def log(box: Any) -> str:
    return "\n".join(box.programs["db"].log)


def test_pods_wait_for_init_and_become_one_cluster_by_it(bench: Any, ca: Any) -> None:
    _, boxes = region(bench, ca)
    assert {health(box) for box in boxes} == {(503, "node is waiting for cluster initialization")}
    assert {health(box, ready=False) for box in boxes} == {(200, "")}
    answer = init(bench, boxes[0])
    assert (answer.exit_code, answer.stdout) == (0, b"Cluster successfully initialized\n")
    bench.advance(15)
    assert {health(box) for box in boxes} == {(200, "")}
    assert len({node(box).database.cluster_id for box in boxes}) == 1
    assert sorted(node(box).store.node_id for box in boxes) == [1, 2, 3]
    assert "initialized new cluster" in log(boxes[0])
    assert "joined pre-existing cluster" in log(boxes[1])


def test_init_again_is_refused(bench: Any, ca: Any) -> None:
    _, boxes = region(bench, ca)
    init(bench, boxes[0])
    bench.advance(10)
    for host in ("cockroachdb-0.cockroachdb", "cockroachdb-2.cockroachdb"):
        answer = init(bench, boxes[0], host)
        assert answer.exit_code == 1
        assert b"ERROR: cluster has already been initialized" in answer.stderr
        assert b'Failed running "init"' in answer.stderr


def test_node_status_lists_every_node_with_its_locality(bench: Any, ca: Any) -> None:
    _, boxes = region(bench, ca)
    init(bench, boxes[0])
    bench.advance(15)
    answer = bench.run(
        boxes[1], BINARY, "node", "status", CERTS, "--host=cockroachdb-0.cockroachdb.east", "--format=csv"
    )
    rows = list(csv.DictReader(io.StringIO(answer.stdout.decode())))
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert {row["is_live"] for row in rows} == {row["is_available"] for row in rows} == {"true"}
    assert sorted(row["locality"] for row in rows) == [f"region=east,zone=east-{number}" for number in range(3)]
    assert rows[0]["address"] == "cockroachdb-0.cockroachdb.east.svc.cluster.local:26257"
    assert rows[0]["build"] == "v26.2.6"
    more = bench.run(
        boxes[1],
        BINARY,
        "node",
        "status",
        CERTS,
        "--decommission",
        "--host=cockroachdb-0.cockroachdb.east",
    )
    assert {row["membership"] for row in csv.DictReader(io.StringIO(more.stdout.decode()), delimiter="\t")} == {
        "active"
    }


def test_a_node_that_is_gone_is_no_longer_live(bench: Any, ca: Any) -> None:
    cluster, boxes = region(bench, ca)
    init(bench, boxes[0])
    bench.advance(15)
    bench.remove(cluster, boxes[2])
    bench.advance(12)
    answer = bench.run(boxes[0], BINARY, "node", "status", CERTS, "--host=cockroachdb-0.cockroachdb", "--format=csv")
    live = {row["id"]: row["is_live"] for row in csv.DictReader(io.StringIO(answer.stdout.decode()))}
    assert live[str(node(boxes[2]).store.node_id)] == "false"
    assert list(live.values()).count("true") == 2
    assert health(boxes[0]) == (200, "")


def test_a_range_without_its_leaseholder_is_served_again_once_the_lease_is_over(bench: Any, ca: Any) -> None:
    cluster, boxes = region(bench, ca)
    init(bench, boxes[0])
    bench.advance(15)
    first, database = node(boxes[0]), node(boxes[0]).database
    assert {len(each.replicas) for each in database.ranges} == {3}
    assert list(first.await_leases()) == []
    bench.remove(cluster, boxes[2])
    waits = 0.0
    for wait_s in first.await_leases():
        waits += wait_s
        bench.advance(wait_s)
    assert 0 < waits <= 7
    seen = metrics(boxes[0])
    assert (seen["liveness_livenodes"], seen["ranges_unavailable"]) == (2, 0)
    assert seen["ranges_underreplicated"] > 0


def test_metrics_tell_of_clocks_and_certificates_and_need_no_login(bench: Any, ca: Any) -> None:
    _, boxes = region(bench, ca)
    assert boxes[0].programs["db"].http_get(8080, "/_status/vars", tls=True).status == 401
    init(bench, boxes[0])
    bench.advance(15)
    seen = metrics(boxes[0])
    assert abs(seen["clock_offset_meannanos"]) < 1_000_000
    assert seen["security_certificate_expiration_node"] > bench.world.clock.now()


def metrics(box: Any) -> dict[str, float]:
    answer = box.programs["db"].http_get(8080, "/_status/vars", tls=True)
    assert answer.status == 200
    lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
    return {line.partition("{")[0]: float(line.split()[-1]) for line in lines}


def test_a_minority_is_not_healthy(bench: Any, ca: Any) -> None:
    cluster, boxes = region(bench, ca)
    init(bench, boxes[0])
    bench.advance(15)
    bench.remove(cluster, boxes[1])
    bench.remove(cluster, boxes[2])
    bench.advance(40)
    assert health(boxes[0]) == (503, "node is not healthy")


def test_a_node_comes_back_with_its_claim_and_is_new_without(bench: Any, ca: Any) -> None:
    cluster, boxes = region(bench, ca, overrides={2: {"claim": "datadir-2"}})
    init(bench, boxes[0])
    bench.advance(15)
    before = {number: node(boxes[number]).store.node_id for number in (1, 2)}
    for number, more in ((1, {}), (2, {"claim": "datadir-2"})):
        bench.remove(cluster, boxes[number])
        boxes[number] = bench.cockroach(cluster, f"n1{number}", number, ca=ca, namespace="east", join=SEEDS, **more)
    slices = cluster.store.resource("EndpointSlice")
    entry = cluster.store.find(slices, "east", "cockroachdb-1")
    for endpoint, box in zip(entry["endpoints"], boxes, strict=True):
        endpoint["addresses"] = [box.ip]
    cluster.store.replace(slices, entry)
    bench.advance(60)
    assert node(boxes[2]).store.node_id == before[2]
    assert "restarted pre-existing node" in log(boxes[2])
    assert node(boxes[1]).store.node_id == 4 != before[1]


@pytest.mark.parametrize(("patience_s", "healthy"), [(100, False), (400, True)])
def test_replicas_of_a_dead_node_are_made_anew_after_five_minutes(
    bench: Any, ca: Any, patience_s: int, *, healthy: bool
) -> None:
    cluster, boxes = region(bench, ca, count=4)
    init(bench, boxes[0])
    bench.advance(15)
    bench.remove(cluster, boxes[3])
    bench.advance(patience_s)
    bench.remove(cluster, boxes[2])
    bench.advance(30)
    assert (health(boxes[0]) == (200, "")) == healthy


def test_inits_of_parts_that_do_not_know_each_other_make_two_clusters(bench: Any, ca: Any) -> None:
    apart = {number: {"flags": [f"--join=cockroachdb-{number}.cockroachdb.east"]} for number in (0, 1)}
    _, boxes = region(bench, ca, count=2, join=["cockroachdb-9.cockroachdb.east"], overrides=apart)
    for number, box in enumerate(boxes):
        assert init(bench, box, f"cockroachdb-{number}.cockroachdb").exit_code == 0
    bench.advance(30)
    assert len({node(box).database.cluster_id for box in boxes}) == 2
    assert {health(box) for box in boxes} == {(200, "")}


def test_a_node_with_only_missing_seeds_waits_for_ever(bench: Any, ca: Any) -> None:
    _, boxes = region(bench, ca, overrides={2: {"flags": []}}, join=["cockroachdb-0.cockroachdb.east"])
    lost = boxes[2]
    node(lost).settings.join[:] = ["cockroachdb-7.cockroachdb.east.svc.cluster.local"]
    init(bench, boxes[0])
    bench.advance(30)
    assert health(boxes[1]) == (200, "")
    assert health(lost) == (503, "node is waiting for cluster initialization")
    assert "no such host" in log(lost)


def test_another_ca_keeps_a_node_out(bench: Any, ca: Any, other_ca: Any) -> None:
    _, boxes = region(bench, ca, overrides={1: {"ca": other_ca}})
    init(bench, boxes[0])
    bench.advance(30)
    assert node(boxes[1]).database is None
    assert "certificate signed by unknown authority" in log(boxes[1])


def test_a_certificate_must_name_the_dialled_host(bench: Any, ca: Any) -> None:
    _, boxes = region(
        bench,
        ca,
        overrides={0: {"sans": ["localhost", "127.0.0.1", "*.cockroachdb.north.svc.cluster.local"]}},
        join=SEEDS[:1],
    )
    answer = bench.run(boxes[0], BINARY, "init", CERTS, "--host=localhost")
    assert answer.exit_code == 0
    bench.advance(30)
    assert node(boxes[1]).database is None
    assert (
        "certificate is valid for localhost, *.cockroachdb.north.svc.cluster.local, not cockroachdb-0.cockroachdb.east"
        in log(boxes[1])
    )


def test_cluster_names_must_be_equal(bench: Any, ca: Any) -> None:
    _, boxes = region(bench, ca, cluster_name="mesh", overrides={1: {"cluster_name": "mess"}, 2: {"cluster_name": ""}})
    refused = init(bench, boxes[0], "cockroachdb-0.cockroachdb", "--cluster-name=mesh")
    assert refused.exit_code == 0
    bench.advance(30)
    assert node(boxes[1]).database is None
    assert 'local cluster name "mess" does not match peer cluster name "mesh"' in log(boxes[1])
    assert 'peer node expects cluster name "mesh", use --cluster-name to configure' in log(boxes[2])


def test_init_without_the_cluster_name_goes_on_trying(bench: Any, ca: Any) -> None:
    _, boxes = region(bench, ca, count=1, cluster_name="mesh")
    answer = bench.run(boxes[0], "timeout", "20", BINARY, "init", CERTS, "--host=cockroachdb-0.cockroachdb")
    assert answer.exit_code == 124
    assert b"warning: node not ready to perform cluster initialization" in answer.stderr
    assert node(boxes[0]).database is None


def test_init_waits_until_the_node_is_up(bench: Any, ca: Any) -> None:
    cluster = bench.cluster(1)
    bench.namespace(cluster, "east")
    bench.coredns(cluster)
    bench.advance(3)
    box = bench.cockroach(cluster, "n10", 0, ca=ca, namespace="east", join=SEEDS)
    bench.headless(cluster, "east", [box])
    answer = init(bench, box)
    assert answer.exit_code == 0
    assert b"connection refused (retrying)" in answer.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"flags": ["--joyn=x"]}, "unknown flag: --joyn"),
        ({"locality": "east"}, 'tier must be in the form "key=value" not "east"'),
        ({"node_cn": "web", "sans": ["localhost"]}, 'expected "node"'),
        (
            {"mode": 0o644},
            "key file /cockroach/cockroach-certs/node.key has permissions -rw-r--r--, exceeds -rwxr-----",
        ),
        ({"mode": 0o440, "spec": {"securityContext": {"runAsUser": 1000, "runAsGroup": 1000}}}, "permission denied"),
        ({"usages": "server"}, "incompatible key usage"),
        (
            {"command": ["/bin/bash", "-c", "exec /cockroach/cockroach start --join=a --certs-dir=/nowhere"]},
            "does certs dir exist?",
        ),
        ({"command": ["/cockroach/cockroach", "start", "--insecure"]}, "no --join flags provided"),
    ],
)
def test_a_start_that_cannot_work_ends_with_the_reason(bench: Any, ca: Any, changes: dict[str, Any], said: str) -> None:
    _, boxes = region(bench, ca, count=1, **changes)
    assert boxes[0].programs["db"].exit_code == 1
    assert said in log(boxes[0])


@pytest.mark.parametrize(
    "context",
    [
        {"mode": 0o400},
        {"mode": 0o440, "spec": {"securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000}}},
    ],
)
def test_key_files_may_be_read_as_documented(bench: Any, ca: Any, context: dict[str, Any]) -> None:
    _, boxes = region(bench, ca, count=1, **context)
    assert health(boxes[0])[1] == "node is waiting for cluster initialization"


@pytest.mark.parametrize(
    "command",
    [
        ["/cockroach/cockroach", "start", CERTS, "--join=a", "--advertise-addr=b:26257"],
        ["/bin/sh", "-c", f"/cockroach/cockroach start {CERTS} --join a,b --advertise-addr=$HOSTNAME:26257"],
    ],
)
def test_a_start_is_understood_however_it_is_written(bench: Any, ca: Any, command: list[str]) -> None:
    _, boxes = region(bench, ca, count=1, command=command)
    answer = boxes[0].programs["db"].http_get(8080, "/health", tls=True)
    assert answer is not None
    assert answer.status == 200


def test_sql_tells_the_clusters_id(bench: Any, ca: Any) -> None:
    _, boxes = region(bench, ca)
    init(bench, boxes[0])
    bench.advance(15)

    def sql(*statements: str) -> Any:
        words = [word for statement in statements for word in ("--execute", statement)]
        return bench.run(boxes[0], BINARY, "sql", CERTS, "--host=cockroachdb-1.cockroachdb", "--format=csv", *words)

    asked = sql("SET allow_unsafe_internals = true", "SELECT crdb_internal.cluster_id() AS id")
    assert asked.stdout.decode().split("\n")[:3] == ["SET", "id", node(boxes[0]).database.cluster_id]


def test_a_client_is_told_why_it_cannot_connect(bench: Any, ca: Any, other_ca: Any) -> None:
    _, boxes = region(bench, ca)
    init(bench, boxes[0])
    bench.advance(15)
    missing = bench.run(boxes[0], BINARY, "node", "status", CERTS, "--host=nobody.cockroachdb")
    assert missing.exit_code == 1
    assert b"no such host" in missing.stderr
    wrong = bench.run(boxes[0], BINARY, "node", "status", CERTS, "--host=cockroachdb-0.cockroachdb:26258")
    assert b"connect: connection refused" in wrong.stderr
    folder = bench.run(boxes[0], BINARY, "sql", "--certs-dir=/nowhere", "--execute", "SELECT 1")
    assert b"does certs dir exist?" in folder.stderr
    flag = bench.run(boxes[0], BINARY, "node", "status", "--hots=a")
    assert b"unknown flag: --hots" in flag.stderr


def test_certificates_are_reloaded_on_a_hangup(bench: Any, ca: Any) -> None:
    _, boxes = region(bench, ca, count=1)
    files = node(boxes[0]).container.files
    cert, key = ca.issue("node", ["localhost"])
    files["/cockroach/cockroach-certs/node.crt"], files["/cockroach/cockroach-certs/node.key"] = cert, key
    assert node(boxes[0]).pair.cert != cert
    assert bench.run(boxes[0], "bash", "-c", "kill -HUP 1").exit_code == 0
    assert node(boxes[0]).pair.cert == cert
    assert "successfully reloaded certificates" in log(boxes[0])


def test_two_clusters_become_one_database_over_a_ready_link(bench: Any, ca: Any) -> None:
    clusters = {"east": bench.cluster(1, kube_proxy=False), "west": bench.cluster(2, kube_proxy=False)}
    join = [f"cockroachdb-0.cockroachdb.{space}.svc.cluster.local" for space in clusters]
    boxes = {}
    for number, (space, cluster) in enumerate(clusters.items(), 1):
        other = "west" if space == "east" else "east"
        bench.agents(cluster, name=space, number=number, remotes=bench.mesh_remotes(ca, space, [other]))
        bench.namespace(cluster, space)
    bench.advance(10)
    for number, (space, cluster) in enumerate(clusters.items(), 1):
        other, there = ("west", 2) if space == "east" else ("east", 1)
        bench.mesh(cluster, name=space, number=number, ca=ca, remotes={other: {"ips": [f"10.{there}.0.4"]}})
        block = f"{other}.svc.cluster.local:53 {{\n    cache 5\n    forward . 10.{there}.0.4:30053\n}}\n"
        bench.coredns(cluster, custom={"other.server": block}, node_port=30053)
        boxes[space] = bench.cockroach(cluster, f"n{number}0", 0, ca=ca, namespace=space, join=join)
        bench.headless(cluster, space, [boxes[space]])
    bench.advance(40)
    assert init(bench, boxes["east"], join[0]).exit_code == 0
    bench.advance(20)
    assert {health(box) for box in boxes.values()} == {(200, "")}
    assert len({node(box).database.cluster_id for box in boxes.values()}) == 1


def test_an_expired_certificate_is_refused_until_a_new_one_is_loaded(bench: Any, ca: Any) -> None:
    _, boxes = region(bench, ca, overrides={0: {"last": 120 / 86400}})
    init(bench, boxes[1])
    bench.advance(15)
    ask = (BINARY, "node", "status", CERTS, "--host=cockroachdb-0.cockroachdb.east")
    assert bench.run(boxes[1], *ask).exit_code == 0
    bench.advance(130)
    refused = bench.run(boxes[1], *ask)
    assert refused.exit_code == 1
    assert b"certificate has expired or is not yet valid" in refused.stderr
    sans = ["localhost", "127.0.0.1", "*.cockroachdb", "*.cockroachdb.east", "cockroachdb-public"]
    cert, key = ca.issue("node", sans, usages="server client")
    files = node(boxes[0]).container.files
    files["/cockroach/cockroach-certs/node.crt"], files["/cockroach/cockroach-certs/node.key"] = cert, key
    bench.advance(120)
    assert bench.run(boxes[1], *ask).exit_code == 1
    assert bench.run(boxes[0], "bash", "-c", "kill -HUP 1").exit_code == 0
    assert bench.run(boxes[1], *ask).exit_code == 0
