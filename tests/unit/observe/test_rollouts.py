"""Why pods do not run, and what of it nobody but an operator can mend."""

from __future__ import annotations

from typing import Any

import pytest

from crdbmesh.observe import rollouts

PULL = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "quay.io/cilium/cilium:v1"'}}


def pod(*, init: list[dict[str, Any]], main: list[dict[str, Any]], phase: str = "Pending") -> dict[str, Any]:
    status = {
        "phase": phase,
        "initContainerStatuses": [{"state": state} for state in init],
        "containerStatuses": [{"state": state} for state in main],
    }
    return {"metadata": {"name": "cilium-x7x2p"}, "status": status}


DONE = {"terminated": {"exitCode": 0, "reason": "Completed"}}
RUNNING: dict[str, Any] = {"running": {}}
STARTING = {"waiting": {"reason": "PodInitializing"}}


@pytest.mark.parametrize(
    ("found", "stuck"),
    [
        (pod(init=[PULL], main=[STARTING]), 'pod cilium-x7x2p: ImagePullBackOff Back-off pulling image "quay'),
        (pod(init=[DONE], main=[PULL]), 'pod cilium-x7x2p: ImagePullBackOff Back-off pulling image "quay'),
        (pod(init=[{"waiting": {"reason": "PodInitializing"}}], main=[STARTING]), None),
        (pod(init=[RUNNING], main=[STARTING]), None),
        (pod(init=[DONE], main=[RUNNING], phase="Running"), None),
        ({"metadata": {"name": "cilium-x7x2p"}, "status": {"phase": "Pending"}}, None),
    ],
)
def test_a_pod_that_waits_for_its_image_is_named_and_one_that_starts_is_not(
    found: dict[str, Any], stuck: str | None
) -> None:
    said = rollouts.stuck_at([found])
    assert said == stuck or (said is not None and stuck is not None and said.startswith(stuck))


def test_a_pod_that_is_not_scheduled_says_why() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    found = {"metadata": {"name": "p"}, "status": {"phase": "Pending", "conditions": [condition]}}
    assert rollouts.not_running(found) == "Pending: 0/3 nodes are available"
    assert rollouts.not_running(pod(init=[DONE], main=[RUNNING], phase="Running")) is None
