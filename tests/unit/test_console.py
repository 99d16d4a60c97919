"""What people see: on a terminal, off one, and when something is wrong."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from crdbmesh import console
from crdbmesh.engine.step import Event, Gap, Outcome, Result
from crdbmesh.errors import ConfigError, Finding, KubeError
from crdbmesh.health import LAYERS, Health, Layer, Level, RegionHealth
from crdbmesh.steps import catalog
from crdbmesh.topology import config


def screen(*, terminal: bool = False) -> tuple[Console, StringIO]:
    file = StringIO()
    return Console(file=file, width=100, force_terminal=terminal, highlight=False, color_system=None), file


STEPS = ["eastus/network", "eastus/node1/machine", "mesh/init"]


def test_off_a_terminal_each_change_is_a_plain_line_and_what_held_is_silent() -> None:
    target, file = screen()
    with console.Progress(target, STEPS, catalog.place, catalog.STAGES) as progress:
        progress(Event("eastus/network", "applying", "VNet is absent"))
        progress(Event("eastus/network", "ended", "", Result("eastus/network", Outcome.CHANGED, "VNet is absent")))
        progress(Event("mesh/init", "ended", "", Result("mesh/init", Outcome.HELD)))
    shown = file.getvalue()
    assert "eastus/network: VNet is absent" in shown
    assert "✓ eastus/network" in shown
    assert "mesh/init" not in shown
    assert "\x1b" not in shown


def test_on_a_terminal_there_is_a_row_per_region_and_a_column_per_stage() -> None:
    target, file = screen(terminal=True)
    with console.Progress(target, STEPS, catalog.place, catalog.STAGES) as progress:
        progress(Event("eastus/node1/machine", "waiting", "PUT virtualMachines/x: Creating, 12 s"))
        target.print(progress.draw())
    shown = file.getvalue()
    assert all(stage in shown for stage in catalog.STAGES)
    assert "eastus" in shown
    assert "Creating, 12 s" in shown


def test_a_failure_says_what_why_what_next_and_what_it_blocks() -> None:
    target, file = screen()
    results = {
        "a": Result("a", Outcome.FAILED, "the reason", hint="do this"),
        "b": Result("b", Outcome.BLOCKED, "a failed", culprit="a"),
    }
    console.show_results(target, results, seconds=3, journal="/j.jsonl", again="crdbmesh up")
    shown = file.getvalue()
    for text in ("the reason", "do this", "blocks b", "/j.jsonl", "Run `crdbmesh up` again"):
        assert text in shown


def test_status_shows_every_layer_and_names_the_cause() -> None:
    target, file = screen()
    layers = tuple(Layer(name, Level.OK, 1, 1) for name in LAYERS[:-1])
    broken = Layer("cockroachdb", Level.DEGRADED, 2, 3, "cockroachdb-1 is absent")
    console.show_status(target, Health("m", (RegionHealth("eastus", (*layers, broken)),), ("id",)))
    shown = file.getvalue()
    assert "2/3" in shown
    assert "eastus cockroachdb: cockroachdb-1 is absent" in shown
    assert "degraded" in shown


def test_two_clusters_where_one_should_be_is_degraded() -> None:
    layers = tuple(Layer(name, Level.OK, 1, 1) for name in LAYERS)
    health = Health("m", (RegionHealth("eastus", layers),), ("one", "two"))
    target, file = screen()
    console.show_status(target, health)
    assert health.degraded
    assert "2 CockroachDB clusters where there should be one" in file.getvalue()


def test_opening_to_everyone_is_said_loudly() -> None:
    target, file = screen()
    console.show_intent(target, config.mesh({"regions": ["eastus"], "allow_from": ["*"]}))
    assert "open to EVERYONE" in file.getvalue()


def test_findings_are_listed_with_their_remedies() -> None:
    target, file = screen()
    console.show_error(target, ConfigError([Finding("f", "v", "is wrong", "mend it"), Finding("g", "w", "too", "so")]))
    shown = file.getvalue()
    assert "f = v" in shown
    assert "mend it" in shown
    assert "g = w" in shown


def test_square_brackets_in_a_message_are_shown_as_they_are() -> None:
    target, file = screen()
    console.show_error(target, KubeError("no [bold]such[/] thing", hint="see [x]"))
    assert "no [bold]such[/] thing" in file.getvalue()


def test_a_plan_lists_gaps_and_refusals() -> None:
    target, file = screen()
    found: dict[str, Gap | Result] = {
        "eastus/dns": Gap("a is absent"),
        "mesh/init": Result("mesh/init", Outcome.FAILED, "cannot be changed", hint="put it back"),
    }
    console.show_plan(target, config.mesh({"regions": ["eastus"]}), found, catalog.place)
    shown = file.getvalue()
    assert "a is absent" in shown
    assert "put it back" in shown
    assert "1 of 2 steps" in shown
