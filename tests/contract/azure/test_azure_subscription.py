"""Groups, tags, locations, providers, permissions: what a subscription tells, and who may ask."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crdbmesh.clients import cloud
from crdbmesh.clients.azure import kinds, resources
from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.cloud import Cloud
from crdbmesh.errors import CloudError, ConfigError, CredentialError


def test_a_group_is_found_by_name_and_tag_and_stays_when_ensured_again(
    session: Session, group: str, tag: tuple[str, str]
) -> None:
    found = resources.find_group(session, group.upper())
    assert found is not None
    assert found["name"] == group
    assert found["properties"]["provisioningState"] == "Succeeded"
    again = resources.ensure_group(session, group, found["location"], {tag[0]: tag[1]})
    assert again["id"] == found["id"]
    assert group in [one["name"] for one in resources.list_groups(session, *tag)]
    assert resources.list_groups(session, tag[0], "nobody's") == []


def test_a_group_does_not_move(session: Session, group: str) -> None:
    with pytest.raises(CloudError) as caught:
        resources.ensure_group(session, group, "westus", {})
    assert caught.value.code == "InvalidResourceGroupLocation"
    assert caught.value.hint is not None


def test_what_carries_a_tag_is_listed_wherever_it_is(session: Session, group: str, tag: tuple[str, str]) -> None:
    body = {"location": "eastus", "tags": {tag[0]: tag[1]}, "properties": {}}
    made = kinds.NSG.ensure(session, group, "tagged", body=body)
    kinds.NSG.ensure(session, group, "untagged", body={"location": "eastus", "properties": {}})
    listed = resources.list_tagged(session, *tag)
    assert made["id"].lower() in [one["id"].lower() for one in listed]
    assert "untagged" not in [one["name"] for one in listed]
    assert {"tagged", "untagged"} <= {one["name"] for one in resources.list_group_resources(session, group)}


def test_every_page_is_read(session: Session, group: str) -> None:
    names = {f"page-{number}" for number in range(12)}
    for name in names:
        kinds.NSG.ensure(session, group, name, body={"location": "eastus", "properties": {}})
    assert names <= {one["name"] for one in resources.list_group_resources(session, group)}


def test_a_resource_is_found_and_deleted_by_its_id_alone(session: Session, group: str) -> None:
    made = kinds.NSG.ensure(session, group, "by-id", body={"location": "eastus", "properties": {}})
    found = resources.find_resource(session, made["id"])
    assert found is not None
    assert found["name"] == "by-id"
    resources.delete_resource(session, made["id"])
    assert kinds.NSG.find(session, group, "by-id") is None
    assert resources.find_resource(session, made["id"]) is None
    resources.delete_resource(session, made["id"])
    with pytest.raises(CloudError, match="is not the id of a resource"):
        resources.delete_resource(session, f"/subscriptions/{session.subscription_id}")


def test_a_deleted_group_is_gone_with_all_in_it_and_deleting_it_again_is_done(
    session: Session, group: str, tag: tuple[str, str]
) -> None:
    doomed = f"{group}-doomed"
    resources.ensure_group(session, doomed, "eastus", {tag[0]: tag[1]})
    kinds.NSG.ensure(session, doomed, "with-it", body={"location": "eastus", "properties": {}})
    said: list[str] = []
    resources.delete_group(session, doomed, wait=True, say=said.append)
    assert resources.find_group(session, doomed) is None
    assert resources.list_group_resources(session, doomed) == []
    assert any(doomed in text for text in said)
    resources.delete_group(session, doomed, wait=True)
    resources.delete_group(session, doomed, wait=False)


def test_a_group_that_is_being_deleted_can_be_left_alone_or_waited_for_or_made_again(
    session: Session, group: str, tag: tuple[str, str]
) -> None:
    doomed = f"{group}-again"
    resources.ensure_group(session, doomed, "eastus", {tag[0]: tag[1]})
    kinds.NSG.ensure(session, doomed, "with-it", body={"location": "eastus", "properties": {}})
    resources.delete_group(session, doomed, wait=False)
    resources.delete_group(session, doomed, wait=False)
    made = resources.ensure_group(session, doomed, "eastus", {tag[0]: tag[1]})
    assert made["properties"]["provisioningState"] == "Succeeded"
    assert kinds.NSG.find(session, doomed, "with-it") is None
    resources.delete_group(session, doomed, wait=True)


def test_locations_have_names_and_places(session: Session) -> None:
    locations = {one["name"]: one for one in resources.list_locations(session)}
    assert locations["eastus"]["displayName"] == "East US"
    assert float(locations["northeurope"]["metadata"]["latitude"]) == pytest.approx(53.3, abs=1)


def test_a_provider_is_registered_and_waited_for(session: Session) -> None:
    found = resources.register_provider(session, "Microsoft.Network")
    assert found["registrationState"] == "Registered"
    assert resources.find_provider(session, "Microsoft.NoSuchThing") is None


def test_permissions_are_listed_for_the_subscription_and_for_a_group(session: Session, group: str) -> None:
    for listed in (resources.list_permissions(session), resources.list_permissions(session, group)):
        assert any(one["actions"] for one in listed)


def test_the_subscription_is_found_and_among_those_listed(session: Session) -> None:
    found = resources.find_subscription(session)
    assert found is not None
    assert found["state"] == "Enabled"
    assert session.subscription_id in [one["subscriptionId"] for one in resources.list_subscriptions(session)]


def test_without_a_subscription_named_the_only_one_is_used_or_all_are_listed(
    session: Session, the_cloud: Cloud
) -> None:
    seen = [one["subscriptionId"] for one in resources.list_subscriptions(session)]
    if len(seen) == 1:
        with Session(replace(the_cloud, subscription_id=None)) as other:
            assert other.subscription_id == seen[0]
        return
    with pytest.raises(ConfigError) as caught:
        Session(replace(the_cloud, subscription_id=None))
    assert all(one in str(caught.value) for one in seen)


def test_a_token_that_is_not_accepted_is_a_credential_error_that_does_not_show_it(the_cloud: Cloud) -> None:
    stranger = replace(the_cloud, credential=cloud.GivenToken("not-a-token-of-ours"))
    with Session(stranger) as refused, pytest.raises(CredentialError) as caught:
        resources.find_group(refused, "any")
    assert caught.value.status == 401
    assert "not-a-token-of-ours" not in str(caught.value)
    assert caught.value.hint is not None


def test_a_subscription_that_is_not_there_is_an_error_and_not_an_absent_group(the_cloud: Cloud) -> None:
    elsewhere = replace(the_cloud, subscription_id="00000000-0000-0000-0000-00000000dead")
    with Session(elsewhere) as lost, pytest.raises(CredentialError) as caught:
        resources.find_group(lost, "any")
    assert caught.value.code in {"SubscriptionNotFound", "InvalidSubscriptionId"}
