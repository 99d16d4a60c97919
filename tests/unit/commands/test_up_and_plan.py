"""What surrounds the engine in `up` and `plan`; the steps themselves are in the journeys."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.doors import rule
from typer.testing import CliRunner

from crdbmesh.commands import plan, up
from crdbmesh.engine.step import Event, Gap, Notify, Outcome, Result
from crdbmesh.errors import PreflightError
from crdbmesh.local import contents
from crdbmesh.local.birth import Aim
from crdbmesh.local.folder import LocalFolder
from crdbmesh.spec import load as config
from crdbmesh.terminal import app as cli

OURS = f"{Path('src') / 'crdbmesh'}{os.sep}"
AIM = Aim(cloud="lab", arm_url="https://arm.example", subscription_id="s")


def spec(**document: Any) -> Any:
    return config.mesh({"name": "updown", "regions": ["eastus"], **document})


def test_the_callers_address_is_let_in_when_the_spec_names_none(azure: Any) -> None:
    assert up.with_caller(spec(), azure.cloud, sure=True).sources == ("127.0.0.1/32",)


def test_own_stays_own_in_the_kept_spec_and_stands_for_another_address_the_next_time() -> None:
    named = spec(allow_from=["own", "203.0.113.0/24"])
    here = named.with_own("198.51.100.7")
    assert here.sources == ("198.51.100.7/32", "203.0.113.0/24")
    kept = config.mesh(yaml.safe_load(config.dump(here)))
    assert kept == named
    assert kept.with_own("198.51.100.8").sources[0] == "198.51.100.8/32"


def test_without_a_question_one_service_alone_does_not_open_the_firewall(azure: Any) -> None:
    alone = dataclasses.replace(azure.cloud, address_urls=azure.cloud.address_urls[:1])
    with pytest.raises(PreflightError, match="no two services agree") as caught:
        up.with_caller(spec(), alone, sure=True)
    assert "pass --allow-from 127.0.0.1" in caught.value.findings[0].remedy
    assert up.with_caller(spec(), alone).sources == ("127.0.0.1/32",)


def test_who_the_spec_names_is_let_in_and_nobody_else(azure: Any) -> None:
    named = spec(allow_from=["203.0.113.0/24"])
    assert up.with_caller(named, azure.cloud) is named


def test_plan_lists_every_step_in_the_catalogs_order_and_writes_nothing(azure: Any, tmp_path: Path) -> None:
    before = azure.world.writes()
    found = plan.run_plan(spec(allow_from=["127.0.0.1"]), azure.cloud, LocalFolder(tmp_path / "updown"))
    assert azure.world.writes() == before
    assert list(found.found)[:2] == ["mesh/providers", "mesh/group"]
    assert list(found.found)[-2:] == ["mesh/proof", "mesh/placement"]
    assert "mesh/group" in found.gaps()
    assert found.refused() == {}
    document = found.document()
    assert document["gaps"] == len(found.gaps())
    assert json.loads(json.dumps(document)) == document


def test_a_refused_up_is_not_kept_as_a_mesh(azure: Any, tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "updown")
    with pytest.raises(PreflightError):
        up.run_up(spec(regions=["eastuss"], allow_from=["127.0.0.1"]), azure.cloud, folder, watch=silent)
    assert not folder.exists()


def test_an_up_that_is_stopped_keeps_its_spec_and_its_journal(azure: Any, tmp_path: Path) -> None:
    folder, stop = LocalFolder(tmp_path / "updown"), threading.Event()
    stop.set()
    ended = up.run_up(spec(allow_from=["127.0.0.1"]), azure.cloud, folder, watch=silent, stop=stop)
    assert ended.stopped
    assert not ended.done
    assert ended.document()["stopped"] == len(ended.results)
    assert folder.exists()
    lines = [json.loads(line) for line in ended.journal.read_text().splitlines()]
    assert lines[0]["command"] == "up"
    assert all(line["outcome"] == "stopped" for line in lines if line.get("kind") == "ended")


def test_five_frames_of_ours_stand_between_up_and_the_sdk(azure: Any, tmp_path: Path) -> None:
    stop, stacks = threading.Event(), []

    @contextmanager
    def watching(_steps: Sequence[str]) -> Iterator[Notify]:

        def notify(event: Event) -> None:
            if "trying again" in event.text:
                stacks.append(traceback.extract_stack())
                stop.set()

        yield notify

    azure.doors.misbehave({"arm.another_operation": 1.0})
    try:
        mesh = spec(name="frames", allow_from=["127.0.0.1"])
        up.run_up(mesh, azure.cloud, LocalFolder(tmp_path / "frames"), watch=watching, stop=stop)
    finally:
        azure.doors.misbehave({})
        azure.delete_group("frames")
    ours = [frame.name for frame in stacks[0] if OURS in frame.filename]
    # The first starts the step's thread; the last calls the SDK, and pauses when it is refused.
    assert ["run", *ours[: ours.index("pause_after")]] == ["run", "one", "apply", "ensure", "run_operation"]


def test_the_journal_tells_all_but_the_looking(tmp_path: Path) -> None:
    seen: list[Event] = []
    with LocalFolder(tmp_path / "m").journal("up", datetime(2026, 1, 2, tzinfo=UTC)) as journal:
        notify = up.recorded(journal, seen.append)
        notify(Event("a", "checking"))
        notify(Event("a", "applying", "a is absent"))
        notify(Event("a", "ended", "a is absent", Result("a", Outcome.CHANGED)))
    lines = [json.loads(line) for line in journal.path.read_text().splitlines()]
    assert [(line["kind"], line.get("outcome")) for line in lines] == [("applying", None), ("ended", "changed")]
    assert len(seen) == 3


def test_a_plan_tells_gaps_from_refusals() -> None:
    found: dict[str, Gap | Result] = {
        "a": Gap("a is absent"),
        "b": Result("b", Outcome.FAILED, "cannot be changed in place", hint="put it back"),
        "c": Result("c", Outcome.HELD),
    }
    result = plan.PlanResult(spec(), AIM, found)
    assert result.gaps() == {"a": Gap("a is absent")}
    assert list(result.refused()) == ["b"]
    assert result.document()["steps"][1]["error"]["remedy"] == "put it back"


@contextmanager
def silent(_steps: Sequence[str]) -> Iterator[Notify]:
    yield lambda _event: None


def test_a_wider_rule_of_others_stops_up_with_exit_code_3_until_it_is_said_whether_it_stays(
    azure: Any, tmp_path: Path
) -> None:
    azure.put_group("wide", crdbmesh="wide")
    rules = {"securityRules": [{"name": "hurry", "properties": rule("Allow", "*", priority=150)}]}
    nsg = azure.put("wide", "networkSecurityGroups", "wide-eastus-nsg", rules, crdbmesh="wide")
    LocalFolder(tmp_path / "wide").append(contents.CREATED, nsg.partition("/providers/")[0])
    before = azure.world.writes()
    arguments = ["up", "--name", "wide", "--regions", "eastus", "--allow-from", "127.0.0.1", "--yes", "-o", "json"]
    environment = {"CRDBMESH_HOME": str(tmp_path), "CRDBMESH_CLOUD": str(azure.world.cloud_file)}
    shown = CliRunner().invoke(cli.app, arguments, env=environment)
    assert shown.exit_code == 3, shown.output
    (finding,) = json.loads(shown.stdout)["error"]["findings"]
    assert finding["value"] == f"{nsg}/securityRules/hurry"
    assert "lets in more than the spec" in finding["reason"]
    assert "--prune-rules" in finding["remedy"]
    assert "--keep-rules" in finding["remedy"]
    assert azure.world.writes() == before
    stop = threading.Event()
    stop.set()
    asked: list[str] = []

    def prune(wider: Mapping[str, str]) -> bool:
        asked.extend(wider.values())
        return False

    ended = up.run_up(
        spec(name="wide", allow_from=["127.0.0.1"]),
        azure.cloud,
        LocalFolder(tmp_path / "wide"),
        watch=silent,
        decide=prune,
        stop=stop,
    )
    assert ended.stopped
    assert asked == ["hurry (* * from *)"]
