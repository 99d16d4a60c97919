"""What people see: on a terminal, off one, in 80 columns, and when something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from crdbmesh.clients.cloud import Cloud, GivenToken
from crdbmesh.commands import cost, demo
from crdbmesh.commands.listing import Listed
from crdbmesh.commands.plan import PlanResult
from crdbmesh.engine.step import Event, Gap, Outcome, Result
from crdbmesh.errors import (
    CloudError,
    ConfigError,
    CrdbmeshError,
    Finding,
    KubeError,
    PreflightError,
    QuotaError,
    RefusedError,
)
from crdbmesh.local.birth import Aim
from crdbmesh.local.folder import LocalFolder
from crdbmesh.observe.belongings import Belongings
from crdbmesh.observe.health import LAYERS, Health, Layer, Level, RegionHealth
from crdbmesh.run.world import World
from crdbmesh.spec import load as config
from crdbmesh.spec.versions import NEWEST
from crdbmesh.steps import catalog
from crdbmesh.terminal import console, plan_view
from crdbmesh.terminal import results as results_view
from crdbmesh.terminal.progress import Progress
from crdbmesh.terminal.visible import Screen

FIVE = ["eastus", "westus3", "northeurope", "germanywestcentral", "australiaeast"]


def screen(*, terminal: bool = False, width: int = 100) -> tuple[Console, StringIO]:
    file = StringIO()
    made = Console(file=file, width=width, force_terminal=terminal, highlight=False, color_system=None)
    return made, file


STEPS = ["mesh/init", "eastus/network", "eastus/node1/machine", "eastus/node2/machine"]


def progress(target: Console, steps: list[str], *, live: bool) -> Progress:
    return Progress(target, steps, catalog.place, catalog.STAGES, live=live)


def ended(step: str, outcome: Outcome, detail: str = "", *, seconds: float = 0) -> Event:
    return Event(step, "ended", detail, Result(step, outcome, detail, seconds=seconds))


class TestProgressOffATerminal:
    """Plain lines, for logs."""

    def test_each_start_and_change_is_a_line_and_what_held_is_silent(self) -> None:
        target, file = screen()
        with progress(target, STEPS, live=False) as shows:
            shows(Event("eastus/network", "applying", "VNet is absent"))
            shows(Event("eastus/network", "waiting", "PUT: InProgress"))
            shows(ended("eastus/network", Outcome.CHANGED, "VNet is absent", seconds=65))
            shows(ended("mesh/init", Outcome.HELD))
        assert file.getvalue().splitlines() == [
            " 0:00   eastus/network: VNet is absent",
            " 0:00 ✓ eastus/network (1 min 5 s)",
        ]

    def test_failures_and_blocks_say_why(self) -> None:
        target, file = screen()
        with progress(target, STEPS, live=False) as shows:
            shows(ended("eastus/network", Outcome.FAILED, "the reason"))
            shows(ended("eastus/node1/machine", Outcome.BLOCKED, "eastus/network failed"))
            shows(ended("mesh/init", Outcome.STOPPED, "interrupted before it started"))
        assert file.getvalue().splitlines() == [
            " 0:00 ✗ eastus/network: the reason",
            " 0:00 · eastus/node1/machine: eastus/network failed",
        ]

    def test_square_brackets_are_no_markup(self) -> None:
        target, file = screen()
        with progress(target, STEPS, live=False) as shows:
            shows(Event("eastus/network", "applying", "rule [bold] of [/x]"))
        assert "rule [bold] of [/x]" in file.getvalue()

    def test_by_itself_it_draws_no_table_into_a_file_even_with_forced_colour(self) -> None:
        target, file = screen(terminal=True)
        with Progress(target, STEPS, catalog.place, catalog.STAGES) as shows:
            shows(Event("eastus/network", "applying", "VNet is absent"))
        assert file.getvalue() == " 0:00   eastus/network: VNet is absent\n"

    def test_a_wait_without_news_is_a_line_now_and_then(self) -> None:
        target, file = screen()
        with Progress(target, STEPS, catalog.place, catalog.STAGES, silent_s=0.05) as shows:
            shows(Event("eastus/network", "waiting", "Azure: x is Creating (9 s)"))
            deadline = time.monotonic() + 10
            while "at work" not in file.getvalue() and time.monotonic() < deadline:
                time.sleep(0.02)
        lines = file.getvalue().splitlines()
        assert lines[0] == " 0:00 … 0 of 4 steps done in 0 s; at work:"
        assert lines[1].strip() == "0:00 eastus/network: Azure: x is Creating (9 s)"


class TestProgressOnATerminal:
    """A table that is drawn over and over."""

    def drawn(self, shows: Progress, width: int = 80) -> list[str]:
        target, file = screen(width=width)
        target.print(shows.draw())
        return [line.rstrip() for line in file.getvalue().splitlines()]

    def test_it_has_a_row_per_region_and_a_column_per_stage(self) -> None:
        shows = progress(screen(terminal=True)[0], STEPS, live=False)
        lines = self.drawn(shows)
        assert lines[0].split() == [*catalog.STAGES]
        assert [line.split()[0] for line in lines[1:3]] == ["mesh", "eastus"]
        assert lines[3] == "0 of 4 steps done in 0 s"
        assert lines[4].startswith("n/m done of all   ✓ changed  = held  › at work")

    def test_a_cell_counts_what_is_done_and_says_how(self) -> None:
        shows = progress(screen()[0], STEPS, live=False)
        assert self.drawn(shows)[2].split() == ["eastus", "0/1", "0/2"]
        shows(Event("eastus/node1/machine", "applying", "VM is absent"))
        assert self.drawn(shows)[2].split() == ["eastus", "0/1", "›", "0/2"]
        shows(ended("eastus/node1/machine", Outcome.CHANGED))
        shows(ended("eastus/network", Outcome.HELD))
        assert self.drawn(shows)[2].split() == ["eastus", "=", "1/1", "1/2"]
        shows(ended("eastus/node2/machine", Outcome.HELD))
        assert self.drawn(shows)[2].split() == ["eastus", "=", "1/1", "✓", "2/2"]

    @pytest.mark.parametrize(
        ("outcome", "mark"), [(Outcome.FAILED, "✗"), (Outcome.BLOCKED, "·"), (Outcome.STOPPED, "-")]
    )
    def test_a_bad_end_shows_in_its_cell(self, outcome: Outcome, mark: str) -> None:
        shows = progress(screen()[0], STEPS, live=False)
        shows(ended("eastus/node1/machine", Outcome.CHANGED))
        shows(ended("eastus/node2/machine", outcome, "why"))
        assert self.drawn(shows)[2].split() == ["eastus", "0/1", mark, "1/2"]

    def test_below_it_stands_what_each_row_waits_for_longest(self) -> None:
        shows = progress(screen()[0], STEPS, live=False)
        shows(Event("eastus/node1/machine", "waiting", "PUT virtualMachines/x: Creating, 12 s"))
        shows(Event("eastus/node2/machine", "waiting", "PUT virtualMachines/y: Creating, 9 s"))
        shows(Event("mesh/init", "waiting", "every pod"))
        waits = self.drawn(shows)[5:]
        assert waits == [
            " 0:00 eastus/node1/machine: PUT virtualMachines/x: Creating, 12 s",
            " 0:00 mesh/init: every pod",
        ]

    def test_five_regions_and_long_waits_fit_into_80_columns(self) -> None:
        steps = ["mesh/group"] + [
            f"{region}/{thing}"
            for region in FIVE
            for thing in ("network", "dns", "cilium", "cockroachdb", *(f"node{n}/k3s" for n in range(12)))
        ]
        shows = progress(screen()[0], steps, live=False)
        for step in steps:
            shows(Event(step, "waiting", "a very long text " * 9))
        lines = self.drawn(shows)
        assert max(map(len, lines)) <= 80
        assert all(stage in lines[0] for stage in catalog.STAGES)
        assert len(lines) == 1 + 6 + 2 + 6

    def test_the_total_says_how_long_the_rest_takes_and_counts_down(self) -> None:
        shows = progress(screen()[0], STEPS, live=False)
        shows(Event("eastus/network", "applying", "VNet is absent", left_s=250))
        assert self.drawn(shows)[3] == "0 of 4 steps done in 0 s, about 4 min to go"
        shows(replace(ended("eastus/network", Outcome.CHANGED), left_s=31))
        assert self.drawn(shows)[3] == "1 of 4 steps done in 0 s, about 40 s to go"
        shows(replace(ended("mesh/init", Outcome.FAILED, "why"), left_s=0))
        assert self.drawn(shows)[3] == "1 of 4 steps done in 0 s"

    def test_a_failure_is_a_line_above_it_at_once(self) -> None:
        target, file = screen(terminal=True)
        with progress(target, STEPS, live=True) as shows:
            shows(ended("eastus/network", Outcome.FAILED, "the reason"))
            shows(ended("mesh/init", Outcome.CHANGED))
        shown = file.getvalue()
        assert "✗ eastus/network: the reason" in shown
        assert "✓ mesh/init" not in shown

    def test_without_a_table_each_result_is_a_line_there_too(self) -> None:
        target, file = screen(terminal=True)
        with Progress(target, [], lambda step: ("", step), (), live=True) as shows:
            shows(ended("group/m", Outcome.CHANGED))
        assert "✓ group/m" in file.getvalue()

    def test_its_last_state_stays_and_the_waits_go(self) -> None:
        target, file = screen(terminal=True)
        with progress(target, STEPS, live=True) as shows:
            shows(Event("mesh/init", "waiting", "every pod"))
        last = file.getvalue().rpartition("eastus")[2]
        assert "every pod" not in last


class TestResults:
    """The end of a run."""

    def shown(self, results: dict[str, Result], *, journal: str | None = "/j.jsonl") -> str:
        target, file = screen()
        results_view.show_results(target, results, seconds=83, journal=journal, again="crdbmesh up --name m")
        return file.getvalue()

    def test_a_failure_says_what_why_what_next_and_what_it_blocks(self) -> None:
        blocked = {f"b{n}": Result(f"b{n}", Outcome.BLOCKED, "a failed", culprit="a") for n in range(6)}
        shown = self.shown({"a": Result("a", Outcome.FAILED, "the reason", hint="do this"), **blocked})
        assert shown.splitlines() == [
            "✗ a: the reason",
            "    do this",
            "    blocks b0, b1, b2, b3 and 2 more",
            "✗ 7 steps: 1 failed, 6 blocked, in 1 min 23 s",
            "Journal: /j.jsonl",
            "Run `crdbmesh up --name m` again to resume from here.",
        ]

    def test_failures_of_one_cause_in_several_machines_are_one_block_that_names_them(self) -> None:
        results = {}
        for region, number in [("eastus", 1), ("eastus", 2), ("eastus", 12), ("westus", 1)]:
            step, vm = f"{region}/node{number}/machine", f"crdbmesh-{region}-{number}"
            error = QuotaError(
                f"PUT virtualMachines/{vm}: SkuNotAvailable: The requested VM size for resource '/subscriptions/s/"
                f"resourceGroups/crdbmesh/providers/Microsoft.Compute/virtualMachines/{vm}' is currently not available "
                f"in location '{region}' zones '{number % 3 + 1}' for subscription 's'.",
                code="SkuNotAvailable",
                hint="choose another size",
            )
            results[step] = Result.of(step, error)
            results[f"{region}/node{number}/host"] = Result(
                f"{region}/node{number}/host", Outcome.BLOCKED, "", culprit=step
            )
        other = "PUT networkInterfaces/{}: PrivateIPAddressIsAllocated: the address of {} belongs to {}"
        for number in (1, 2):
            step, nic = f"eastus/node{number}/nic", f"crdbmesh-eastus-{number}-nic"
            theirs = f"/subscriptions/s/resourceGroups/theirs/nics/app{number}"
            results[step] = Result.of(step, CloudError(other.format(nic, nic, theirs), hint=f"delete {theirs}"))
        lines = self.shown(results).splitlines()
        joined = " ".join(line.strip() for line in lines)
        machines = "eastus/node1/machine, eastus/node2/machine, eastus/node12/machine, westus/node1/machine"
        assert f"✗ {machines}: PUT virtualMachines/crdbmesh-eastus-1: SkuNotAvailable" in joined
        assert joined.count("SkuNotAvailable") == joined.count("choose another size") == 1
        assert "blocks eastus/node1/host, eastus/node2/host, eastus/node12/host, westus/node1/host" in joined
        assert joined.count("✗ eastus/node1/nic:") == joined.count("✗ eastus/node2/nic:") == 1

    def test_a_good_end_is_one_line(self) -> None:
        results = {"a": Result("a", Outcome.HELD), "b": Result("b", Outcome.CHANGED)}
        assert self.shown(results) == "✓ 2 steps: 1 held, 1 changed, in 1 min 23 s\n"
        assert self.shown({}) == "= 0 steps: nothing to do, in 1 min 23 s\n"

    def test_an_interrupted_run_says_how_to_go_on(self) -> None:
        assert "again to resume" in self.shown({"a": Result("a", Outcome.STOPPED)}, journal=None)


def healthy(region: str, count: int = 3) -> RegionHealth:
    return RegionHealth(region, tuple(Layer(name, Level.OK, count, count) for name in LAYERS))


class TestStatus:
    """Every layer of every region."""

    def shown(self, health: Health, width: int = 80) -> str:
        target, file = screen(width=width)
        console.show_status(target, health)
        return file.getvalue()

    def test_a_broken_layer_is_counted_and_its_cause_named(self) -> None:
        broken = Layer("cockroachdb", Level.DEGRADED, 2, 3, "cockroachdb-1 is absent")
        shown = self.shown(Health("m", (RegionHealth("eastus", (*healthy("eastus").layers[:-1], broken)),), ("id",)))
        assert "✗ 2/3" in shown
        assert "✗ eastus cockroachdb: cockroachdb-1 is absent" in shown
        assert shown.endswith("degraded\n")

    def test_one_cause_in_several_layers_and_regions_is_said_once(self) -> None:
        def silent(region: str) -> RegionHealth:
            lost = {"nodes", "cilium"}
            layers = (
                Layer(n, Level.UNKNOWN, 0, 3, "no answer") if n in lost else Layer(n, Level.OK, 3, 3) for n in LAYERS
            )
            return RegionHealth(region, tuple(layers))

        health = Health("m", (silent("eastus"), silent("westus")), ("id",), remarks=("m is being worked on: bob",))
        shown = self.shown(health)
        assert "? eastus nodes, cilium; westus nodes, cilium: no answer" in shown
        assert shown.count("no answer") == 1
        assert "! m is being worked on: bob" in shown

    def test_what_could_not_be_read_is_not_called_broken(self) -> None:
        unknown = Layer("nodes", Level.UNKNOWN, 0, 3, "no answer")
        layers = tuple(unknown if layer.name == "nodes" else layer for layer in healthy("eastus").layers)
        assert "? eastus nodes: no answer" in self.shown(Health("m", (RegionHealth("eastus", layers),), ("id",)))

    def test_two_clusters_where_one_should_be_is_degraded(self) -> None:
        health = Health("m", (healthy("eastus"),), ("one", "two"))
        assert health.degraded
        assert "2 CockroachDB clusters where there should be one" in self.shown(health)

    def test_no_cluster_is_said(self) -> None:
        assert "No CockroachDB cluster answers." in self.shown(Health("m", (healthy("eastus"),), ()))

    def test_a_layer_that_one_region_does_not_need_is_a_dot(self) -> None:
        layers = tuple(
            Layer(name, Level.OK, 0, 0) if name == "peerings" else Layer(name, Level.OK, 1, 1) for name in LAYERS
        )
        shown = self.shown(Health("m", (RegionHealth("eastus", layers),), ("id",)))
        assert "·" in shown
        assert shown.endswith("healthy\n")

    @pytest.mark.parametrize("count", [3, 12])
    def test_five_regions_fit_into_80_columns_with_no_count_cut(self, count: int) -> None:
        regions = FIVE if count < 10 else FIVE[:3]
        shown = self.shown(Health("crdbmesh", tuple(healthy(region, count) for region in regions), ("id",)))
        lines = shown.splitlines()
        assert max(map(len, lines)) <= 80
        assert sum(line.count(f"{count}/{count}") for line in lines) == len(regions) * len(LAYERS)


class TestIntent:
    """What is about to be made or deleted."""

    def test_it_counts_machines_and_shows_ranges_and_who_may_connect(self) -> None:
        target, file = screen(width=80)
        spec = config.mesh({"regions": ["eastus", "westus", "northeurope"], "allow_from": ["203.0.113.7"]})
        console.show_intent(target, spec)
        lines = file.getvalue().splitlines()
        assert lines[0] == "crdbmesh: 3 regions, 9 machines (Standard_D8s_v5)"
        assert lines[2].split() == ["eastus", "3", "10.1.0.0/16", "10.101.0.0/16", "10.201.0.0/16"]
        assert lines[-1].endswith("open to 203.0.113.7/32 only")
        assert max(map(len, lines)) <= 80

    def test_opening_to_everyone_is_said_loudly(self) -> None:
        target, file = screen()
        console.show_intent(target, config.mesh({"regions": ["eastus"], "allow_from": ["*"]}))
        assert "open to EVERYONE" in file.getvalue()

    def test_two_regions_come_with_a_warning(self) -> None:
        target, file = screen()
        console.show_intent(target, config.mesh({"regions": ["eastus", "westus"], "allow_from": ["1.2.3.4"]}))
        assert "do not survive the loss of one" in file.getvalue()

    def test_belongings_are_counted_listed_and_cut_when_many(self) -> None:
        target, file = screen()
        things = tuple({"id": f"thing {number}"} for number in range(50))
        console.show_belongings(target, "m", Belongings({}, things, ("vnet [theirs]",), things[:1], ("half",)))
        lines = file.getvalue().splitlines()
        assert lines[0] == "m: 50 resources will be deleted"
        assert lines[-4:] == [
            "  and 10 more",
            "  kept, because it is not the mesh's alone: vnet [theirs]",
            "  only its tag says that it is the mesh's: thing 0",
            "  a peering of others that will be Disconnected: half",
        ]

    def test_nothing_to_delete_is_said(self) -> None:
        target, file = screen()
        console.show_belongings(target, "m", Belongings({}, ()))
        assert file.getvalue() == "Nothing in Azure belongs to m.\n"


AIM = Aim(cloud="AzureCloud", arm_url="https://management.azure.com", subscription_id="s")


def planned(found: dict[str, Gap | Result], there: int = 0, **spec: Any) -> PlanResult:
    mesh = config.mesh({"name": "m", "regions": ["eastus"], **spec})
    return PlanResult(mesh, AIM, found, frozenset(("eastus", number + 1) for number in range(there)))


def shown_plan(plan: PlanResult, width: int = 100) -> list[str]:
    file = StringIO()
    target = Screen(file=file, width=width, highlight=False, color_system=None)
    plan_view.show_plan(target, plan, cost.of_mesh(plan.mesh))
    return file.getvalue().splitlines()


class TestPlan:
    """What `up` would do, with the signs that everybody knows."""

    def test_known_changes_are_signed_and_counted_and_what_depends_on_them_is_one_number(self) -> None:
        found: dict[str, Gap | Result] = {
            "mesh/group": Gap("resource group m is absent", "create"),
            "eastus/firewall": Gap("NSG m-eastus-nsg: rule x goes", "delete"),
            "eastus/network": Result("eastus/network", Outcome.FAILED, "cannot be changed", hint="put it back"),
            "eastus/cilium": Gap("values differ"),
            "eastus/node1/k3s": Gap("config differs", restarts=("k3s of eastus-1",)),
            "eastus/node1/machine": Gap("comes after eastus/network", "after"),
            "eastus/node2/machine": Gap("comes after eastus/network", "after"),
            "westus/network": Result("westus/network", Outcome.HELD),
        }
        assert shown_plan(planned(found, there=1)) == [
            "+ create   ~ change   ! change, with a restart   - delete",
            "mesh",
            "  + group      resource group m is absent",
            "eastus",
            "  - firewall   NSG m-eastus-nsg: rule x goes",
            "  ✗ network    cannot be changed",
            "      put it back",
            "  ~ cilium     values differ",
            "  ! node1/k3s  config differs; restarts k3s of eastus-1",
            "m: 1 to create, 1 to change, 1 to change with a restart, 1 to delete, 1 cannot be done, 2 depend on",
            "  them and are looked at again",
            "  buys      2 new machines (Standard_D8s_v5), each with a disk (128 GiB Premium_LRS), a data disk, a",
            "            wal disk and a public IP",
            "  restarts  k3s of eastus-1: one at a time, each only while the mesh is whole, and the database goes",
            "            on serving; about 2 min in all",
            "  costs     about 1.32 USD an hour, 966 USD a month, without traffic (by crdbmesh's table of 2025;",
            "            --prices asks Azure)",
            "Nothing is backed up: set `backup: {}` in the spec.",
        ]

    def test_a_changed_firewall_of_three_regions_reads_3_to_change(self) -> None:
        regions = ["eastus", "westus", "northeurope"]
        found: dict[str, Gap | Result] = {f"{one}/firewall": Gap("lacks 203.0.113.9/32") for one in regions}
        found |= {
            f"{one}/node{n}/nic": Gap(f"comes after {one}/firewall", "after") for one in regions for n in range(25)
        }
        lines = shown_plan(planned(found, regions=regions))
        assert "m: 3 to change, 75 depend on them and are looked at again" in lines
        assert "comes after" not in "".join(lines)

    @pytest.mark.parametrize("width", [80, 120])
    def test_a_fresh_plan_of_three_regions_fits_on_40_lines(self, width: int) -> None:
        mesh = config.mesh({"regions": ["eastus", "westus", "northeurope"], "allow_from": ["203.0.113.7"]})
        with World.open(
            mesh,
            Cloud("c", "https://localhost:1", ("s",), GivenToken("t"), subscription_id="s"),
            LocalFolder(Path("/nonexistent")),
        ) as world:
            steps = catalog.steps(world)
        found: dict[str, Gap | Result] = {one.name: Gap("comes after mesh/group", "after") for one in steps}
        found["mesh/group"] = Gap("resource group crdbmesh is absent", "create")
        target, file = screen(width=width)
        console.show_start(target, AIM, mesh, "Reading the current state …")
        lines = [*file.getvalue().splitlines(), *shown_plan(PlanResult(mesh, AIM, found), width)]
        assert len(lines) <= 40
        assert max(map(len, lines)) <= width
        assert any("9 new machines" in line for line in lines)

    def test_nothing_to_do_is_said_and_what_stays_old_besides(self) -> None:
        held: dict[str, Gap | Result] = {"mesh/group": Result("mesh/group", Outcome.HELD)}
        old = planned(held, there=3, versions={**NEWEST.model_dump(mode="json"), "cockroachdb": "v26.2.1"})
        lines = shown_plan(old, width=200)
        assert lines[0] == "m: nothing to do, all 1 step hold"
        assert lines[1].startswith("  costs  about ")
        assert any(line.startswith("versions.cockroachdb stays v26.2.1; for v26") for line in lines)

    def test_one_cause_in_several_machines_is_said_once(self) -> None:
        found: dict[str, Gap | Result] = {}
        for number in (1, 2):
            step = f"eastus/node{number}/machine"
            error = RefusedError(f"VM m-eastus-{number} was made with another key", hint="restore the folder")
            found[step] = Result.of(step, error)
        assert shown_plan(planned(found))[1:4] == [
            "  ✗ node1/machine  VM m-eastus-1 was made with another key",
            "      restore the folder",
            "  ✗ node2/machine  as eastus/node1/machine",
        ]

    def test_each_step_of_the_document_has_its_sign(self) -> None:
        found: dict[str, Gap | Result] = {
            "a": Gap("a is absent", "create"),
            "b": Gap("b differs", restarts=("b",)),
            "c": Gap("comes after a", "after"),
        }
        document = planned(found).document()
        assert [step["sign"] for step in document["steps"]] == ["+", "!", None]
        assert (document["changes"], document["dependent"]) == ({"+": 1, "~": 0, "!": 1, "-": 0}, 1)
        assert document["new_machines"] == {"Standard_D8s_v5": 3}


def test_the_meshes_of_a_subscription_are_a_table_with_age_and_cost() -> None:
    paid = cost.total([cost.Billed("eastus", "Standard_D4s_v5", "P10 LRS")])
    listed = [
        Listed("m", ("eastus", "westus"), 1, 3 * 86400.0, paid, True),
        Listed("n", ("eastus",), 0, None, paid, False),
    ]
    target, file = screen()
    console.show_list(target, listed, ["away"])
    lines = file.getvalue().splitlines()
    assert lines[1].split() == ["m", "eastus,", "westus", "1", "3", "days", "about", "0.22", "yes"]
    assert lines[2].split() == ["n", "eastus", "0", "–", "about", "0.22", "no"]
    assert lines[-1] == "Known here, and nothing of it in this subscription: away"
    target, file = screen()
    console.show_list(target, [], [])
    assert file.getvalue() == "No mesh is in this subscription.\n"


def test_a_long_line_goes_on_below_its_beginning_and_no_path_is_broken() -> None:
    file = StringIO()
    target = Screen(file=file, width=40, highlight=False, color_system=None)
    path = "/home/somebody/.local/share/crdbmesh/crdbmesh/journals/1.jsonl"
    target.print("  ✗ one two three four five six seven eight nine ten")
    target.print(Text(f"  costs     see {path} for more of it, and then some"))
    assert file.getvalue().splitlines() == [
        "  ✗ one two three four five six seven",
        "    eight nine ten",
        "  costs     see",
        f"            {path}",
        "            for more of it, and then",
        "            some",
    ]


class TestErrors:
    """What is wrong, and what to do."""

    def shown(self, error: CrdbmeshError) -> str:
        target, file = screen()
        console.show_error(target, error)
        return file.getvalue()

    def test_findings_are_listed_with_their_remedies(self) -> None:
        findings = [Finding("f", "v", "is wrong", "mend it"), Finding("g", "w", "too", "so")]
        shown = self.shown(ConfigError(findings))
        assert shown.startswith("Invalid input:")
        for text in ("f = v", "is wrong", "mend it", "g = w"):
            assert text in shown
        assert self.shown(PreflightError(findings)).startswith("`up` cannot start; nothing was created:")

    def test_square_brackets_are_shown_as_they_are(self) -> None:
        shown = self.shown(KubeError("no [bold]such[/] thing", hint="see [x]"))
        assert "no [bold]such[/] thing" in shown
        assert "see [x]" in shown


def test_the_demo_shows_each_of_its_figures() -> None:
    target, file = screen()
    figures = {
        "regions": 3,
        "machines": 9,
        "peerings_connected": 6,
        "nodes_ready": 9,
        "clustermesh_links_ready": 6,
        "zones_resolved": 6,
        "cockroach_nodes_live": 9,
        "cluster_ids": 1,
    }
    drill = {"region": "northeurope", "error_window_s": 4.2, "recovered_s": 9.0}
    counts = {"answering": 3, "unproved": 0, "changed_again": 0, "writes_again": 4, "left": 0, "unknown": 0}
    result = demo.DemoResult(figures, **counts, drill=drill, seconds=71)
    console.show_figures(target, result.title(), result.lines(), result.seconds)
    shown = file.getvalue()
    assert "3 regions, all simulated on this machine, in 1 min 11 s" in shown
    assert "6  of 6 VNet peerings connected" in shown
    assert "4  writes in the second up" in shown
    assert "4.2  s in which SQL stalled without northeurope, by the drill" in shown


SHOW = (
    "from crdbmesh.terminal import console; from crdbmesh.errors import CrdbmeshError;"
    "console.show_error(console.make(stderr=True), CrdbmeshError('x' * 150, hint='✓'))"
)


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, False),
    ],
    ids=str,
)
def test_colour_follows_the_environment_and_lines_in_a_log_are_not_broken(
    environment: dict[str, str], *, coloured: bool
) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR", "TERM"}}
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        env={**inherited, "TERM": "xterm-256color", **environment},
    )
    assert ("\x1b[1;31m" in done.stderr or "\x1b[31m" in done.stderr) is coloured
    assert "x" * 150 in done.stderr


def test_an_encoding_without_our_marks_is_no_error() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOW.replace("stderr=True", "stderr=False")],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert "x" * 150 in done.stdout
