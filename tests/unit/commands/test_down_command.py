"""`down`: all that is the mesh's, nothing else, as often as it takes."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path
from typing import Any

import pytest

from crdbmesh.commands import down
from crdbmesh.engine.step import Event, Outcome
from crdbmesh.errors import ElsewhereError
from crdbmesh.local import birth, contents
from crdbmesh.local.birth import Aim
from crdbmesh.local.folder import SPEC, LocalFolder, list_meshes


def kept_folder(root: Path, mesh: str) -> LocalFolder:
    folder = LocalFolder(root / mesh)
    folder.write(SPEC, f"name: {mesh}\nregions: [eastus]\n")
    return folder


def run(azure: Any, mesh: str, folder: LocalFolder, **options: Any) -> down.DownResult:
    return down.run_down(mesh, azure.cloud, folder, notify=options.pop("notify", lambda _event: None), **options)


def test_a_group_of_the_meshs_own_goes_whole_and_the_folder_at_last(azure: Any, tmp_path: Path) -> None:
    azure.put_group("whole", crdbmesh="whole")
    azure.put_vnet("whole", "whole-eastus", "10.1.0.0/16", crdbmesh="whole")
    azure.put_address("whole", "whole-eastus-1-ip", crdbmesh="whole")
    folder = kept_folder(tmp_path, "whole")

    found = down.find("whole", azure.cloud, folder)
    assert found.count == 3
    assert found.names() == ("resource group whole with 1 publicIPAddresses, 1 virtualNetworks",)

    ended = run(azure, "whole", folder)
    assert ended.done
    assert ended.left == ()
    assert not azure.group_exists("whole")
    assert not folder.path.exists()
    assert ended.folder is not None
    assert ended.folder.parent == tmp_path / "removed"
    assert ended.folder.name.startswith("whole-2")
    assert (ended.folder / SPEC).is_file()
    assert list_meshes(tmp_path) == []


def test_absent_is_done_and_needs_no_folder(azure: Any, tmp_path: Path) -> None:
    ended = run(azure, "never-was", LocalFolder(tmp_path / "never-was"))
    assert ended.done
    assert ended.results == {}
    assert ended.document()["found"] == 0


def test_in_a_shared_group_only_what_the_folder_has_recorded_goes_peerings_first(azure: Any, tmp_path: Path) -> None:
    azure.put_group("shared")
    foreign = azure.put_address("shared", "somebodys", owner="somebody")
    other_mesh = azure.put_address("shared", "another-eastus-1-ip", crdbmesh="another")
    ours = [
        azure.put_vnet("shared", "picky-eastus", "10.1.0.0/16", crdbmesh="picky"),
        azure.put_vnet("shared", "picky-westus", "10.2.0.0/16", crdbmesh="picky"),
        azure.put("shared", "networkSecurityGroups", "picky-eastus-nsg", {}, crdbmesh="picky"),
        azure.put_address("shared", "picky-eastus-1-ip", crdbmesh="picky"),
    ]
    azure.peer("shared", "picky-eastus", ours[1])
    azure.peer("shared", "picky-westus", ours[0])
    events: list[Event] = []

    folder = kept_folder(tmp_path, "picky")
    for one in ours:
        folder.append(contents.CREATED, one)
    ended = run(azure, "picky", folder, notify=events.append)

    assert ended.done, ended.document()
    assert not any(azure.exists(one) for one in ours)
    assert azure.exists(foreign)
    assert azure.exists(other_mesh)
    assert azure.group_exists("shared")
    changed = [event.step for event in events if event.result and event.result.outcome is Outcome.CHANGED]
    peerings = [step for step in changed if "picky-eastus/to-" in step or "picky-westus/to-" in step]
    assert len(peerings) == 2
    assert max(map(changed.index, peerings)) < changed.index("shared/virtualNetworks/picky-eastus")


def test_what_others_put_into_the_meshs_group_stays_and_is_named(azure: Any, tmp_path: Path) -> None:
    azure.put_group("lodger", crdbmesh="lodger")
    ours = azure.put_address("lodger", "lodger-eastus-1-ip", crdbmesh="lodger")
    theirs = azure.put_address("lodger", "theirs")
    ended = run(azure, "lodger", kept_folder(tmp_path, "lodger"))
    assert ended.done
    assert ended.kept == ("resource group lodger", theirs)
    assert not azure.exists(ours)
    assert azure.exists(theirs)


def test_what_lost_its_tags_goes_from_the_meshs_own_group_and_stays_in_a_shared_one(azure: Any, tmp_path: Path) -> None:
    azure.put_group("untagged", crdbmesh="untagged")
    azure.put_group("common")
    ours = azure.put_vnet("untagged", "untagged-eastus", "10.1.0.0/16")
    theirs = azure.put_vnet("common", "untagged-westus", "10.2.0.0/16")
    ended = run(azure, "untagged", kept_folder(tmp_path, "untagged"))
    assert ended.done
    assert ended.kept == ()
    assert not azure.exists(ours)
    assert azure.exists(theirs)


def test_what_is_taken_down_does_not_keep_the_next_database_from_being_initialised(azure: Any, tmp_path: Path) -> None:
    azure.put_group("gone", crdbmesh="gone")
    folder = kept_folder(tmp_path, "gone")
    folder.write(contents.CLUSTER_ID, "an id")
    ended = run(azure, "gone", folder, wait=False)
    assert ended.done
    assert folder.exists()
    assert folder.read(contents.CLUSTER_ID) is None


def test_without_waiting_the_folder_stays_until_a_second_run_has_looked(azure: Any, tmp_path: Path) -> None:
    azure.put_group("hasty", crdbmesh="hasty")
    azure.put_vnet("hasty", "hasty-eastus", "10.1.0.0/16", crdbmesh="hasty")
    azure.put("hasty", "networkSecurityGroups", "hasty-lease", {}, crdbmesh="hasty")
    folder = kept_folder(tmp_path, "hasty")
    ended = run(azure, "hasty", folder, wait=False)
    assert ended.done
    assert not ended.finished
    assert folder.exists()
    again = run(azure, "hasty", folder)
    assert again.done
    assert again.finished
    assert not folder.exists()


def test_an_interrupted_down_deletes_nothing_more_and_keeps_the_folder(azure: Any, tmp_path: Path) -> None:
    azure.put_group("stopped", crdbmesh="stopped")
    folder, stop = kept_folder(tmp_path, "stopped"), threading.Event()
    stop.set()
    ended = run(azure, "stopped", folder, stop=stop)
    assert ended.stopped
    assert not ended.done
    assert ended.left == ("resource group stopped",)
    assert folder.exists()
    assert azure.group_exists("stopped")
    azure.delete_group("stopped")


KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: crdb-k3s-eastus, cluster: {server: "https://203.0.113.1:6443"}}, {name: mine, cluster: {}}]
users: [{name: crdb-k3s-eastus, user: {token: t}}, {name: mine, user: {}}]
contexts:
  - {name: crdb-k3s-eastus, context: {cluster: crdb-k3s-eastus, user: crdb-k3s-eastus}}
  - {name: mine, context: {cluster: mine, user: mine}}
current-context: mine
"""


