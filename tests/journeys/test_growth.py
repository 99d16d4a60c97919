"""A spec grows, and what runs takes the change up."""

from __future__ import annotations

from typing import Any

from crdbmesh.engine.step import Event

SECRETS = "/api/v1/namespaces/kube-system/secrets?labelSelector=owner%3Dhelm%2Cname%3Dcilium"


def test_a_changed_chart_is_waited_for_until_helm_has_upgraded_it(world: Any) -> None:
    ended: list[dict[str, str]] = []

    def look(event: Event) -> None:
        """See which revision there is at the moment the step ends."""
        if event.step == "eastus/cilium" and event.result is not None:
            status, found = world.kube("eastus", "GET", SECRETS)
            assert status == 200
            labels = [secret["metadata"]["labels"] for secret in found["items"]]
            ended.append({each["version"]: each["status"] for each in labels})

    for mesh in (world.mesh(["eastus"]), world.mesh(["eastus"], machines=2)):
        results = world.up(mesh, notify=look)
        bad = {name: r.detail for name, r in results.items() if not r.outcome.good}
        assert not bad
    assert ended == [{"1": "deployed"}, {"1": "superseded", "2": "deployed"}]
    assert not world.status(mesh).degraded
