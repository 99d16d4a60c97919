"""Corefiles: what CoreDNS makes of them, and what it refuses."""

from __future__ import annotations

import pytest

from crdbmesh_simulator.workloads.coredns.corefile import CorefileError
from crdbmesh_simulator.workloads.coredns.plugins import Config, load

PATH = "/etc/coredns/Corefile"
K3S = """\
.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
      pods insecure
      fallthrough in-addr.arpa ip6.arpa
    }
    hosts /etc/coredns/NodeHosts {
      ttl 60
      reload 15s
      fallthrough
    }
    prometheus :9153
    cache 30
    loop
    reload
    loadbalance
    import /etc/coredns/custom/*.override
    forward . /etc/resolv.conf
}
import /etc/coredns/custom/*.server
"""
GLOBAL_SERVICE = """\
westus.svc.cluster.local:53 {
    errors
    cache 10 {
        servfail 1s
    }
    forward . 10.202.0.251 {
        max_fails 2
        health_check 1s
        read_timeout 2s
    }
}
"""
NODE_PORTS = """\
westus.svc.cluster.local:53 {
    errors
    cache 10 {
        denial 1000 2
    }
    forward . 10.2.1.4:30053 10.2.1.5:30053 10.2.1.6:30053 {
        force_tcp
        max_fails 2
        health_check 2s
    }
}
"""
EKS = """\
region2.svc.cluster.local:53 {       # <---- Modify
    log
    errors
    ready
    cache 10
    forward . 10.2.0.4 10.2.0.5 10.2.0.6 {      # <---- Modify
         force_tcp
    }
}
"""
OWN_DOMAIN = """\
.:53 {
    rewrite continue {
        name regex ^(.+)\\.east\\.?$ {1}.cluster.local
        answer name (.+)\\.cluster\\.local {1}.east
        answer value (.+)\\.cluster\\.local {1}.east
    }
    kubernetes cluster.local
}
"""


def read(text: str, **more: str) -> Config:
    files = {PATH: text.encode(), "/etc/resolv.conf": b"nameserver 168.63.129.16\n"}
    files |= {f"/etc/coredns/custom/{name.replace('_', '.')}": content.encode() for name, content in more.items()}
    return load(PATH, files, {"HOST": "10.9.9.9"})


@pytest.mark.parametrize(
    "block", [GLOBAL_SERVICE, NODE_PORTS, EKS, OWN_DOMAIN, K3S], ids=["global", "ports", "eks", "own", "k3s"]
)
def test_blocks_in_use_are_accepted(block: str) -> None:
    assert read(block).servers


def test_imported_blocks_become_servers_and_the_longest_zone_wins() -> None:
    config = read(K3S, a_server=NODE_PORTS, b_server=GLOBAL_SERVICE.replace("westus", "north"))
    zones = [server.zone for server in config.servers]
    assert zones == [".", "westus.svc.cluster.local.", "north.svc.cluster.local."]
    found = config.find_server("db-0.db.westus.svc.cluster.local.")
    assert found is not None
    assert found.zone == "westus.svc.cluster.local."
    assert found.forwards[0].upstreams == [("10.2.1.4", 30053), ("10.2.1.5", 30053), ("10.2.1.6", 30053)]
    assert found.forwards[0].force_tcp
    assert found.cache is not None
    assert (found.cache.success_s, found.cache.denial_s) == (10, 2)
    other = config.find_server("kubernetes.default.svc.cluster.local.")
    assert other is not None
    assert other.zone == "."


def test_an_override_is_imported_into_the_main_block() -> None:
    config = read(K3S, log_override="log\n")
    assert "log" in config.servers[0].plugins


def test_an_empty_import_pattern_is_only_warned_of() -> None:
    assert read(K3S).warnings == [
        "No files matching import glob pattern: /etc/coredns/custom/*.override",
        "No files matching import glob pattern: /etc/coredns/custom/*.server",
    ]


def test_a_forward_to_a_file_goes_to_its_name_servers() -> None:
    assert read(K3S).servers[0].forwards[0].upstreams == [("168.63.129.16", 53)]


def test_the_environment_is_put_in() -> None:
    config = read("a.local:53 {\n    errors\n    forward . {$HOST}\n}\n")
    assert [server.zone for server in config.servers] == ["a.local."]
    assert config.servers[0].forwards[0].upstreams == [("10.9.9.9", 53)]
    assert "errors" in config.servers[0].plugins


def test_what_this_world_does_not_act_out_is_accepted_and_listed() -> None:
    assert read(K3S).unhandled == []
    assert read(OWN_DOMAIN).unhandled == ["rewrite"]
    forward = "forward . 1.2.3.4 {\n        except b.local\n    }"
    text = f"a.local:53 {{\n    {forward}\n    kubernetes {{\n        noendpoints\n    }}\n}}\n"
    assert read(text).unhandled == ["forward except", "kubernetes noendpoints"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.local:53 {\n    forwrd . 1.2.3.4\n}\n", "Corefile:2 - Error during parsing: Unknown directive 'forwrd'"),
        ("a.local:53 {\n    forward . 1.2.3.4 {\n        force_tcp\n", "Unexpected EOF"),
        ("}\na.local:53 {\n    errors\n}\n", "Unknown directive 'a.local:53'"),
        ("a.local:53 {\n    forward . 1.2.3.4 {\n        force_tpc\n    }\n}\n", "unknown property 'force_tpc'"),
        ("a.local:53 {\n    forward . dns.example.com\n}\n", 'not an IP address or file: "dns.example.com"'),
        ("a.local:53 {\n    forward .\n}\n", "Wrong argument count or unexpected line ending after '.'"),
        ("a.local:53 {\n    cache {\n        denail 1\n    }\n}\n", "unexpected line ending after 'denail'"),
    ],
)
def test_what_is_wrong_is_refused_with_the_words_of_caddy(text: str, said: str) -> None:
    with pytest.raises(CorefileError) as caught:
        read(text)
    assert said in str(caught.value)


def test_a_mistake_in_an_imported_file_names_that_file() -> None:
    with pytest.raises(CorefileError, match=r"/etc/coredns/custom/x\.server:2 - Error"):
        read(K3S, x_server="x.local:53 {\n    fwd . 1.2.3.4\n}\n")
