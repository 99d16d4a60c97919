"""What `list`, `status` and `doctor` say of a subscription in which others are at work too."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from crdbmesh.commands import doctor, listing, status
from crdbmesh.local.folder import SPEC, LocalFolder
from crdbmesh.run.lease import Holder
from crdbmesh.spec import load, names
from crdbmesh.terminal import app as cli


def hold(azure: Any, mesh: str) -> None:
    """Hold a mesh's lease, as an `up` of somebody else does."""
    now = dt.datetime.now(dt.UTC)
    alice = Holder("a1b2c3", "up by alice on laptop, process 4711", "elsewhere", now, now + dt.timedelta(minutes=4))
    azure.put_group(mesh, crdbmesh=mesh)
    azure.put(mesh, "networkSecurityGroups", names.lease(mesh), {}, **alice.tags(), crdbmesh=mesh)


def test_status_and_doctor_say_who_works_on_the_mesh_as_up_would(azure: Any, tmp_path: Path) -> None:
    hold(azure, "busy")
    mesh, folder = (
        load.mesh({"name": "busy", "regions": ["eastus"], "allow_from": ["127.0.0.1"]}),
        LocalFolder(tmp_path),
    )
    (remark,) = status.run_status(mesh, azure.cloud, folder).remarks
    assert remark.startswith("busy is being worked on: up by alice on laptop, process 4711, since 20")
    verdicts = {verdict.check: verdict for verdict in doctor.run_doctor(mesh, azure.cloud, folder).verdicts}
    assert [finding.reason for finding in verdicts["runs"].refused] == [remark]
    assert verdicts["rules"].refused == ()


def test_doctor_refuses_a_wider_rule_as_up_does(azure: Any, tmp_path: Path) -> None:
    azure.put_group("open", crdbmesh="open")
    properties = {"access": "Allow", "direction": "Inbound", "protocol": "*", "priority": 150}
    anywhere = dict.fromkeys(("sourceAddressPrefix", "destinationAddressPrefix"), "*")
    ports = {"sourcePortRange": "*", "destinationPortRange": "*"}
    rules = {"securityRules": [{"name": "hurry", "properties": {**properties, **anywhere, **ports}}]}
    azure.put("open", "networkSecurityGroups", "open-eastus-nsg", rules, crdbmesh="open")
    mesh = load.mesh({"name": "open", "regions": ["eastus"], "allow_from": ["127.0.0.1"]})
    verdicts = doctor.run_doctor(mesh, azure.cloud, LocalFolder(tmp_path)).verdicts
    (finding,) = next(verdict.refused for verdict in verdicts if verdict.check == "rules")
    assert "hurry (* * from *) lets in more than the spec" in finding.reason


def test_an_address_that_is_let_in_or_unknown_is_no_remark(azure: Any, tmp_path: Path) -> None:
    azure.put_group("still", crdbmesh="still")
    mesh = load.mesh({"name": "still", "regions": ["eastus"]})
    gone = mesh.with_own("203.0.113.9")
    wide = load.mesh({"name": "still", "regions": ["eastus"], "allow_from": ["own", "127.0.0.0/8"]})
    quiet = replace(azure.cloud, address_urls=())
    for spec, cloud, said in (
        (mesh.with_own("127.0.0.1"), azure.cloud, 0),
        (mesh, azure.cloud, 0),
        (wide.with_own("203.0.113.9"), azure.cloud, 0),
        (gone, quiet, 0),
        (gone, azure.cloud, 1),
    ):
        assert len(status.run_status(spec, cloud, LocalFolder(tmp_path)).remarks) == said


def test_list_finds_meshes_by_tags_and_names_and_says_which_are_known_here(azure: Any, tmp_path: Path) -> None:
    for mesh, tags in (("seen", {"crdbmesh": "seen"}), ("named", {}), ("strange", {})):
        azure.put_group(f"of-{mesh}")
        azure.put_vnet(f"of-{mesh}", f"{mesh}-eastus", "10.77.0.0/16", **tags)
    for known in ("named", "away"):
        LocalFolder(tmp_path / known).write(SPEC, f"name: {known}\nregions: [eastus]\n")
    before = azure.world.writes()
    _, listed, elsewhere = listing.run_list(azure.cloud, tmp_path)
    assert azure.world.writes() == before
    found = {one.name: one for one in listed}
    assert "strange" not in found
    assert (found["seen"].known, found["named"].known, found["named"].regions) == (False, True, ("eastus",))
    assert (found["seen"].machines, found["seen"].age_s, found["seen"].cost.hour) == (0, None, 0)
    assert elsewhere == ["away"]


def test_watching_off_a_terminal_is_an_error_that_says_so(azure: Any, tmp_path: Path) -> None:
    environment = {"CRDBMESH_HOME": str(tmp_path), "CRDBMESH_CLOUD": str(azure.world.cloud_file)}
    for arguments in (["--watch"], ["--watch", "7"], ["--watch", "--output", "json"]):
        shown = CliRunner().invoke(cli.app, ["status", "some", *arguments], env=environment)
        assert shown.exit_code == 2
        assert f"--watch = {7 if '7' in arguments else 5}" in shown.stderr
        assert "redraws a terminal, and stdout is none" in shown.stderr
