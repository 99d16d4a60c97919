"""The Kubernetes objects, checked against the published schemas and the facts they rely on."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from crdbmesh.desired import cilium, cockroach, dns
from crdbmesh.spec import load as config
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Mesh

PUBLISHED = Path(__file__).parents[3] / "simulator/src/crdbmesh_simulator/kubernetes"
CHART_SCHEMA = PUBLISHED / "controllers/charts/cilium-1.20.0-values.schema.json"
DEFINITIONS = PUBLISHED / "definitions-1.36.json"


@pytest.fixture
def mesh() -> Mesh:
    return config.mesh({"regions": ["eastus", "westus", "northeurope"]})


def kubernetes_objects(mesh: Mesh) -> list[dict[str, Any]]:
    objects: list[dict[str, Any]] = []
    for region in mesh.all_regions():
        objects += [
            cilium.secret(ca_cert="cert", ca_key="key"),
            dns.service(region),
            cockroach.namespace(region),
            cockroach.secret(region, names.NODE_SECRET, {"ca.crt": "x"}),
            *cockroach.services(region),
            *cockroach.storage(mesh, region),
            cockroach.zones(region, {"eastus-1": "eastus-1"}),
            cockroach.statefulset(mesh, region),
            cockroach.client(mesh, region),
            cockroach.marker(region, {"started": "now"}),
        ]
        forwarders = dns.forwarders(mesh, region)
        assert forwarders is not None
        objects.append(forwarders)
    return objects


@functools.cache
def strict_definitions() -> dict[str, Any]:
    """The published schemas, each of which refuses fields that it does not declare."""
    definitions: dict[str, Any] = json.loads(DEFINITIONS.read_text())["$defs"]
    for definition in definitions.values():
        if "properties" in definition:
            definition["additionalProperties"] = False
    return definitions


@functools.cache
def strict_validator(api_version: str, kind: str) -> jsonschema.Draft202012Validator:
    definitions = strict_definitions()
    group, _, version = api_version.rpartition("/")
    wanted = {"group": group, "version": version, "kind": kind}
    [name] = [name for name, each in definitions.items() if wanted in each.get("x-kubernetes-group-version-kind", [])]
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": definitions})


def test_every_object_is_valid_under_the_strict_published_schemas(mesh: Mesh) -> None:
    for item in kubernetes_objects(mesh):
        strict_validator(item["apiVersion"], item["kind"]).validate(item)


def test_the_strict_schemas_refuse_what_they_do_not_declare(mesh: Mesh) -> None:
    service = dns.service(mesh.all_regions()[0])
    with pytest.raises(jsonschema.ValidationError, match="clusterip"):
        strict_validator("v1", "Service").validate({**service, "spec": {"clusterip": "None"}})


def schema_paths(schema: dict[str, Any], value: Any, at: str = "") -> list[str]:
    """Key paths of `value` that the schema does not know (it does not refuse them itself)."""
    if not isinstance(value, dict):
        return []
    known = schema.get("properties")
    if known is None:
        return []
    unknown: list[str] = []
    for key, inner in value.items():
        if key not in known:
            unknown.append(f"{at}{key}")
        else:
            unknown += schema_paths(known[key], inner, f"{at}{key}.")
    return unknown


def test_chart_values_are_valid_and_every_key_is_one_the_chart_knows(mesh: Mesh) -> None:
    schema = json.loads(CHART_SCHEMA.read_text())
    assert "encryption" not in cilium.values(mesh, mesh.all_regions()[0])
    mesh = mesh.model_copy(update={"network": mesh.network.model_copy(update={"encryption": "wireguard"})})
    assert cilium.values(mesh, mesh.all_regions()[0])["encryption"] == {"enabled": True, "type": "wireguard"}
    for region in mesh.all_regions():
        values = {**cilium.values(mesh, region), **cilium.ca_values(ca_cert="c", ca_key="k")}
        jsonschema.validate(values, schema)
        assert schema_paths(schema, values) == []


def test_every_cluster_lists_every_address_of_every_other_and_not_itself(mesh: Mesh) -> None:
    for region in mesh.all_regions():
        clusters = cilium.values(mesh, region)["clustermesh"]["config"]["clusters"]
        assert [cluster["name"] for cluster in clusters] == [other.name for other in mesh.others(region)]
        for cluster, other in zip(clusters, mesh.others(region), strict=True):
            assert cluster["ips"] == [str(machine.address) for machine in other.machines]


def test_a_single_region_has_no_clustermesh_and_no_forwarders() -> None:
    mesh = config.mesh({"regions": ["eastus"]})
    region = mesh.all_regions()[0]
    assert "clustermesh" not in cilium.values(mesh, region)
    assert dns.forwarders(mesh, region) is None


def test_the_ca_key_is_in_the_secret_only(mesh: Mesh) -> None:
    chart = cilium.chart(mesh, mesh.all_regions()[0])
    assert "tls" not in yaml.safe_load(chart["spec"]["valuesContent"])
    assert chart["spec"]["valuesSecrets"] == [{"name": names.CILIUM_VALUES_SECRET, "keys": ["values.yaml"]}]


def test_a_failed_upgrade_never_uninstalls_the_network(mesh: Mesh) -> None:
    spec = cilium.chart(mesh, mesh.all_regions()[0])["spec"]
    assert spec["failurePolicy"] == "abort"
    assert spec["bootstrap"] is True


def test_no_cluster_forwards_its_own_zone(mesh: Mesh) -> None:
    for region in mesh.all_regions():
        forwarders = dns.forwarders(mesh, region)
        assert forwarders is not None
        assert sorted(forwarders["data"]) == sorted(f"crdbmesh-{o.name}.server" for o in mesh.others(region))
        assert not any(block.startswith(f"{region.name}.") for block in forwarders["data"].values())


def test_a_block_forwards_to_every_node_on_the_regions_own_port(mesh: Mesh) -> None:
    westus = mesh.region("westus")
    block = dns.block(westus)
    assert "forward . 10.2.1.4:30055 10.2.1.5:30055 10.2.1.6:30055 {" in block
    assert block.count("{") == block.count("}") == 3


def test_coredns_restarts_for_its_first_blocks_and_never_again(mesh: Mesh) -> None:
    other = config.mesh({"regions": ["eastus", "westus"]})
    born = dns.coredns(other, other.all_regions()[0], None)
    assert born["spec"]["template"]["metadata"]["annotations"]
    assert dns.coredns(mesh, mesh.all_regions()[0], born)["spec"]["template"] == born["spec"]["template"]
    assert dns.coredns(mesh, mesh.all_regions()[0], None)["spec"]["template"] != born["spec"]["template"]


def test_pods_that_are_there_keep_their_template_while_the_mesh_grows(mesh: Mesh) -> None:
    database = {"replicas": 3, "wal_failover_gib": 0}
    small = config.mesh({"regions": ["eastus"], "machines": {"per_region": 2}, "cockroach": database})
    born = cockroach.statefulset(small, small.all_regions()[0])
    grown = config.mesh({"regions": ["eastus", "westus"], "cockroach": database})
    region = grown.all_regions()[0]
    assert cockroach.statefulset(grown, region, born) == born
    assert cockroach.statefulset(grown, region) != born


@pytest.mark.parametrize("command", ["cockroach start", "cockroach start --join=nobody:26257 --cache=1GiB"])
def test_a_list_of_seeds_that_names_none_of_the_mesh_is_not_kept(mesh: Mesh, command: str) -> None:
    first = mesh.all_regions()[0]
    wanted = cockroach.statefulset(mesh, first)
    damaged = copy.deepcopy(wanted)
    damaged["spec"]["template"]["spec"]["containers"][0]["command"] = ["/bin/bash", "-ec", command]
    damaged["spec"]["template"]["spec"]["affinity"] = {}
    assert cockroach.statefulset(mesh, first, damaged) == wanted


def test_every_region_joins_by_the_same_seeds_two_of_each_of_the_first_three_regions(mesh: Mesh) -> None:
    seeds = cockroach.seeds(mesh)
    assert len(seeds) == 6
    more = config.mesh({"regions": [*(region.name for region in mesh.all_regions()), "francecentral"]})
    assert cockroach.seeds(more) == seeds
    assert seeds[0] == "cockroachdb-0.cockroachdb.eastus.svc.cluster.local:26257"
    for region in mesh.all_regions():
        assert f"--join={','.join(seeds)}" in start_command(mesh, region.name)
    assert cockroach.init_target(mesh) in seeds


def start_command(mesh: Mesh, region: str) -> str:
    command = cockroach.statefulset(mesh, mesh.region(region))["spec"]["template"]["spec"]["containers"][0]["command"]
    return str(command[-1])


def test_locality_has_region_and_zone_and_a_missing_zone_stops_the_pod(mesh: Mesh) -> None:
    command = start_command(mesh, "westus")
    assert '--locality="region=westus,zone=${zone}"' in command
    assert command.startswith('zone="$(cat ')


def test_database_pods_do_not_get_the_root_client_certificate(mesh: Mesh) -> None:
    text = json.dumps(cockroach.statefulset(mesh, mesh.all_regions()[0]))
    assert names.CLIENT_SECRET not in text
    assert names.CLIENT_SECRET in json.dumps(cockroach.client(mesh, mesh.all_regions()[0]))


def test_pods_meet_the_restricted_profile(mesh: Mesh) -> None:
    region = mesh.all_regions()[0]
    assert cockroach.namespace(region)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for workload in (cockroach.statefulset(mesh, region), cockroach.client(mesh, region)):
        pod = workload["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_more_pods_than_machines_only_prefer_to_be_apart() -> None:
    database = {"replicas": 3, "wal_failover_gib": 0}
    mesh = config.mesh({"regions": ["eastus"], "machines": {"per_region": 1}, "cockroach": database})
    affinity = cockroach.statefulset(mesh, mesh.all_regions()[0])["spec"]["template"]["spec"]["affinity"]
    assert "preferredDuringSchedulingIgnoredDuringExecution" in affinity["podAntiAffinity"]
