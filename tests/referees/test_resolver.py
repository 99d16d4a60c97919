"""A resolver nobody of this project wrote: `dig`, of BIND, asks the NodePorts through which regions ask each other."""

from __future__ import annotations

import subprocess
import urllib.parse
from typing import Any

import pytest
import yaml
from tests.referees.conftest import REGIONS, BuiltMesh, program

pytestmark = pytest.mark.referee
PORTS = dict(zip(REGIONS, (30054, 30055), strict=True))
POD = "cockroachdb-0.cockroachdb.{region}.svc.cluster.local"


def ask(mesh: BuiltMesh, region: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Let dig ask the region's node at its public address."""
    config: dict[str, Any] = yaml.safe_load(next(mesh.home.rglob(f"kubeconfigs/{region}.yaml")).read_text())
    host = urllib.parse.urlsplit(config["clusters"][0]["cluster"]["server"]).hostname
    command = [program("dig"), f"@{host}", "-p", str(PORTS[region]), "+tries=2", "+time=5", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def dig(mesh: BuiltMesh, region: str, *words: str) -> str:
    """What dig prints when it asks by TCP, which the mesh's firewall lets through from its operator."""
    answer = ask(mesh, region, "+tcp", *words)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.mark.parametrize("region", REGIONS)
def test_a_regions_own_pods_resolve(mesh: BuiltMesh, region: str) -> None:
    short = dig(mesh, region, POD.format(region=region), "A", "+short")
    assert len(short.split()) == 1
    whole = dig(mesh, region, POD.format(region=region), "A")
    assert "status: NOERROR" in whole
    assert short.strip() in whole


def test_udp_is_closed_to_the_outside(mesh: BuiltMesh) -> None:
    refused = ask(mesh, REGIONS[0], "+notcp", "+time=1", POD.format(region=REGIONS[0]), "A")
    assert refused.returncode == 9
    assert "timed out" in refused.stdout


@pytest.mark.parametrize(("here", "there"), [REGIONS, REGIONS[::-1]])
def test_the_other_regions_pods_resolve_through_the_forwarder(mesh: BuiltMesh, here: str, there: str) -> None:
    name = POD.format(region=there)
    assert dig(mesh, here, name, "A", "+short") == dig(mesh, there, name, "A", "+short") != ""


def test_other_types_and_names_are_answered_as_dns_says(mesh: BuiltMesh) -> None:
    region = REGIONS[0]
    service = f"_grpc._tcp.cockroachdb.{region}.svc.cluster.local"
    assert dig(mesh, region, service, "SRV", "+short").split() == [
        "0", "100", "26257", f"{POD.format(region=region)}."]  # fmt: skip
    empty = dig(mesh, region, POD.format(region=region), "AAAA")
    assert "status: NOERROR" in empty
    assert "ANSWER: 0" in empty
    assert "status: NXDOMAIN" in dig(mesh, region, f"nobody.{region}.svc.cluster.local", "A")


def test_dig_keeps_to_the_rules_of_edns_and_of_classes(mesh: BuiltMesh) -> None:
    name = POD.format(region=REGIONS[0])
    assert "status: NOERROR" in dig(mesh, REGIONS[0], name, "A", "+bufsize=512", "+dnssec", "+cookie")
    assert "status: NOERROR" in dig(mesh, REGIONS[0], name, "A", "+noedns")
    assert "status: REFUSED" in dig(mesh, REGIONS[0], name, "A", "-c", "CH")
