"""`crdbmesh maintain`: machines patched and rebooted one at a time, under a database that serves."""

from __future__ import annotations

from typing import Any

import pytest

NODES = "/api/v1/nodes/{0}-1"


def boots(mesh: Any) -> dict[str, str]:
    """The boot of each region's machine, as it tells."""
    return {
        region: mesh.run("ssh", f"{region}/1", "--", "cat /proc/sys/kernel/random/boot_id").stdout.strip()
        for region in ("eastus", "westus", "northeurope")
    }


@pytest.mark.long
@pytest.mark.timeout(400)
def test_machines_are_patched_and_rebooted_one_at_a_time_and_the_second_time_left_alone(mesh: Any) -> None:
    before = boots(mesh)
    ran = mesh.run("maintain", "westus", "--output", "json")
    assert ran.code == 0, ran.stderr
    (step,) = ran.document["steps"]
    assert (step["step"], step["outcome"]) == ("westus/node1/patches", "changed")
    assert "3 packages can be upgraded (libssl3t64, linux-image-azure, openssh-server)" in step["detail"]
    after = boots(mesh)
    assert {region for region in before if before[region] != after[region]} == {"westus"}
    _, node = mesh.doors.kube("westus", "GET", NODES.format("westus"))
    assert "unschedulable" not in node["spec"]
    again = mesh.run("maintain", "westus", "--output", "json")
    assert (again.code, again.document["steps"][0]["outcome"]) == (0, "held")

    forced = mesh.run("maintain", "westus/1", "--reboot", "--output", "json")
    assert (forced.code, forced.document["steps"][0]["detail"]) == (0, "westus-1: a reboot is asked for")
    assert boots(mesh)["westus"] != after["westus"]
    assert mesh.run("status").code == 0


def test_a_place_that_is_none_is_named_with_those_there_are(mesh: Any) -> None:
    wrong = mesh.run("maintain", "moon")
    assert (wrong.code, "choose from eastus/1, westus/1, northeurope/1" in wrong.stderr) == (2, True)
