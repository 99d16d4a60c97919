"""What is put on machines."""

from __future__ import annotations

from typing import Any

import yaml

from crdbmesh.desired import machine as hosts
from crdbmesh.spec import load as config
from crdbmesh.spec.mesh import Region


def test_user_data_carries_our_host_key_as_a_block_and_nothing_else_by_default() -> None:
    mesh = config.mesh({"regions": ["eastus"]})
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n"
    text = hosts.cloud_init(mesh, host_key=key, host_key_public="ssh-ed25519 AAAA eastus-1")
    assert text.startswith("#cloud-config\n")
    assert "ed25519_private: |\n    -----BEGIN" in text
    assert yaml.safe_load(text) == {
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": key, "ed25519_public": "ssh-ed25519 AAAA eastus-1"},
    }


def test_another_ssh_port_is_configured_on_the_host_itself() -> None:
    mesh = config.mesh({"regions": ["eastus"], "ssh": {"port": 2222}})
    document = yaml.safe_load(hosts.cloud_init(mesh, host_key="k", host_key_public="p"))
    assert document["write_files"][0]["content"] == "Port 2222\n"


def configs(region: Region) -> list[dict[str, Any]]:
    """The configuration of every machine of a region that is being made."""
    first = region.machines[0]
    return [
        hosts.k3s_config(
            region, m, token="t", public_addresses=["1.2.3.4"], zone="z", through=None if m == first else first
        )
        for m in region.machines
    ]


def test_only_the_first_server_initialises_the_cluster() -> None:
    mesh = config.mesh({"regions": ["eastus"], "machines": {"per_region": 5}})
    region = mesh.all_regions()[0]
    made = configs(region)
    assert [bool(c.get("cluster-init")) for c in made] == [True, False, False, False, False]
    assert all(c["server"] == "https://10.1.1.4:6443" for c in made[1:])


def test_agents_get_no_server_settings() -> None:
    mesh = config.mesh({"regions": ["eastus"], "machines": {"per_region": 4}})
    region = mesh.all_regions()[0]
    agent = configs(region)[3]
    assert set(agent) == {"server", "token", "node-name", "node-ip", "node-label"}
    assert hosts.k3s_service(region, region.machines[3]) == "k3s-agent"


def test_servers_share_every_setting_that_k3s_requires_to_be_equal() -> None:
    mesh = config.mesh({"regions": ["eastus"]})
    region = mesh.all_regions()[0]
    made = configs(region)
    for setting in (
        "cluster-cidr",
        "service-cidr",
        "cluster-dns",
        "flannel-backend",
        "disable",
        "disable-kube-proxy",
        "disable-network-policy",
        "tls-san",
        "token",
    ):
        assert len({str(c[setting]) for c in made}) == 1, setting


def test_two_machines_are_one_server_and_one_agent() -> None:
    region = config.mesh({"regions": ["eastus"], "machines": {"per_region": 2}}).all_regions()[0]
    assert [m.number for m in region.servers] == [1]
    assert [m.number for m in region.agents] == [2]


def test_a_zoneless_region_still_has_a_zone_label() -> None:
    assert hosts.zone_label("westus", None) == "westus-0"
    assert hosts.zone_label("eastus", "2") == "eastus-2"
