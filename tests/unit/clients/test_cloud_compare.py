"""What counts as covered, and how what does not is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbmesh.clients.azure.compare import differences, merge

NSG: dict[str, Any] = {
    "location": "East US",
    "tags": {"crdbmesh": "m", "crdbmesh-region": "eastus"},
    "etag": "W/1",
    "properties": {
        "provisioningState": "Succeeded",
        "securityRules": [
            {"name": "other", "properties": {"priority": 4000, "access": "Deny"}},
            {"name": "ssh", "properties": {"priority": 100, "access": "Allow", "sourceAddressPrefixes": ["192.0.2.1"]}},
        ],
    },
}


def covered(desired: dict[str, Any], actual: dict[str, Any]) -> bool:
    return differences(desired, actual) == []


def test_what_azure_added_is_no_difference() -> None:
    rule = {"name": "ssh", "properties": {"priority": 100, "access": "Allow"}}
    assert covered({"tags": {"crdbmesh": "m"}, "properties": {"securityRules": [rule]}}, NSG)


def test_a_difference_says_where_what_is_wanted_and_what_is_found() -> None:
    desired = {"properties": {"addressSpace": {"addressPrefixes": ["10.1.0.0/16"]}}}
    actual = {"properties": {"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]}}}
    assert differences(desired, actual) == ["addressSpace.addressPrefixes: lacks 10.1.0.0/16"]


def test_every_difference_is_told() -> None:
    desired = {
        "tags": {"crdbmesh": "n", "owner": "me"},
        "properties": {
            "securityRules": [
                {"name": "ssh", "properties": {"access": "Deny"}},
                {"name": "api", "properties": {}},
            ]
        },
    }
    assert differences(desired, NSG) == [
        "tags.crdbmesh: n wanted, m found",
        "tags.owner: me wanted, nothing found",
        "securityRules[ssh].access: Deny wanted, Allow found",
        "securityRules[api]: wanted, nothing found",
    ]


def rule(name: str, *sources: str) -> dict[str, Any]:
    return {"name": name, "properties": {"sourceAddressPrefixes": list(sources)}}


def test_objects_that_differ_alike_are_named_together_with_what_each_lacks_and_has() -> None:
    wanted = {"properties": {"securityRules": [rule("ssh", "a", "b"), rule("api", "a", "b"), rule("web", "a")]}}
    found = {"properties": {"securityRules": [rule("ssh", "c", "a"), rule("api", "a", "c"), rule("web", "a")]}}
    assert differences(wanted, found) == ["securityRules[ssh, api].sourceAddressPrefixes: lacks b, has c"]


def test_long_values_are_cut_where_they_differ() -> None:
    one, other = "x" * 100 + "1 one", "x" * 100 + "2 other"
    (line,) = differences({"a": one}, {"a": other})
    assert line == f"a: …{'x' * 20}1 one wanted, …{'x' * 20}2 other found"


def test_nothing_at_all_covers_nothing() -> None:
    assert differences({"properties": {"a": 1}}, None) == ["properties: wanted, nothing found"]
    assert differences({"properties": {}}, None) == []


@pytest.mark.parametrize(
    ("desired", "actual"),
    [
        ({"location": "eastus"}, {"location": "East US"}),
        ({"id": "/subscriptions/S/resourceGroups/R"}, {"id": "/subscriptions/s/resourcegroups/r/"}),
        ({"remote": "/subscriptions/S/x"}, {"remote": "/subscriptions/s/X"}),
        ({"zones": ["1", "2"]}, {"zones": ["2", "1"]}),
        ({"zones": ["1"]}, {"zones": [1]}),
        ({"diskSizeGB": 64}, {"diskSizeGB": "64"}),
        ({"priority": 100}, {"priority": 100.0}),
        ({"vmSize": "standard_d2s_v5"}, {"vmSize": "Standard_D2s_v5"}),
        ({"protocol": "Tcp"}, {"protocol": "TCP"}),
        ({"sourceAddressPrefix": "192.0.2.1"}, {"sourceAddressPrefix": "192.0.2.1/32"}),
        ({"addressPrefix": "10.1.0.0/24"}, {"addressPrefixes": ["10.1.0.0/24"]}),
        ({"addressPrefix": "10.1.0.0/24"}, {"addressPrefixes": ["10.1.0.0/24", "10.2.0.0/24"]}),
        ({"addressPrefixes": ["10.1.0.0/24"]}, {"addressPrefixes": ["10.2.0.0/24", "10.1.0.0/24"]}),
        ({"sourceAddressPrefixes": ["192.0.2.1"]}, {"sourceAddressPrefix": "192.0.2.1"}),
        ({"keyData": "ssh-ed25519 AAAA c"}, {"keyData": "ssh-ed25519 AAAA c\n"}),
        ({"useRemoteGateways": None}, {}),
        ({"subnets": []}, {}),
        ({"tags": {"Owner": "x"}}, {"tags": {"owner": "x"}}),
        ({"customData": "c2VjcmV0"}, {}),
        ({"osDisk": {"diskSizeGB": 64, "managedDisk": {"storageAccountType": "P"}}}, {"osDisk": {"managedDisk": {}}}),
        (
            {"publicIPAddress": {"id": "/a", "properties": {"deleteOption": "Delete"}}},
            {"publicIPAddress": {"id": "/a"}},
        ),
        ({"osProfile": {"adminPassword": "x", "adminUsername": "me"}}, {"osProfile": {"adminUsername": "me"}}),
    ],
)
def test_the_same_in_another_form_is_no_difference(desired: dict[str, Any], actual: dict[str, Any]) -> None:
    assert covered(desired, actual)


@pytest.mark.parametrize(
    ("desired", "actual"),
    [
        ({"location": "eastus"}, {"location": "eastus2"}),
        ({"zones": ["1"]}, {"zones": ["1", "2"]}),
        ({"zones": ["1"]}, {}),
        ({"allowForwardedTraffic": True}, {"allowForwardedTraffic": False}),
        ({"defaultOutboundAccess": False}, {}),
        ({"adminUsername": "Me"}, {"adminUsername": "me"}),
        ({"sourceAddressPrefixes": ["192.0.2.1"]}, {"sourceAddressPrefix": "*"}),
        ({"sourceAddressPrefixes": ["192.0.2.1"]}, {"sourceAddressPrefixes": ["192.0.2.1", "0.0.0.0/0"]}),
        ({"addressPrefixes": ["10.1.0.0/24"]}, {"addressPrefixes": ["10.2.0.0/24"]}),
        ({"tags": {"type": "A"}}, {"tags": {"type": "a"}}),
        ({"tags": {"customData": "x"}}, {"tags": {}}),
        ({"a": {"b": 1}}, {"a": 1}),
        ({"a": {"b": 1}}, {}),
        ({"osDisk": {"diskSizeGB": 64}}, {"osDisk": {"diskSizeGB": 30}}),
        ({"a": 1}, {"a": {"b": 1}}),
        ({"a": [1]}, {"a": 1}),
        ({"a": True}, {"a": 1}),
    ],
)
def test_something_else_is_a_difference(desired: dict[str, Any], actual: dict[str, Any]) -> None:
    assert len(differences(desired, actual)) == 1


def test_objects_without_a_name_are_told_apart_by_id_or_path_or_by_fitting_best() -> None:
    nics = [{"id": "/subscriptions/s/a", "properties": {"primary": False}}, {"id": "/subscriptions/s/B"}]
    assert differences({"nics": [{"id": "/subscriptions/S/b"}]}, {"nics": nics}) == []
    assert differences({"nics": [{"id": "/subscriptions/s/a", "properties": {"primary": True}}]}, {"nics": nics}) == [
        "nics[a].primary: true wanted, false found"
    ]
    keys = [{"path": "/home/me/.ssh/authorized_keys", "keyData": "x"}]
    assert covered({"publicKeys": keys}, {"publicKeys": keys})
    rules = [{"port": 1}, {"port": 2, "open": True}]
    assert covered({"rules": [{"open": True}]}, {"rules": rules})
    assert differences({"rules": [{"port": 3}]}, {"rules": rules}) == ["rules[0].port: 3 wanted, 1 found"]


def test_write_only_fields_are_never_told() -> None:
    desired = {"osProfile": {"customData": "c2VjcmV0", "computerName": "a"}}
    assert "c2VjcmV0" not in "".join(differences(desired, {"osProfile": {"computerName": "b"}}))


def test_long_values_are_cut() -> None:
    (only,) = differences({"keyData": "k" * 500}, {"keyData": "l" * 500})
    assert len(only) < 150


SCALARS = st.one_of(st.booleans(), st.integers(0, 9), st.sampled_from(["", "a", "B", "10.0.0.0/8"]))
NAMES = st.sampled_from(["a", "B", "tags", "addressPrefixes", "sourceAddressPrefix", "destinationPortRanges", "zones"])
PLAIN = st.one_of(SCALARS, st.lists(SCALARS, max_size=3))
LISTS = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from(["x", "y", "z"]), "properties": st.dictionaries(NAMES, PLAIN)}),
    max_size=3,
    unique_by=lambda one: str(one["name"]),
)
BODIES = st.dictionaries(NAMES, st.one_of(PLAIN, LISTS, st.dictionaries(NAMES, PLAIN)), max_size=4)


@given(found=BODIES, wanted=BODIES)
def test_what_is_merged_covers_what_is_wanted_and_merging_again_changes_nothing(
    found: dict[str, Any], wanted: dict[str, Any]
) -> None:
    merged = merge(found, wanted)
    assert differences(wanted, merged) == []
    assert merge(merged, wanted) == merged


@given(found=BODIES)
def test_what_is_not_named_stays_as_it_is(found: dict[str, Any]) -> None:
    added = merge(found, {"other": 1, "objects": [{"name": "new"}]})
    assert added == {**found, "other": 1, "objects": [{"name": "new"}]}


@pytest.mark.parametrize(
    ("found", "wanted", "merged"),
    [
        ({"sourceAddressPrefix": "*", "sourceAddressPrefixes": []}, {"sourceAddressPrefixes": ["192.0.2.1"]}, None),
        ({"sourceAddressPrefixes": ["*"]}, {"sourceAddressPrefix": "192.0.2.1"}, None),
        ({"sourceApplicationSecurityGroups": [{"id": "/g"}]}, {"sourceAddressPrefix": "192.0.2.1"}, None),
        ({"sourceAddressPrefixes": ["::"]}, {"sourceAddressPrefix": "::"}, {"sourceAddressPrefixes": ["::"]}),
        ({"addressPrefixes": ["::/9"]}, {"addressPrefixes": ["::/8"]}, {"addressPrefixes": ["::/8", "::/9"]}),
        ({"tags": {"CrdbMesh": "n", "x": "1"}}, {"tags": {"crdbmesh": "m"}}, {"tags": {"CrdbMesh": "m", "x": "1"}}),
        ({"location": "East US"}, {"location": "eastus"}, {"location": "East US"}),
    ],
)  # fmt: skip
def test_of_two_fields_that_exclude_each_other_one_is_left_and_forms_are_kept(
    found: dict[str, Any], wanted: dict[str, Any], merged: dict[str, Any] | None
) -> None:
    assert merge(found, wanted) == (merged or wanted)
