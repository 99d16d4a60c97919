"""With the role of examples/azure-role.json, and nothing more, everything works; and what nodes download is checked."""

from __future__ import annotations

import gc
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crdbmesh.checks.actions import LOOKING
from crdbmesh.clients import environment
from crdbmesh.commands.doctor import run_doctor
from crdbmesh.local.folder import LocalFolder
from crdbmesh.spec import load as config
from crdbmesh.spec.versions import NEWEST
from crdbmesh_simulator.azure import authorization
from crdbmesh_simulator.server import Simulator

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("the role"), pytest.mark.long]
ROLE: dict[str, Any] = json.loads((Path(__file__).parents[2] / "examples" / "azure-role.json").read_text())
ACTIONS: list[str] = ROLE["Actions"]
IN_GROUP, LOOKS = (
    json.loads((Path(__file__).parents[2] / "examples" / f"azure-role-{name}.json").read_text())["Actions"]
    for name in ("group", "looking")
)
"""The two roles for a resource group that was made beforehand: on it, and on the subscription."""
K3S = next(filter(None, [NEWEST.k3s.binary("x86_64")]))

LINKED = {
    "Microsoft.Network/virtualNetworks/peer/action",
    "Microsoft.Network/virtualNetworks/subnets/join/action",
    "Microsoft.Network/networkSecurityGroups/join/action",
    "Microsoft.Network/publicIPAddresses/join/action",
    "Microsoft.Network/networkInterfaces/join/action",
}
"""Asked for where a request's body refers to another resource."""

BEHIND = {
    # Azure asks for these where a request writes them together with what they are part of.
    "Microsoft.Network/virtualNetworks/subnets/write",
    "Microsoft.Network/networkSecurityGroups/securityRules/write",
    "Microsoft.Compute/disks/write",
    # This where a machine is read with what it is doing.
    "Microsoft.Compute/virtualMachines/instanceView/read",
    # These it asks for when a machine is deleted, which takes its interface, and that its address, with it.
    "Microsoft.Network/networkInterfaces/delete",
    "Microsoft.Network/publicIPAddresses/delete",
    # These it asks for when a client follows what was begun, or lists: lists show what may be read.
    "Microsoft.Resources/subscriptions/resources/read",
    "Microsoft.Network/virtualNetworks/subnets/read",
    "Microsoft.Network/networkSecurityGroups/securityRules/read",
    "Microsoft.Network/locations/operationResults/read",
    "Microsoft.Resources/subscriptions/operationresults/read",
}
"""Needed, but by no request of crdbmesh's own in this world."""

RARE = {
    "Microsoft.Compute/virtualMachines/start/action": "a machine that somebody stopped",
    "Microsoft.Compute/virtualMachines/powerOff/action": "a drill, tests/use/test_drill.py",
    "Microsoft.Network/virtualNetworks/virtualNetworkPeerings/delete": "a peering whose other half is gone",
    "Microsoft.Resources/subscriptions/resourceGroups/resources/read": "Azure's own listing of a group",
    "Microsoft.Compute/disks/read": "looking for what a deleted machine left",
    "Microsoft.Compute/disks/delete": "a disk that a deleted machine left in a shared group",
}
"""Needed only when something went wrong."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A world in which the caller has this role alone, and in which no resource provider is registered yet."""
    with Simulator(tmp_path_factory.mktemp("world"), scale=600, seed=3) as simulator:
        simulator.world.subscription.permissions = [role(*ACTIONS)]
        yield simulator
        # Refused sessions keep connections until they are collected, and the world's loop needs a moment to see it.
        gc.collect()
        time.sleep(0.5)


@pytest.fixture(scope="module")
def ground(world: Simulator, tmp_path_factory: pytest.TempPathFactory, grounds: Any) -> Any:
    return grounds(world.coordinates(), tmp_path_factory.mktemp("ground"))


def role(*actions: str) -> dict[str, Any]:
    return {"actions": list(actions), "notActions": [], "dataActions": [], "notDataActions": []}


def test_the_role_is_one_that_azure_takes_with_no_wildcard_and_no_way_to_more_power() -> None:
    assert ROLE["IsCustom"] is True
    assert len(set(ACTIONS)) == len(ACTIONS)
    for action in ACTIONS:
        assert re.fullmatch(r"Microsoft\.[A-Za-z]+(/[A-Za-z]+)+/(read|write|delete|action)", action)
        assert not action.startswith("Microsoft.Authorization/") or action.endswith("/read")
    assert not ROLE["DataActions"]
    assert all(scope.startswith("/subscriptions/") for scope in ROLE["AssignableScopes"])


def test_doctor_names_each_action_that_is_missing(world: Simulator, tmp_path: Path) -> None:
    cloud = environment.find_cloud({"CRDBMESH_CLOUD": world.coordinates()["cloud_file"]})
    mesh = config.mesh({"regions": ["eastus"], "allow_from": ["127.0.0.1"], "machines": {"per_region": 1}})
    # Without these nothing can be said about the others, so each is missed alone.
    first = {f"Microsoft.Resources/subscriptions/{name}" for name in ("read", "providers/read", "resourceGroups/read")}
    unread = {"Microsoft.Authorization/permissions/read"}
    for missing in (LOOKING - unread, set(ACTIONS) - LOOKING - first, *({one} for one in sorted(first | unread))):
        world.world.subscription.permissions = [role(*(action for action in ACTIONS if action not in missing))]
        try:
            found = json.dumps(run_doctor(mesh, cloud, LocalFolder(tmp_path / "home")).document())
        finally:
            world.world.subscription.permissions = [role(*ACTIONS)]
        assert [action for action in sorted(missing) if action not in found] == []


