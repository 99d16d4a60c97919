"""What a run reaches the world by: damaged secrets are named, and what fails is not tried by every step in turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from crdbmesh.clients.clock import REAL
from crdbmesh.errors import CloudError, CrdbmeshError, KubeError, RefusedError, StoppedError
from crdbmesh.local import contents
from crdbmesh.local.folder import LocalFolder
from crdbmesh.run.world import World
from crdbmesh.spec import load as config
from crdbmesh.steps import secrets

MESH = config.mesh({"name": "mine", "regions": ["eastus"], "machines": {"per_region": 1}})
KUBECONFIG = """\
current-context: default
clusters: [{name: default, cluster: {server: 'https://127.0.0.1:6443'}}]
users: [{name: default, user: {}}]
contexts: [{name: default, context: {cluster: default, user: default}}]
"""


class Empty:
    """A session with an Azure in which there is nothing, which it takes a while to say."""

    def __init__(self, lasts_s: float = 0.0) -> None:
        self.stop = threading.Event()
        self.clock = REAL
        self.lasts_s = lasts_s
        self.asked = 0

    @property
    def network(self) -> Any:
        return self

    @property
    def compute(self) -> Any:
        return self

    @property
    def virtual_machines(self) -> Any:
        return self

    def find(self, _doing: str, _call: Any) -> None:
        self.asked += 1
        time.sleep(self.lasts_s)

    def list_all(self, _doing: str, _call: Any) -> list[Any]:
        return []


def open_world(folder: LocalFolder, session: Empty | None = None) -> World:
    azure: Any = session or Empty()
    return World(MESH, azure, folder)


@pytest.mark.parametrize(
    "file", [contents.LOGIN_KEY, contents.CILIUM_CA, contents.COCKROACH_CA, contents.host_key("eastus-1")]
)
@pytest.mark.parametrize("damage", ["emptied", "cut off"])
def test_a_damaged_secret_is_refused_with_its_path_and_none_of_its_text(file: str, damage: str, tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "mine")
    secrets.make(open_world(folder))
    whole = folder.read(file)
    assert whole is not None
    folder.write(file, "" if damage == "emptied" else whole[: len(whole) - 60])
    again = open_world(folder)
    read: dict[str, Callable[[], object]] = {
        contents.LOGIN_KEY: again.login_key,
        contents.CILIUM_CA: again.cilium_ca,
        contents.COCKROACH_CA: again.cockroach_ca,
        contents.host_key("eastus-1"): lambda: again.host_key(next(MESH.all_machines())),
    }
    with pytest.raises(RefusedError) as caught:
        read[file]()
    assert str(folder.path / file) in str(caught.value)
    assert "backup" in (caught.value.hint or "")
    assert not any(line and line in str(caught.value) for line in whole.splitlines())


def test_probes_that_wait_for_one_that_tries_an_unreachable_cluster_share_what_it_finds(tmp_path: Path) -> None:
    folder, session = LocalFolder(tmp_path / "mine"), Empty(lasts_s=0.2)
    folder.write(contents.kubeconfig("eastus"), KUBECONFIG)
    world = open_world(folder, session)

    def ask(_: int) -> CrdbmeshError:
        with pytest.raises(KubeError, match="no server has a public address") as caught:
            world.kube("eastus")
        return caught.value

    with ThreadPoolExecutor(8) as pool:
        errors = list(pool.map(ask, range(8)))
    assert len(errors) == 8
    assert session.asked == 1
    ask(0)
    assert session.asked == 2, "who asks later is not told of an old failure"


@pytest.mark.parametrize("said", ["-oProxyCommand=touch /tmp/owned", "10.0.0.1/../x", "::1%\x1b[2J", ["10.0.0.1"]])
def test_what_azure_answers_in_place_of_an_address_reaches_no_command_line(said: object, tmp_path: Path) -> None:
    class Lying(Empty):
        def find(self, _doing: str, _call: Any) -> Any:
            return {"properties": {"ipAddress": said}}

    with pytest.raises(CloudError, match="is no IPv4 address") as caught:
        open_world(LocalFolder(tmp_path / "mine"), Lying()).public_address(next(iter(MESH.all_machines())))
    assert "\x1b" not in str(caught.value)


def test_of_those_that_wait_for_a_turn_the_first_in_order_is_next(tmp_path: Path) -> None:
    taken: list[int] = []
    world = open_world(LocalFolder(tmp_path / "mine"))
    with ThreadPoolExecutor(8) as pool:

        def take(number: int) -> None:
            with world.turn("rollout", (number,)):
                taken.append(number)

        with world.turn("rollout"):
            for number in (3, 1, 2, 2):
                pool.submit(take, number)
            time.sleep(0.3)
        pool.shutdown()
        assert taken == [1, 2, 2, 3]
        with world.turn("rollout"):
            world.stop.set()
            with pytest.raises(StoppedError), world.turn("rollout", (1,)):
                pass
