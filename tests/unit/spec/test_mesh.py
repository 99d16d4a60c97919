"""The spec: defaults, overrides, every mistake at once, and no traceback whatever is given."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from crdbmesh.errors import ConfigError
from crdbmesh.spec import addressing
from crdbmesh.spec import load as config

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_valid(path: Path) -> None:
    assert config.mesh(config.read_file(path)).all_regions()


def test_a_spec_survives_being_kept_and_read_again() -> None:
    spec = config.mesh({"regions": ["eastus", {"name": "westus", "zones": []}], "tags": {"a": "b"}})
    assert config.mesh(yaml.safe_load(config.dump(spec))) == spec


@pytest.mark.parametrize(
    ("database", "field"),
    [
        ({"name": "app"}, "database.survive"),
        ({"name": "app", "survive": "zone", "primary": "northeurope"}, "database.primary"),
        ({"name": "system", "survive": "zone"}, "database.name"),
        ({"name": "crdbmesh_verify", "survive": "zone"}, "database.name"),
        ({"name": "a; drop", "survive": "zone"}, "database.name"),
    ],
)
def test_a_database_that_cannot_be_is_refused_with_its_field(database: dict[str, str], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.mesh({"regions": ["eastus", "westus"], "database": database})
    assert [finding.field for finding in caught.value.findings] == [field]


def test_a_license_is_looked_for_beside_the_spec_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "mesh.yaml"
    path.write_text("regions: [eastus]\nlicense_file: key.txt\n")
    spec = config.mesh(config.read_file(path))
    assert spec.license_file == tmp_path / "key.txt"
    assert config.mesh(yaml.safe_load(config.dump(spec))) == spec


@pytest.mark.parametrize(
    "line", ["license_file: {}", "license_file: ./{}", "license_file: [{}]", "license: {}", "a: {}: b"]
)
def test_a_license_key_in_place_of_its_file_is_refused_and_not_quoted(line: str, tmp_path: Path) -> None:
    key, path = "crl-0-EKiz4Z8GGAMiDHRoZSBjdXN0b21lcg", tmp_path / "mesh.yaml"
    path.write_text(f"regions: [eastus]\n{line.format(key)}\n")
    with pytest.raises(ConfigError) as caught:
        config.mesh(config.read_file(path))
    assert key not in str(caught.value.document())


def test_overrides_win_over_the_document_and_none_does_not() -> None:
    document: dict[str, Any] = {"regions": ["eastus"], "machines": {"per_region": 5, "size": "Standard_D8s_v5"}}
    spec = config.mesh(document, {"machines.per_region": 1, "machines.size": None, "name": None})
    assert (spec.machines.per_region, spec.machines.size, spec.name) == (1, "Standard_D8s_v5", "crdbmesh")
    assert document["machines"]["per_region"] == 5, "the document was changed"


def test_every_mistake_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        config.mesh({"regions": ["East US", "westus"], "nam": 1, "machines": {"per_region": 0}, "allow_from": ["x"]})
    fields = {finding.field for finding in caught.value.findings}
    assert fields == {"regions[0].name", "nam", "machines.per_region", "allow_from[0]"}
    assert all(finding.remedy and finding.reason for finding in caught.value.findings)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"regions": ["eastus", "eastus"]}, "regions[1].name"),
        ({"regions": ["eastus", {"name": "westus", "vnet": "10.1.128.0/17"}]}, "regions[1].vnet"),
        ({"regions": ["eastus", {"name": "westus", "pods": "10.201.0.0/16"}]}, "regions[1].pods"),
        ({"regions": ["eastus", {"name": "westus", "cluster_id": 1}]}, "regions[1].cluster_id"),
        ({"regions": [{"name": "eastus", "subnet": "10.9.0.0/24"}]}, "regions[0].subnet"),
        (
            {"regions": [{"name": "eastus", "subnet": "10.1.1.0/29"}], "machines": {"per_region": 4}},
            "regions[0].subnet",
        ),
        ({"regions": [{"name": "eastus", "pods": "10.99.0.0/23"}]}, "regions[0].pods"),
        ({"regions": ["a", "b"], "network": {"base": "10.0.0.0/14"}}, "network.base"),
        ({"regions": ["eastus"], "allow_from": ["0.0.0.0/0"]}, "allow_from[0]"),
        ({"regions": ["eastus"], "tags": {"CRDBmesh": "x"}}, "tags.CRDBmesh"),
        ({"regions": ["eastus"], "ssh": {"user": "root"}}, "ssh.user"),
        ({}, "regions"),
    ],
)
def test_what_does_not_go_together_is_refused_with_its_field(document: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.mesh(document)
    assert field in {finding.field for finding in caught.value.findings}


@given(prefix=st.integers(8, 13), count=st.integers(1, 20), machines=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_derived_ranges_are_always_disjoint_and_inside_the_base(prefix: int, count: int, machines: int) -> None:
    base = IPv4Network(f"10.0.0.0/{prefix}")
    if count > addressing.capacity(base):
        with pytest.raises(ValueError, match="has room for"):
            addressing.derive(base, count - 1)
        return
    blocks = [block for index in range(count) for block in addressing.derive(base, index).named().values()]
    assert all(block.subnet_of(base) for block in blocks)
    assert not any(one.overlaps(other) for one, other in combinations(blocks, 2))
    ranges = addressing.derive(base, 0)
    assert all(addressing.machine_address(ranges.subnet, n) in ranges.subnet for n in range(1, machines + 1))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["name", "regions", "allow_from", "group", "network", "machines", "ssh", "cockroach", "patience", "tags", "x"]


@given(document=st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=6))
@settings(max_examples=200, deadline=None)
def test_whatever_is_given_is_a_spec_or_a_clear_error(document: dict[str, Any]) -> None:
    try:
        config.mesh(document)
    except ConfigError as error:
        assert error.findings


@given(text=st.text(max_size=60) | st.binary(max_size=60))
@settings(max_examples=150, deadline=None)
def test_whatever_is_in_a_file_is_a_document_or_a_clear_error(
    text: str | bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("spec") / "mesh.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    try:
        config.mesh(config.read_file(path))
    except ConfigError as error:
        assert error.findings


@pytest.mark.parametrize("given", ["East US", "EastUS", "EASTUS"])
def test_a_region_as_the_portal_shows_it_is_answered_with_its_short_name(given: str) -> None:
    with pytest.raises(ConfigError, match="write eastus"):
        config.mesh({"regions": [given]})


@pytest.mark.parametrize("port", [2379, 6443, 6444, 10250, 30053])
def test_ssh_where_k3s_or_cilium_listens_is_refused(port: int) -> None:
    with pytest.raises(ConfigError) as caught:
        config.mesh({"regions": ["eastus"], "ssh": {"port": port}})
    assert [finding.field for finding in caught.value.findings] == ["ssh.port"]


def test_zones_may_be_numbers() -> None:
    spec = config.mesh({"regions": [{"name": "eastus", "zones": [1, "2"]}]})
    assert spec.all_regions()[0].zones == ("1", "2")


def test_the_network_that_no_host_can_be_in_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"overlaps 0\.0\.0\.0/8"):
        config.mesh({"regions": [{"name": "eastus", "vnet": "0.1.0.0/16"}]})


@pytest.mark.parametrize("tags", [{"": "x"}, {"a<b": "x"}, {"k" * 513: "x"}, {"k": "v" * 257}])
def test_tags_that_azure_refuses_are_refused(tags: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="Azure allows names of 1 to 512 characters"):
        config.mesh({"regions": ["eastus"], "tags": tags})


def test_what_is_no_list_is_said_in_the_terms_of_yaml() -> None:
    with pytest.raises(ConfigError) as caught:
        config.mesh({"regions": "eastus", "machines": 3})
    assert {finding.reason for finding in caught.value.findings} == {
        "must be a list, even of one",
        "must be a mapping of fields",
    }


def test_regions_are_derived_once_and_anew_for_a_copy() -> None:
    mesh = config.mesh({"regions": ["eastus"]})
    assert mesh.all_regions() is mesh.all_regions()
    fewer = mesh.model_copy(update={"machines": mesh.machines.model_copy(update={"per_region": 1})})
    assert [len(one.all_regions()[0].machines) for one in (mesh, fewer)] == [3, 1]
    assert mesh == config.mesh({"regions": ["eastus"]})


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"machines": {"data_disk": {"size_gib": 70}}}, "cockroach.storage_gib"),
        ({"cockroach": {"wal_failover_gib": 24}}, "cockroach.wal_failover_gib"),
        ({"cockroach": {"replicas": 4}}, "cockroach.wal_failover_gib"),
        ({"machines": {"data_disk": {"iops": 100}}}, "machines.data_disk.iops"),
    ],
)
def test_disks_that_cannot_hold_what_is_asked_are_refused_with_the_field(document: Any, field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config.mesh({"regions": ["eastus"], **document})
    assert [finding.field for finding in refused.value.findings] == [field]
    config.mesh({"regions": ["eastus"], "cockroach": {"replicas": 4, "wal_failover_gib": 0}})
    config.mesh({"regions": ["eastus"], "machines": {"data_disk": {"size_gib": 71}}})
