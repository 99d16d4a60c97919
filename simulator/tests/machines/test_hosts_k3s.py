"""k3s on machines: how a cluster begins, whom it takes in and whom it does not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from simulator.tests.machines.conftest import Town

FIRST: dict[str, Any] = {
    "cluster-init": True, "token": "secret", "flannel-backend": "none", "disable-network-policy": True,
    "disable": ["traefik", "servicelb"], "cluster-cidr": "10.101.0.0/16", "service-cidr": "10.201.0.0/16",
    "cluster-dns": "10.201.0.10", "tls-san": ["10.1.0.4"],
}  # fmt: skip
JOIN: dict[str, Any] = {key: value for key, value in FIRST.items() if key != "cluster-init"} | {
    "server": "https://10.1.0.4:6443"
}
AGENT: dict[str, Any] = {"server": "https://10.1.0.4:6443", "token": "secret"}


@pytest.fixture
def cluster(fast_town: Town) -> Town:
    """A town whose machine `s1` runs a cluster, and whose `s2` is ready."""
    fast_town.add("s1")
    fast_town.add("s2")
    assert fast_town.start_k3s("s1", FIRST).status == 0
    fast_town.settle("s2")
    return fast_town


def test_a_first_server_begins_a_cluster(fast_town: Town) -> None:
    fast_town.add("s1")
    fast_town.install_k3s("s1", FIRST | {"node-name": "first", "node-label": ["a=b"]})
    before = fast_town.world.clock.now()
    assert fast_town.run("s1", "sudo systemctl start k3s").status == 0
    assert fast_town.world.clock.now() - before > 15
    (cluster,) = fast_town.world.clusters
    member = cluster.members["first"]
    assert (member.role, member.running, member.voter_at is not None, member.version) == (
        "server",
        True,
        True,
        "v1.36.4+k3s1",
    )
    assert (cluster.token, cluster.config["cluster-cidr"], cluster.config["cluster-domain"]) == (
        "secret",
        "10.101.0.0/16",
        "cluster.local",
    )
    assert member.config["node-label"] == ["a=b"]
    look = "stat -c '%a %U' /etc/rancher/k3s/k3s.yaml; cat /var/lib/rancher/k3s/server/token"
    assert fast_town.run("s1", look, sudo=True).stdout == f"600 root\nK10{cluster.authority.ca_hash}::server:secret\n"
    assert (
        fast_town.run("s1", "sudo grep server: /etc/rancher/k3s/k3s.yaml").stdout
        == "    server: https://127.0.0.1:6443\n"
    )
    assert fast_town.run("s1", "cat /etc/rancher/k3s/k3s.yaml").status == 1
    assert fast_town.run("s1", "sudo grep -c cni /var/lib/rancher/k3s/agent/etc/containerd/config.toml").stdout == "0\n"


def test_a_second_server_joins_and_is_a_voter_when_systemctl_returns(cluster: Town) -> None:
    assert cluster.start_k3s("s2", JOIN | {"node-ip": "10.1.0.5", "write-kubeconfig-mode": "0644"}).status == 0
    member = cluster.member("s2")
    assert (member.running, member.voter_at is not None) == (True, True)
    assert len(cluster.world.clusters) == 1
    assert cluster.run("s2", "stat -c %a /etc/rancher/k3s/k3s.yaml").stdout == "644\n"


def test_the_full_token_joins_and_proves_the_ca(cluster: Town) -> None:
    token = cluster.run("s1", "sudo cat /var/lib/rancher/k3s/server/token").stdout.strip()
    assert cluster.start_k3s("s2", JOIN | {"token": token}).status == 0


def test_an_agent_joins_with_its_few_settings(cluster: Town) -> None:
    assert cluster.start_k3s("s2", AGENT, role="agent").status == 0
    assert (cluster.member("s2").role, cluster.member("s2").running) == ("agent", True)
    assert cluster.run("s2", "systemctl is-active k3s-agent; ls /etc/rancher/k3s/k3s.yaml").stdout == "active\n"


REFUSED = [
    ({"token": "wrong"}, "401 Unauthorized"),
    ({"token": "K10" + "0" * 64 + "::server:secret"}, "token CA hash does not match the Cluster CA certificate hash"),
    ({"flannel-backend": "vxlan"}, "critical configuration value mismatch between servers"),
    ({"disable": ["traefik"]}, "critical configuration value mismatch between servers"),
    ({"cluster-cidr": "10.102.0.0/16"}, "critical configuration value mismatch between servers"),
    ({"node-name": "s1"}, "Node password rejected, duplicate hostname"),
    ({"node-ip": "10.1.0.99"}, "bind: cannot assign requested address"),
    ({"server": "https://10.1.0.77:6443"}, "i/o timeout"),
    ({"server": "https://10.1.0.5:6443"}, "connection refused"),
    ({"server": "https://nowhere:6443"}, "no such host"),
]


@pytest.fixture(scope="module")
def door(full_town: Town) -> Town:
    """A town whose `s1` runs a cluster and whose `s2` has the program."""
    assert full_town.start_k3s("s1", FIRST).status == 0
    full_town.install_k3s("s2", JOIN)
    return full_town


@pytest.mark.parametrize(("change", "cause"), REFUSED, ids=[cause for _, cause in REFUSED])
def test_a_server_that_does_not_fit_is_refused(door: Town, change: dict[str, Any], cause: str) -> None:
    door.put("s2", "/etc/rancher/k3s/config.yaml", json.dumps(JOIN | change))
    done = door.run("s2", "systemctl start k3s; status=$?; systemctl stop k3s; exit $status", sudo=True)
    assert done.status == 1
    assert "Job for k3s.service failed" in done.stderr
    assert cause in door.journal("s2").rpartition("Starting k3s.service")[2]
    assert list(door.world.clusters[0].members) == ["s1"]
    assert len(door.world.clusters) == 1


def test_systemd_tries_again_until_the_cause_is_gone(cluster: Town) -> None:
    cluster.wiring.dropped.add(("10.1.0.5", "10.1.0.4"))
    assert cluster.start_k3s("s2", JOIN).status == 1
    cluster.wiring.dropped.clear()
    cluster.until(lambda: cluster.run("s2", "systemctl is-active k3s").stdout == "active\n", "k3s to recover")
    assert int(cluster.run("s2", "systemctl show k3s -p NRestarts --value").stdout) >= 1


def test_etcd_takes_one_learner_at_a_time(cluster: Town) -> None:
    cluster.add("s3")
    cluster.settle("s3")
    cluster.wiring.closed.add(("10.1.0.5", 2380))
    cluster.install_k3s("s2", JOIN)
    cluster.run("s2", "sudo systemctl start --no-block k3s")
    cluster.until(lambda: "s2" in cluster.world.clusters[0].members, "the second server to be a learner")
    assert cluster.start_k3s("s3", JOIN).status == 1
    assert "etcdserver: too many learner members in cluster" in cluster.journal("s3")
    assert cluster.member("s2").voter_at is None
    cluster.wiring.closed.clear()
    cluster.until(lambda: len([m for m in cluster.world.clusters[0].servers() if m.running]) == 3, "both to be in")


def test_a_learner_that_stopped_is_removed_after_a_while(cluster: Town) -> None:
    cluster.wiring.closed.add(("10.1.0.5", 2380))
    cluster.install_k3s("s2", JOIN)
    cluster.run("s2", "sudo systemctl start --no-block k3s")
    cluster.until(lambda: "s2" in cluster.world.clusters[0].members, "the second server to be a learner")
    cluster.hosts.halt(cluster.wiring.machines[1])
    cluster.until(lambda: "s2" not in cluster.world.clusters[0].members, "the learner to be removed")


def test_an_agent_refuses_settings_of_servers(cluster: Town) -> None:
    assert cluster.start_k3s("s2", AGENT | {"cluster-init": True}, role="agent").status == 1
    assert "flag provided but not defined: -cluster-init" in cluster.journal("s2", "k3s-agent")


def test_a_server_skips_unknown_settings_of_its_file_aloud_and_refuses_unknown_flags(fast_town: Town) -> None:
    fast_town.add("s1")
    assert fast_town.start_k3s("s1", FIRST | {"clutser-dns": "x"}).status == 0
    assert "Unknown flag --clutser-dns found in config.yaml, skipping" in fast_town.journal("s1")
    assert [unknown.what for unknown in fast_town.world.unknown] == ["k3s server: setting clutser-dns"]
    unit = "/etc/systemd/system/k3s.service"
    text = "[Service]\nType=notify\nExecStart=/usr/local/bin/k3s server --frobnicate"
    fast_town.run("s1", f"echo '{text}' > {unit}; systemctl daemon-reload", sudo=True)
    assert fast_town.run("s1", "sudo systemctl restart k3s").status == 1
    assert "flag provided but not defined: -frobnicate" in fast_town.journal("s1")


def test_flags_beat_the_file_and_the_folder_adds_to_it(fast_town: Town) -> None:
    fast_town.add("s1")
    fast_town.install_k3s("s1", FIRST | {"node-label": ["a=1"], "node-name": "file"})
    fast_town.put("s1", "/etc/rancher/k3s/config.yaml.d/10.yaml", "node-label+: [b=2]\ntls-san: [x]\n")
    fast_town.put("s1", "/etc/rancher/k3s/config.yaml.d/20.yaml", "tls-san: [y]\n")
    fast_town.run(
        "s1",
        "echo '[Service]\nType=notify\nExecStart=/usr/local/bin/k3s server --node-name=flag --kubelet-arg=max-pods=9 "
        "--kubelet-arg=pod-max-pids=8' > /etc/systemd/system/k3s.service; systemctl daemon-reload; systemctl start k3s",
        sudo=True,
    )
    config = fast_town.member("flag").config
    assert (config["node-label"], config["tls-san"]) == (["a=1", "b=2"], ["y"])
    assert config["kubelet-arg"] == ["max-pods=9", "pod-max-pids=8"]


def test_a_restart_finds_the_datastore_and_ignores_how_to_join(cluster: Town) -> None:
    assert cluster.start_k3s("s2", JOIN).status == 0
    member = cluster.member("s2")
    cluster.put("s2", "/etc/rancher/k3s/config.yaml", "cluster-init: true\ntoken: secret\n")
    cluster.run("s2", "sudo systemctl stop k3s")
    assert member.running is False
    assert cluster.run("s2", "sudo systemctl start k3s").status == 0
    assert (cluster.member("s2") is member, member.running, len(cluster.world.clusters)) == (True, True, 1)
    cluster.put("s2", "/etc/rancher/k3s/config.yaml", "token: changed\n")
    assert cluster.run("s2", "sudo systemctl restart k3s").status == 1
    assert "encrypted with different token" in cluster.journal("s2")


def test_a_cluster_without_quorum_waits_for_its_servers(cluster: Town) -> None:
    assert cluster.start_k3s("s2", JOIN).status == 0
    first, second = (cluster.world.machines[m.key] for m in cluster.wiring.machines)
    cluster.hosts.halt(first)
    cluster.hosts.halt(second)
    assert cluster.world.clusters[0].has_quorum() is False
    cluster.hosts.boot(second)
    cluster.until(lambda: "Waiting for etcd server" in cluster.journal("s2"), "the second server to wait")
    cluster.hosts.boot(first)
    cluster.until(lambda: cluster.world.clusters[0].has_quorum(), "the cluster to serve again")
    cluster.until(lambda: cluster.run("s1", "systemctl is-active k3s").stdout == "active\n", "k3s to be active")


def test_a_new_machine_takes_a_lost_ones_name_once_its_node_is_deleted(cluster: Town) -> None:
    assert cluster.start_k3s("s2", AGENT, role="agent").status == 0
    store = cluster.world.clusters[0].store
    node = store.resource("Node")
    store.create(node, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "s2"}, "spec": {}, "status": {}})
    cluster.hosts.halt(cluster.wiring.machines[1])
    cluster.add("s3")
    cluster.settle("s3")
    settings = AGENT | {"node-name": "s2"}
    cluster.install_k3s("s3", settings, role="agent")
    cluster.run("s3", "sudo systemctl start --no-block k3s-agent")
    cluster.until(lambda: "Node password rejected" in cluster.journal("s3", "k3s-agent"), "the name to be refused")
    store.delete(node, None, "s2")
    cluster.until(lambda: cluster.member("s2").running, "the new machine to join")
    assert cluster.member("s2").machine.name == "s3"