def test_up_without_actions_that_nobody_foresaw_names_them_and_their_scope(world: Simulator, ground: Any) -> None:
    lacking = {"Microsoft.Network/publicIPAddresses/write", "Microsoft.Network/virtualNetworks/write"}
    left = set(ACTIONS) - lacking - {"Microsoft.Authorization/permissions/read"}
    world.world.subscription.permissions = [role(*left)]
    try:
        run = ground.run(*UP, "--name", "less")
    finally:
        world.world.subscription.permissions = [role(*ACTIONS)]
    assert run.code == 1
    failed = [step for step in run.document()["steps"] if step["outcome"] == "failed"]
    assert {action for action in lacking if any(action in step["detail"] for step in failed)} == lacking
    for step in failed:
        assert "/resourceGroups/less/providers/Microsoft.Network/" in step["detail"]
        assert "role" in (step["error"]["remedy"] or "").lower()


UP = ["up", "--regions", "eastus", "--machines-per-region", "1", "--yes", "--output", "json"]


@pytest.fixture(scope="module")
def damaged(world: Simulator, ground: Any) -> Any:
    """`up`, in a group that is shared and all that may be changed, where what machines download arrives damaged."""
    world.world.subscription.permissions = [role("*")]
    ground.put("/resourcegroups/shared", {"location": "eastus"})
    world.world.subscription.permissions = [role(*LOOKS)]
    world.world.subscription.group_permissions["shared"] = [role(*IN_GROUP)]
    spec = ground.folder / "shared.yaml"
    spec.write_text("name: tenant\ngroup: shared\nregions: [eastus, westus]\nmachines: {per_region: 1}\n")
    world._hosts.corrupt_downloads.add(K3S.url)
    try:
        return ground.run("up", "--config", str(spec), "--yes", "--output", "json")
    finally:
        world._hosts.corrupt_downloads.clear()
        world.world.subscription.permissions = [role(*ACTIONS)]
        world.world.subscription.group_permissions.clear()


def test_a_damaged_download_is_refused_with_its_file_and_both_checksums(damaged: Any, ground: Any) -> None:
    assert damaged.code == 1
    failed, _other = [step for step in damaged.document()["steps"] if step["outcome"] == "failed"]
    assert failed["step"].endswith("/software")
    assert K3S.url in failed["detail"]
    assert "/usr/local/bin/k3s" in failed["detail"]
    assert f"SHA-256 {K3S.sha256} expected" in failed["detail"]
    (seen,) = re.findall(r"([0-9a-f]{64}) seen", failed["detail"])
    assert seen != K3S.sha256
    assert not any("k3s server" in " ".join(one["argv"]) for one in ground.commands())


def test_everything_that_nodes_download_is_pinned_to_a_checksum_and_comes_by_https(ground: Any, damaged: Any) -> None:
    pinned = [*filter(None, map(NEWEST.k3s.binary, NEWEST.k3s.sha256)), NEWEST.cilium.chart]
    for artifact in pinned:
        assert artifact.url.startswith("https://")
        assert re.fullmatch("[0-9a-f]{64}", artifact.sha256)
    fetched = [one["argv"] for one in ground.commands() if one["argv"][0] == "curl"]
    assert {argv[-1] for argv in fetched} <= {artifact.url for artifact in pinned}
    for argv in fetched:
        assert argv[argv.index("--proto") + 1] == "=https"
        assert not {"-k", "--insecure"} & set(argv)


@pytest.fixture(scope="module")
def life(ground: Any, damaged: Any) -> list[Any]:
    """A whole life with this role, and the end of one in a group that is shared."""
    runs = [ground.run(*UP), ground.run("status", "crdbmesh", "--output", "json")]
    ground.planted_then = ground.planted(("eastus",))
    return runs + [ground.run("down", name, "--yes", "--output", "json") for name in ("crdbmesh", "tenant")]


def test_up_status_and_down_work_with_this_role_alone(life: list[Any], ground: Any) -> None:
    assert [(run.arguments[0], run.code, run.stderr[-600:] if run.code else "") for run in life] == [
        (run.arguments[0], 0, "") for run in life
    ]
    left = ground.arm("/resources")["value"]
    assert [one["id"] for one in left if "/less/" not in one["id"]] == []


def test_down_shows_no_secret(life: list[Any], ground: Any) -> None:
    for run in life:
        assert ground.leaks(ground.around(run), ground.planted_then) == []


def test_the_role_holds_every_action_that_is_asked_for_and_no_other(
    life: list[Any], ground: Any, damaged: Any, action_of: Callable[[str, str], str | None]
) -> None:
    asked = {action.lower() for one in ground.recorder.requests if (action := action_of(one.method, one.path))}
    allowed = {action.lower() for action in ACTIONS}
    elsewhere = {action.lower() for action in {*LINKED, *BEHIND, *RARE}}
    assert asked - allowed == set()
    assert allowed - asked - elsewhere == set()


@pytest.fixture
def action_of() -> Callable[[str, str], str | None]:
    def find(method: str, path: str) -> str | None:
        asked = authorization.action_of(method, path.partition("?")[0])
        return asked[0] if asked else None

    return find
