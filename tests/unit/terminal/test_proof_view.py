"""The screens of a proof and of a drill."""

from __future__ import annotations

import datetime as dt
import io
from typing import Any

import typer.main

from crdbmesh.commands.drill import DrillResult, Probes
from crdbmesh.commands.verify import Proof
from crdbmesh.local.birth import Aim
from crdbmesh.observe.proof import Claim, Readings
from crdbmesh.spec import load
from crdbmesh.terminal import app, proof_view
from crdbmesh.terminal.visible import Screen

AIM = Aim(cloud="azure", arm_url="https://arm.example", tenant_id="t", subscription_id="s", subscription_name="n")


def shown(what: Any) -> str:
    file = io.StringIO()
    proof_view.show(Screen(file=file, width=100), what)
    return file.getvalue()


def test_one_cause_is_said_once_and_all_that_it_explains_below_it() -> None:
    cause = "peering eastus -> westus is absent"
    claims = [
        Claim("tcp", "eastus", "westus", 0, 3, "cockroachdb-0 at 10.2.0.4 does not answer", cause),
        Claim("tcp", "westus", "eastus", 3, 3),
        Claim("dns-udp", "eastus", "westus", 0, 3, "cockroachdb-0 does not resolve", cause),
        Claim("ranges", "", "", 20, 24, "0 unavailable, 4 under-replicated"),
    ]
    ends = {("eastus", "database CA"): dt.datetime(2030, 1, 2, tzinfo=dt.UTC)}
    readings = Readings(claims, {("eastus", "eastus"): 0.4, ("westus", "eastus"): 61.25}, {"eastus": -0.3}, ends)
    proof = Proof(load.mesh({"regions": ["eastus", "westus"]}), AIM, readings)
    said = shown(proof)
    assert said.count(cause) == 1
    lines = [line.rstrip() for line in said.splitlines()]
    assert lines[:3] == [
        "round trip, ms  eastus  westus",
        "eastus             0.4    none",
        "westus            61.2    none",
    ]
    assert "✗    3 of 6    connections to database pods" in lines
    at = lines.index(f"✗ {cause}")
    assert lines[at + 1].startswith("    eastus -> westus, tcp: cockroachdb-0")
    assert lines[at + 2].startswith("    eastus -> westus, dns-udp: ")
    assert "✗ no cause was found in Azure, DNS or Cilium" in lines
    assert lines[-1] == "3 claims fall short"
    assert proof.document()["failed"] == 3


def test_a_drill_that_cut_nothing_says_so() -> None:
    probes = Probes("eastus")
    probes += [(0.0, 0.5, True), (1.0, 16.0, False), (16.5, 17.0, True)]
    result = DrillResult("crdb", AIM, "westus", "firewall", cut=False, probes=[probes], recovered_s=3.0, stopped=False)
    assert result.figures() == {"region": "westus", "error_window_s": 15.0, "recovered_s": 3.0}
    said = shown(result)
    assert "SQL in eastus: 3 statements, 1 failed, no answer for 15.0 s" in said
    assert "✗ westus was not cut off by firewall" in said


def test_commands_are_called_as_the_documents_call_them() -> None:
    commands: Any = typer.main.get_command(app.app)
    assert set(commands.commands["drill"].commands) == {"region-down", "heal"}
    assert "verify" in commands.commands
