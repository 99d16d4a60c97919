"""One run at a time on a mesh, from whatever machine."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crdbmesh.clients.azure.session import Session
from crdbmesh.errors import HeldError
from crdbmesh.local.folder import SPEC, LocalFolder
from crdbmesh.run.lease import Lease, origin_id
from crdbmesh.spec import names

NSGS = "Microsoft.Network/networkSecurityGroups"


@pytest.fixture
def session(azure: Any) -> Iterator[Session]:
    with Session(azure.cloud) as session:
        yield session


def lease_of(session: Session, mesh: str, *, held_in: Path | None = None, **options: Any) -> Lease:
    return Lease(
        session,
        group=mesh,
        mesh=mesh,
        location="eastus",
        tags={names.TAG: mesh},
        command="up",
        origin=origin_id(held_in) if held_in else None,
        **options,
    )


def tags(azure: Any, mesh: str) -> dict[str, str]:
    _, found = azure.send("GET", f"/resourceGroups/{mesh}/providers/{NSGS}/{names.lease(mesh)}")
    return dict(found["tags"])


def overwrite(azure: Any, mesh: str, *, ends_in_s: float) -> None:
    """What another machine's run would write."""
    now = dt.datetime.now(dt.UTC)
    azure.put(
        mesh,
        "networkSecurityGroups",
        names.lease(mesh),
        {},
        **{
            names.TAG: mesh,
            "crdbmesh-lease-id": "other",
            "crdbmesh-lease-holder": "up by bob on desk, process 7",
            "crdbmesh-lease-origin": "elsewhere",
            "crdbmesh-lease-since": f"{now - dt.timedelta(minutes=9):%Y-%m-%dT%H:%M:%SZ}",
            "crdbmesh-lease-until": f"{now + dt.timedelta(seconds=ends_in_s):%Y-%m-%dT%H:%M:%SZ}",
        },
    )


def test_whoever_comes_second_is_told_who_has_it_and_since_when(azure: Any, session: Session) -> None:
    azure.put_group("lease-two", crdbmesh="lease-two")
    overwrite(azure, "lease-two", ends_in_s=90)
    with pytest.raises(
        HeldError, match=r"lease-two is being worked on: up by bob on desk, process 7, since 20"
    ) as held:
        lease_of(session, "lease-two").look()
    assert "its lease runs out at 20" in (held.value.hint or "")
    with pytest.raises(HeldError):
        lease_of(session, "lease-two").take()


def test_it_is_given_back_at_the_end_and_then_free(azure: Any, session: Session) -> None:
    azure.put_group("lease-back", crdbmesh="lease-back")
    with lease_of(session, "lease-back") as lease:
        lease.take()
        assert names.TAG_LEASE_HOLDER in tags(azure, "lease-back")
    assert tags(azure, "lease-back") == {names.TAG: "lease-back"}
    with lease_of(session, "lease-back") as again:
        again.take()


def test_of_many_that_come_at_once_exactly_one_gets_it(azure: Any, session: Session) -> None:
    azure.put_group("lease-many", crdbmesh="lease-many")
    contenders = [lease_of(session, "lease-many") for _ in range(6)]
    got: list[Lease] = []
    refused: list[HeldError] = []

    def contend(lease: Lease) -> None:
        try:
            lease.take()
            got.append(lease)
        except HeldError as error:
            refused.append(error)

    threads = [threading.Thread(target=contend, args=(lease,)) for lease in contenders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(got), len(refused)) == (1, 5)
    assert tags(azure, "lease-many")[names.TAG_LEASE_ID] == got[0]._me.id
    got[0].give_back()


def test_one_whose_holder_died_is_free_once_it_ran_out(azure: Any, session: Session) -> None:
    azure.put_group("lease-late", crdbmesh="lease-late")
    overwrite(azure, "lease-late", ends_in_s=-5)
    with lease_of(session, "lease-late") as lease:
        lease.take()


def test_one_that_died_in_this_folder_gives_way_at_once(azure: Any, session: Session, tmp_path: Path) -> None:
    azure.put_group("lease-died", crdbmesh="lease-died")
    died = lease_of(session, "lease-died", held_in=tmp_path)
    died.take()
    died.end()
    with pytest.raises(HeldError):
        lease_of(session, "lease-died").look()
    with lease_of(session, "lease-died", held_in=tmp_path) as lease:
        lease.take()


def test_it_is_renewed_for_as_long_as_the_run_goes_on(azure: Any, session: Session) -> None:
    azure.put_group("lease-long", crdbmesh="lease-long")
    with lease_of(session, "lease-long", lasts_s=4) as lease:
        lease.take()
        first = tags(azure, "lease-long")[names.TAG_LEASE_UNTIL]
        deadline = time.monotonic() + 15
        while tags(azure, "lease-long")[names.TAG_LEASE_UNTIL] == first:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert lease.held_by_other is None


def test_a_change_of_tags_by_a_policy_does_not_cost_the_lease(azure: Any, session: Session) -> None:
    azure.put_group("lease-policy", crdbmesh="lease-policy")
    with lease_of(session, "lease-policy", lasts_s=8) as lease:
        lease.take()
        have = tags(azure, "lease-policy")
        azure.put("lease-policy", "networkSecurityGroups", names.lease("lease-policy"), {}, **have, cost="42")
        deadline = time.monotonic() + 15
        while tags(azure, "lease-policy")[names.TAG_LEASE_UNTIL] == have[names.TAG_LEASE_UNTIL]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert lease.held_by_other is None


def test_a_run_that_loses_it_is_told_and_takes_nothing_more(azure: Any, session: Session) -> None:
    azure.put_group("lease-lost", crdbmesh="lease-lost")
    lost = threading.Event()
    with lease_of(session, "lease-lost", lasts_s=2, lost=lost.set) as lease:
        lease.take()
        overwrite(azure, "lease-lost", ends_in_s=60)
        assert lost.wait(20)
        with pytest.raises(HeldError, match="bob on desk"):
            lease.take()
    assert tags(azure, "lease-lost")[names.TAG_LEASE_ID] == "other"


def test_a_second_process_in_the_same_folder_is_refused_before_it_asks_anyone(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "mesh")
    folder.write(SPEC, "name: mesh\nregions: [eastus]\n")
    code = (
        "import sys; from pathlib import Path; from crdbmesh.local.folder import LocalFolder\n"
        f"with LocalFolder(Path({str(folder.path)!r})).locked('up by alice on laptop, process 4711'):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(HeldError, match=r"mesh is being worked on: up by alice on laptop, process 4711, since 20"),
            folder.locked("me"),
        ):
            pass
        other.kill()
        other.wait(10)
    with folder.locked("me"):
        pass


def test_a_folder_that_was_only_locked_leaves_nothing_behind(tmp_path: Path) -> None:
    with LocalFolder(tmp_path / "mesh").locked("me"):
        assert (tmp_path / "mesh").is_dir()
    assert list(tmp_path.iterdir()) == []