KEPT = KUBECONFIG.replace("current-context: mine", "current-context: crdb-k3s-eastus")


@pytest.mark.parametrize(
    ("kept", "forgotten"), [(KEPT, ("crdb-k3s-eastus",)), (KEPT.replace("113.1", "113.2"), ()), (None, ())]
)
def test_contexts_that_point_at_the_meshs_clusters_are_forgotten_on_request_and_no_others(
    azure: Any, tmp_path: Path, kept: str | None, forgotten: tuple[str, ...]
) -> None:
    azure.put_group("forget", crdbmesh="forget")
    folder = LocalFolder(tmp_path / "forget")
    if kept is not None:
        folder.write("kubeconfigs/eastus.yaml", kept)
    own = tmp_path / "config"
    own.write_text(KUBECONFIG)
    ended = run(azure, "forget", folder, forget_in={"KUBECONFIG": str(own)})
    assert ended.forgotten == forgotten
    assert ("crdb-k3s-eastus" in own.read_text()) is not bool(forgotten)
    assert "current-context: mine" in own.read_text()


def born(azure: Any, folder: LocalFolder, **change: str) -> LocalFolder:
    """The folder of a mesh that this Azure, or another one, had or has."""
    folder.write(contents.LOGIN_KEY, "a key")
    aim = Aim(cloud="lab", arm_url=azure.cloud.arm_url, subscription_id=azure.world.coordinates["subscription_id"])
    birth.write(folder, birth.of(aim.model_copy(update=change), "an id"))
    return folder


def test_a_folder_with_keys_of_which_nothing_is_found_stays(azure: Any, tmp_path: Path) -> None:
    folder = born(azure, kept_folder(tmp_path, "unfound"))
    for purge in (False, True):
        ended = run(azure, "unfound", folder, purge=purge)
        assert ended.done
        assert ended.folder == folder.path
        assert folder.read(contents.LOGIN_KEY) == "a key"


def test_a_mesh_of_another_subscription_is_not_taken_down_and_its_folder_stays(azure: Any, tmp_path: Path) -> None:
    azure.put_group("other", crdbmesh="other")
    folder = born(azure, kept_folder(tmp_path, "other"), subscription_id="another")
    before = azure.world.writes()
    with pytest.raises(ElsewhereError, match="is in subscription another"):
        run(azure, "other", folder)
    assert azure.world.writes() == before
    assert azure.group_exists("other")
    assert folder.read(contents.LOGIN_KEY) == "a key"
    azure.delete_group("other")


