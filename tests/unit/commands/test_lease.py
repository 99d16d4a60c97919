"""One run at a time on a mesh, from whatever machine."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from crdbmesh.clients.azure.session import Session
from crdbmesh.commands import down
from crdbmesh.commands.down import LEASE_S
from crdbmesh.engine.step import Event
from crdbmesh.errors import Finding, HeldError
from crdbmesh.local import contents
from crdbmesh.local.folder import SPEC, LocalFolder
from crdbmesh.run.lease import LASTS_S, LONGEST_S, Lease, origin_id
from crdbmesh.spec import names
from crdbmesh.terminal.app import app

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


def overwrite(azure: Any, mesh: str, *, ends_in_s: float, **forged: str) -> None:
    """What another machine's run would write, or somebody who forges it."""
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
            **{f"crdbmesh-lease-{key}": value for key, value in forged.items()},
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


@pytest.mark.parametrize("until", ["9999-12-31T23:59:59Z", "in 16 minutes", "never"])
def test_a_forged_or_skewed_lease_that_ends_later_than_any_of_ours_holds_nobody_up(
    azure: Any, session: Session, until: str
) -> None:
    azure.put_group("lease-forged", crdbmesh="lease-forged")
    forged = {} if until.startswith("in ") else {"until": until}
    overwrite(azure, "lease-forged", ends_in_s=LONGEST_S + 60, **forged)
    with lease_of(session, "lease-forged") as lease:
        lease.look()
        lease.take()
    assert LONGEST_S <= 15 * 60
    assert max(LASTS_S, LEASE_S) < LONGEST_S


def test_a_lease_is_judged_by_azures_clock_and_not_by_this_computers(azure: Any, session: Session) -> None:
    azure.put_group("lease-clock", crdbmesh="lease-clock")
    overwrite(azure, "lease-clock", ends_in_s=3600 + 120)
    path = f"/resourceGroups/lease-clock/providers/{NSGS}/{names.lease('lease-clock')}"
    _, found = azure.send("GET", path)
    an_hour_ahead = email.utils.formatdate(time.time() + 3600, usegmt=True)
    answer = {"method": "GET", "path": path, "status": 200, "body": found, "headers": {"Date": an_hour_ahead}}
    azure.doors.answer(answer)
    with pytest.raises(HeldError, match="bob on desk"):
        lease_of(session, "lease-clock").look()
    azure.doors.answer()
    lease_of(session, "lease-clock").look()
    lease_of(session, "lease-clock").look()


def test_what_a_forger_wrote_shows_no_controls_and_no_command(azure: Any, session: Session) -> None:
    azure.put_group("lease-text", crdbmesh="lease-text")
    overwrite(azure, "lease-text", ends_in_s=90, holder="\x1b]52;c;x\x07\u202eup\x9b2J" + "a" * 240)
    with pytest.raises(HeldError) as held:
        lease_of(session, "lease-text").look()
    assert str(held.value).isprintable()
    assert len(str(held.value)) < 300
    overwrite(azure, "lease-text", ends_in_s=90, id="$(reboot); x")
    lease_of(session, "lease-text").look()


def test_a_lease_is_broken_by_its_id_which_says_who_had_it_and_ends_that_run(azure: Any, session: Session) -> None:
    azure.put_group("lease-break", crdbmesh="lease-break")
    warned: list[Finding] = []
    lost = threading.Event()
    with lease_of(session, "lease-break", lasts_s=2, lost=lost.set) as theirs:
        theirs.take()
        with pytest.raises(HeldError) as held:
            lease_of(session, "lease-break").look()
        assert f"--break-lease {theirs._me.id}" in (held.value.hint or "")
        with pytest.raises(HeldError):
            lease_of(session, "lease-break", breaks="another").take()
        with lease_of(session, "lease-break", breaks=theirs._me.id, warn=warned.append) as ours:
            ours.look()
            ours.take()
            assert [one.value for one in warned] == [theirs._me.name]
            assert lost.wait(20)
            assert theirs.held_by_other is not None


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


def test_a_down_whose_lease_another_run_takes_deletes_nothing_more(azure: Any, tmp_path: Path) -> None:
    azure.put_group("lease-theirs")
    folder = LocalFolder(tmp_path / "lease-theirs")
    lease = azure.put("lease-theirs", "networkSecurityGroups", names.lease("lease-theirs"), {})
    address = azure.put_address("lease-theirs", "lease-theirs-eastus-1-ip")
    folder.append(contents.CREATED, lease)
    folder.append(contents.CREATED, address)

    def take(event: Event) -> None:
        if event.kind == "checking":
            overwrite(azure, "lease-theirs", ends_in_s=600)

    ended = down.run_down("lease-theirs", azure.cloud, folder, notify=take)
    assert ended.stopped
    assert azure.exists(address)
    assert azure.exists(lease)


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


def test_the_command_line_breaks_a_lease_only_when_its_id_is_given(azure: Any, tmp_path: Path) -> None:
    azure.put_group("lease-down", crdbmesh="lease-down")
    overwrite(azure, "lease-down", ends_in_s=600)

    def down(*arguments: str) -> Result:
        environ = {"CRDBMESH_HOME": str(tmp_path), "CRDBMESH_CLOUD": str(azure.world.cloud_file)}
        return CliRunner().invoke(app, ["down", "lease-down", "--yes", "-o", "json", *arguments], env=environ)

    refused = down()
    assert refused.exit_code == 3
    error = json.loads(refused.stdout)["error"]
    assert "up by bob on desk, process 7" in error["message"]
    assert error["remedy"].endswith("or break it with --break-lease other")
    assert down("--break-lease", "another").exit_code == 3
    broken = down("--break-lease", "other")
    assert broken.exit_code == 0, broken.output
    assert "up by bob on desk, process 7" in broken.stderr
    assert "it is broken, as you asked" in broken.stderr
    assert not azure.group_exists("lease-down")
