"""The folder of an earlier release, which does not say where its mesh is: whose it is, is seen by its login key."""

from __future__ import annotations

from typing import Any

import pytest

from crdbmesh.clients.azure.session import Session
from crdbmesh.commands import aim
from crdbmesh.errors import ElsewhereError
from crdbmesh.local import birth, pki
from crdbmesh.local.contents import LOGIN_KEY


def require(azure: Any) -> birth.Birth | None:
    with Session(azure.cloud) as session:
        aim.require(session, azure.folder, "pre")
    return birth.read(azure.folder)


def test_its_own_machines_here_make_it_this_subscriptions(azure: Any) -> None:
    key = pki.make_login_key("pre")
    azure.folder.write(LOGIN_KEY, key.private)
    azure.put_group("pre", **{"crdbmesh": "pre", "crdbmesh-id": "kept"})
    azure.put_machine("pre-eastus-1", key.public)
    found = require(azure)
    assert found is not None
    assert (found.arm_url, found.subscription_id) == (azure.cloud.arm_url, azure.subscription.id)
    assert (found.subscription_name, found.tenant_id) == (azure.subscription.display_name, azure.subscription.tenant_id)
    assert found.mesh_id == "kept"


def test_another_mesh_of_its_name_is_not_adopted(azure: Any) -> None:
    azure.folder.write(LOGIN_KEY, pki.make_login_key("pre").private)
    azure.put_group("pre", crdbmesh="pre")
    azure.put_machine("pre-eastus-1", pki.make_login_key("pre").public)
    with pytest.raises(ElsewhereError, match="is not found here"):
        require(azure)
    assert birth.read(azure.folder) is None


def test_with_its_login_key_lost_its_machines_are_taken_by_their_names(azure: Any) -> None:
    azure.folder.write("tokens/eastus", "a token")
    with pytest.raises(ElsewhereError, match="is not found here"):
        require(azure)
    azure.put_group("pre", crdbmesh="pre")
    azure.put_machine("pre-eastus-1", pki.make_login_key("pre").public)
    assert require(azure) is not None


@pytest.mark.parametrize("key", ["damaged", pki.make_login_key("pre").private], ids=["damaged", "whole"])
def test_nothing_found_adopts_nothing(azure: Any, key: str) -> None:
    azure.folder.write(LOGIN_KEY, key)
    with pytest.raises(ElsewhereError, match=azure.subscription.id):
        require(azure)
    assert birth.read(azure.folder) is None


def test_a_group_that_has_no_machine_yet_is_enough_for_a_folder_that_knows_of_none(azure: Any) -> None:
    azure.folder.write(LOGIN_KEY, pki.make_login_key("pre").private)
    azure.put_group("pre", crdbmesh="pre")
    azure.folder.write("kubeconfigs/eastus.yaml", "")
    with pytest.raises(ElsewhereError):
        require(azure)
    azure.folder.delete("kubeconfigs/eastus.yaml")
    assert require(azure) is not None


def test_a_folder_without_keys_may_become_a_mesh_anywhere(azure: Any) -> None:
    assert require(azure) is None