def test_a_removed_folder_is_erased_after_30_days_or_on_request(azure: Any, tmp_path: Path) -> None:
    old, new = (dt.datetime.now(dt.UTC) - dt.timedelta(days=days) for days in (31, 29))
    for moved in (old, new, new):
        kept_folder(tmp_path, "again").put_aside(moved)
    kept_folder(tmp_path, "other").put_aside(new)
    (tmp_path / "removed" / "somebodys").mkdir()
    run(azure, "again", LocalFolder(tmp_path / "again"))
    left = {path.name.partition("-2")[0] for path in (tmp_path / "removed").iterdir()}
    assert (left, len(list((tmp_path / "removed").glob("again-*")))) == ({"again", "other", "somebodys"}, 2)
    run(azure, "again", LocalFolder(tmp_path / "again"), purge=True)
    assert sorted(path.name.partition("-2")[0] for path in (tmp_path / "removed").iterdir()) == ["other", "somebodys"]


def test_purge_erases_the_folder_at_once(azure: Any, tmp_path: Path) -> None:
    azure.put_group("purged", **{"crdbmesh": "purged", "crdbmesh-id": "an id"})
    folder = born(azure, kept_folder(tmp_path, "purged"))
    ended = run(azure, "purged", folder, purge=True)
    assert ended.done
    assert ended.folder is None
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_in_the_journal(azure: Any, tmp_path: Path) -> None:
    azure.put_group("noted", crdbmesh="noted")
    folder, stop = kept_folder(tmp_path, "noted"), threading.Event()
    run(azure, "noted", folder, wait=False, stop=stop)
    (journal,) = (folder.path / "journals").glob("*-down.jsonl")
    assert '"step": "group/noted"' in journal.read_text()


def forge(azure: Any, mesh: str) -> list[str]:
    """Tag what belongs to others as the mesh's; the ids, and that of a whole group."""
    azure.put_group(f"{mesh}-payroll", **{"crdbmesh": mesh, "crdbmesh-id": "an id"})
    return [
        azure.put_address(f"{mesh}-payroll", "theirs", crdbmesh=mesh),
        azure.put_vnet(f"{mesh}-payroll", f"{mesh}-eastus", "10.9.0.0/16", crdbmesh=mesh),
        azure.put(mesh, "networkSecurityGroups", "theirs", {}, crdbmesh=mesh),
        azure.put_address(mesh, f"{mesh}-eastus", crdbmesh=mesh),
    ]


@pytest.mark.parametrize("folder_lost", [False, True], ids=["folder kept", "folder lost"])
def test_of_four_forged_tags_none_has_anything_deleted(azure: Any, tmp_path: Path, *, folder_lost: bool) -> None:
    mesh = f"forged{int(folder_lost)}"
    azure.put_group(mesh, **{"crdbmesh": mesh, "crdbmesh-id": "an id"})
    ours = azure.put_vnet(mesh, f"{mesh}-westus", "10.1.0.0/16")
    folder = LocalFolder(tmp_path / mesh)
    if not folder_lost:
        where = Aim(cloud="c", arm_url=azure.cloud.arm_url, subscription_id=azure.cloud.subscription_id)
        birth.write(folder, birth.of(where, "an id"))
    forged = forge(azure, mesh)
    ended = run(azure, mesh, folder)
    assert not azure.exists(ours)
    assert [azure.exists(one) for one in forged] == [True] * 4
    named = {*ended.kept, *(one.partition(" ")[0] for one in ended.left)}
    assert named == {f"resource group {mesh}", f"resource group {mesh}-payroll", *forged}
    assert ended.done is not folder_lost
    if folder_lost:
        # What has our name and type goes when the user confirms it, and nothing else.
        again = run(azure, mesh, folder, confirmed=[forged[1]])
        assert again.done
        assert [azure.exists(one) for one in forged] == [True, False, True, True]


def test_a_spec_that_cannot_be_read_widens_nothing(azure: Any, tmp_path: Path) -> None:
    azure.put_group("torn-elsewhere")
    theirs = azure.put_vnet("torn-elsewhere", "torn-eastus", "10.1.0.0/16", crdbmesh="torn")
    folder = LocalFolder(tmp_path / "torn")
    folder.write(SPEC, "regions: [")
    ended = run(azure, "torn", folder)
    assert azure.exists(theirs)
    assert theirs in ended.kept


