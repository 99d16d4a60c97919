"""Workflows run what a commit names, with no more permission than each job needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

WORKFLOWS = sorted((Path(__file__).parent.parent / ".github/workflows").glob("*.yml"))
READ = {"contents": "read"}
MORE = {
    "smoke.yml/smoke": {"contents": "read", "id-token": "write"},
    "release.yml/publish": {"contents": "write", "id-token": "write", "attestations": "write"},
}
"""The jobs that need more than to read: the one that logs in to Azure, and the one that signs and publishes."""


def jobs(workflow: Path) -> dict[str, Any]:
    """Each job of a workflow with the permissions that it runs with, by `file/job`."""
    document = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    return {
        f"{workflow.name}/{name}": {**job, "permissions": job.get("permissions", document["permissions"])}
        for name, job in document["jobs"].items()
    }


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_named_by_a_commit_and_its_release(workflow: Path) -> None:
    used = re.findall(r"uses: (.*)", workflow.read_text(encoding="utf-8"))
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_no_job_may_do_more_than_it_must(workflow: Path) -> None:
    for name, job in jobs(workflow).items():
        assert job["permissions"] == MORE.get(name, READ), name


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_no_script_is_made_of_what_an_event_says(workflow: Path) -> None:
    for name, job in jobs(workflow).items():
        scripts = [step["run"] for step in job["steps"] if "run" in step]
        assert [script for script in scripts if "${{" in script] == [], name


def test_the_job_that_publishes_runs_nothing_of_the_repository() -> None:
    publish = jobs(Path(WORKFLOWS[0].parent / "release.yml"))["release.yml/publish"]
    assert not [step for step in publish["steps"] if "actions/checkout" in step.get("uses", "")]