def test_what_is_stuck_keeps_only_what_it_uses_and_the_blocker_is_named_with_the_remedy(
    azure: Any, tmp_path: Path
) -> None:
    azure.put_group("stuck-shared")
    azure.put_group("strangers")
    folder = kept_folder(tmp_path, "stuck")
    for region, prefix in (("eastus", "10.1"), ("westus", "10.2")):
        subnets = [{"name": "nodes", "properties": {"addressPrefix": f"{prefix}.1.0/24"}}]
        space = {"addressSpace": {"addressPrefixes": [f"{prefix}.0.0/16"]}, "subnets": subnets}
        folder.append(contents.CREATED, azure.put("stuck-shared", "virtualNetworks", f"stuck-{region}", space))
        nsg = azure.put("stuck-shared", "networkSecurityGroups", f"stuck-{region}-nsg", {})
        folder.append(contents.CREATED, nsg)
        folder.append(contents.CREATED, azure.put_address("stuck-shared", f"stuck-{region}-1-ip"))
    subnet = f"{str(folder.read(contents.CREATED)).splitlines()[0]}/subnets/nodes"
    configuration = {"name": "theirs", "properties": {"subnet": {"id": subnet}}}
    nic = azure.put("strangers", "networkInterfaces", "theirs", {"ipConfigurations": [configuration]})

    ended = run(azure, "stuck", folder)
    assert not ended.done
    assert ended.left == (subnet.partition("/subnets/")[0],)
    (failed,) = [one for one in ended.results.values() if one.outcome is Outcome.FAILED]
    assert failed.step == "stuck-shared/virtualNetworks/stuck-eastus"
    assert f"in use by {nic}" in str(failed.hint)
    assert "run `crdbmesh down` again" in str(failed.hint)
    azure.doors.delete(nic)
    assert run(azure, "stuck", folder).done


def test_a_group_that_a_stranger_uses_names_the_stranger(azure: Any, tmp_path: Path) -> None:
    azure.put_group("used", crdbmesh="used")
    azure.put_group("users")
    subnets = [{"name": "nodes", "properties": {"addressPrefix": "10.1.1.0/24"}}]
    space = {"addressSpace": {"addressPrefixes": ["10.1.0.0/16"]}, "subnets": subnets}
    vnet = azure.put("used", "virtualNetworks", "used-eastus", space)
    configuration = {"name": "theirs", "properties": {"subnet": {"id": f"{vnet}/subnets/nodes"}}}
    nic = azure.put("users", "networkInterfaces", "theirs", {"ipConfigurations": [configuration]})
    ended = run(azure, "used", kept_folder(tmp_path, "used"))
    assert f"in use by {nic}/ipConfigurations/theirs" in str(ended.results["group/used"].hint)


def test_a_lock_is_named_with_the_command_that_removes_it(azure: Any, tmp_path: Path) -> None:
    azure.put_group("locked", crdbmesh="locked")
    path = "/resourceGroups/locked/providers/Microsoft.Authorization/locks/hold"
    azure.send("PUT", path, {"properties": {"level": "CanNotDelete"}})
    ended = run(azure, "locked", kept_folder(tmp_path, "locked"))
    assert f"az lock delete --ids {azure._subscription}{path}" in str(ended.results["group/locked"].hint)
    azure.send("DELETE", path)


def test_a_peering_half_of_others_that_is_left_disconnected_is_named(azure: Any, tmp_path: Path) -> None:
    azure.put_group("spoke", crdbmesh="spoke")
    azure.put_group("hub")
    vnet = azure.put_vnet("spoke", "spoke-eastus", "10.1.0.0/16", crdbmesh="spoke")
    hub = azure.put_vnet("hub", "hub", "10.2.0.0/16")
    azure.peer("spoke", "spoke-eastus", hub)
    azure.peer("hub", "hub", vnet)
    folder = kept_folder(tmp_path, "spoke")
    half = f"{hub}/virtualNetworkPeerings/to-spoke-eastus"
    assert down.find("spoke", azure.cloud, folder).severed == (half,)
    ended = run(azure, "spoke", folder)
    assert ended.done
    assert ended.document()["disconnected_peerings"] == [half]


def test_the_lease_keeps_the_tags_of_the_spec_and_of_others(azure: Any, tmp_path: Path) -> None:
    azure.put_group("tagged", crdbmesh="tagged")
    azure.put("tagged", "networkSecurityGroups", "tagged-lease", {}, crdbmesh="tagged", team="data", costcentre="4711")
    azure.put_address("tagged", "theirs")
    path = "/resourceGroups/tagged/providers/Microsoft.Authorization/locks/hold"
    azure.send("PUT", path, {"properties": {"level": "CanNotDelete"}})
    assert not run(azure, "tagged", kept_folder(tmp_path, "tagged")).done
    _, lease = azure.send(
        "GET", "/resourceGroups/tagged/providers/Microsoft.Network/networkSecurityGroups/tagged-lease"
    )
    assert lease["tags"] == {"crdbmesh": "tagged", "team": "data", "costcentre": "4711"}
    azure.send("DELETE", path)
