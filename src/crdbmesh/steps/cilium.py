"""Cilium in each cluster: installed by k3s's own helm-controller, agents up, nodes ready."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from crdbmesh.clients.kube.client import Kube
from crdbmesh.desired import Object, cilium
from crdbmesh.engine.step import Gap, Say
from crdbmesh.errors import RefusedError
from crdbmesh.run.world import lost_folder
from crdbmesh.spec import names
from crdbmesh.steps import release
from crdbmesh.steps.base import ObjectsStep, RegionStep

CRD_DEADLINE_S = 180.0
INSTALL_DEADLINE_S = 600.0
READY_DEADLINE_S = 600.0

_FIXED = {"cluster id": "cluster-id", "cluster name": "cluster-name", "pod range": "cluster-pool-ipv4-cidr"}
"""What cannot be changed while pods run, by what it is: its setting in cilium-config."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cilium(ObjectsStep):
    """The chart is installed with our values, and what it brings is there."""

    def objects(self) -> list[Object]:
        """The Secret with the CA, then the HelmChart that reads it."""
        ca = self.world.cilium_ca()
        return [
            cilium.secret(ca_cert=ca.cert_pem, ca_key=ca.key_pem),
            cilium.chart(self.world.mesh, self.region),
        ]

    def check(self) -> Gap | None:
        """Refuse another CA: every running agent and every other cluster trusts the one it has."""
        kube = self.world.kube(self.region.name)
        found = kube.find("v1", "Secret", names.CILIUM_VALUES_SECRET, names.KUBE_SYSTEM)
        if found is not None and found.get("data") != self.objects()[0]["data"]:
            raise lost_folder(f"Cilium of {self.region.name}")
        self._refuse_fixed(kube)
        return ObjectsStep.check(self)

    def _refuse_fixed(self, kube: Kube) -> None:
        """Refuse another id, name or pod range than the running cluster's.

        They are in every identity, every address and every peer (docs.cilium.io, Cluster Mesh: "Changing the cluster
        ID or name of a running cluster"). What runs is in cilium-config, what was asked for in the HelmChart: if only
        one of them differs, somebody has edited it.
        """
        config = kube.find("v1", "ConfigMap", "cilium-config", names.KUBE_SYSTEM)
        chart = kube.find("helm.cattle.io/v1", "HelmChart", names.CILIUM, names.KUBE_SYSTEM)
        wanted = fixed_values(self.objects()[1])
        if config is None or (chart is not None and fixed_values(chart) == wanted):
            return
        runs = config.get("data") or {}
        for what, setting in _FIXED.items():
            if setting in runs and runs[setting] != wanted[what]:
                raise RefusedError(
                    f"Cilium of {self.region.name}: the {what} is {runs[setting]}, the spec says {wanted[what]}, and "
                    "that cannot be changed while pods run",
                    hint=f"put it back in the spec (a region's place in the list decides, or `cluster_id`, `pods` of "
                    f"{self.region.name}); to change it back up (SQL BACKUP), `crdbmesh down`, `crdbmesh up`, restore",
                )

    def missing(self) -> str | None:
        """What the chart should have brought and is not there, or that it is being installed right now."""
        kube = self.world.kube(self.region.name)
        for api_version, kind, name in self._brought():
            if kube.find(api_version, kind, name, names.KUBE_SYSTEM) is None:
                return f"{kind} {name} is absent in {self.region.name}"
        return release.find_gap(kube, names.CILIUM)

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002 - the whole chart is applied, whatever differs
        """Apply the chart; when it is as we want it but something it brings is gone, have it installed again."""
        kube = self.world.kube(self.region.name)
        kube.wait(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "helmcharts.helm.cattle.io",
            None,
            lambda found: None if found else "not there yet",
            awaited=f"the helm-controller of {self.region.name}",
            deadline_s=self.world.deadline(CRD_DEADLINE_S),
            say=say,
        )
        before, job_before = self._inputs(kube), release.find_job_uid(kube, names.CILIUM)
        covered = not any(kube.covers(wanted) for wanted in self.objects())
        if release.delete_broken(kube, names.CILIUM) or (covered and not release.is_under_way(kube, names.CILIUM)):
            # The helm-controller makes a job that is gone anew, and that runs `helm upgrade --install`.
            job = release.job(names.CILIUM)
            kube.delete(
                "batch/v1", "Job", job, names.KUBE_SYSTEM, wait=True, deadline_s=self.world.deadline(CRD_DEADLINE_S)
            )
        for wanted in self.objects():
            kube.apply(wanted, force=True)
        # The job that is there may still be the one of the chart before.
        self._wait(kube, None if self._inputs(kube) == before else job_before, say)

    def _inputs(self, kube: Kube) -> list[Any]:
        """What the install job is made from, as the cluster has it now."""
        chart = kube.find("helm.cattle.io/v1", "HelmChart", names.CILIUM, names.KUBE_SYSTEM) or {}
        secret = kube.find("v1", "Secret", names.CILIUM_VALUES_SECRET, names.KUBE_SYSTEM) or {}
        return [chart.get("spec"), secret.get("data")]

    def _wait(self, kube: Kube, outdated: str | None, say: Say) -> None:
        """Wait for the install job, other than the outdated one, then for what it brings."""
        kube.wait(
            "batch/v1",
            "Job",
            release.job(names.CILIUM),
            names.KUBE_SYSTEM,
            functools.partial(release.unfinished, kube, names.CILIUM, outdated),
            awaited=f"the Cilium install in {self.region.name}",
            deadline_s=self.world.deadline(INSTALL_DEADLINE_S),
            say=say,
        )
        for api_version, kind, name in self._brought():
            kube.wait(
                api_version,
                kind,
                name,
                names.KUBE_SYSTEM,
                lambda found: None if found else "absent",
                awaited=f"{kind} {name} in {self.region.name}",
                deadline_s=self.world.deadline(CRD_DEADLINE_S),
                say=say,
            )

    def _brought(self) -> list[tuple[str, str, str]]:
        brought = [
            ("apps/v1", "DaemonSet", names.CILIUM),
            ("apps/v1", "Deployment", "cilium-operator"),
            ("v1", "ConfigMap", "cilium-config"),
            ("v1", "Secret", names.CILIUM_CA_SECRET),
        ]
        if self.world.mesh.others(self.region):
            brought += [
                ("apps/v1", "Deployment", names.CLUSTERMESH_APISERVER),
                ("v1", "Service", names.CLUSTERMESH_APISERVER),
                ("v1", "Secret", names.CLUSTERMESH_SECRET),
                ("v1", "Secret", "cilium-kvstoremesh"),
            ]
        return brought


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes(RegionStep):
    """Every node of the region is Ready, with a Cilium agent that is."""

    def check(self) -> Gap | None:
        """Look at the nodes, then at the agents."""
        kube = self.world.kube(self.region.name)
        missing = nodes_missing([machine.node for machine in self.region.machines], kube.list("v1", "Node"))
        missing = missing or rollout_missing(kube.find("apps/v1", "DaemonSet", names.CILIUM, names.KUBE_SYSTEM))
        return Gap(f"{self.region.name}: {missing}") if missing else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Wait: nodes become ready when their agent is up."""
        kube = self.world.kube(self.region.name)
        kube.wait_all(
            "v1",
            "Node",
            None,
            lambda nodes: nodes_missing([machine.node for machine in self.region.machines], nodes),
            awaited=f"the nodes of {self.region.name}",
            deadline_s=self.world.deadline(READY_DEADLINE_S),
            say=say,
        )
        kube.wait(
            "apps/v1",
            "DaemonSet",
            names.CILIUM,
            names.KUBE_SYSTEM,
            rollout_missing,
            awaited=f"the Cilium agents of {self.region.name}",
            deadline_s=self.world.deadline(READY_DEADLINE_S),
            say=say,
        )


def fixed_values(chart: Mapping[str, Any]) -> dict[str, str]:
    """What of a HelmChart's values cannot be changed while pods run, by what it is."""
    values = yaml.safe_load(chart.get("spec", {}).get("valuesContent") or "") or {}
    ranges = values.get("ipam", {}).get("operator", {}).get("clusterPoolIPv4PodCIDRList") or []
    cluster = values.get("cluster", {})
    found = (str(cluster.get("id")), str(cluster.get("name")), " ".join(map(str, ranges)))
    return dict(zip(_FIXED, found, strict=True))


def nodes_missing(wanted: Sequence[str], nodes: Sequence[Mapping[str, Any]]) -> str | None:
    """Which of the wanted nodes are absent or not Ready, and why; None when all are."""
    by_name = {node["metadata"]["name"]: node for node in nodes}
    parts = []
    for name in wanted:
        if name not in by_name:
            parts.append(f"node {name} is absent")
            continue
        reason = _not_ready(by_name[name])
        if reason:
            parts.append(f"node {name} is not ready ({reason})")
    return "; ".join(parts) or None


def rollout_missing(found: Mapping[str, Any] | None) -> str | None:
    """Why a DaemonSet, Deployment or StatefulSet is not rolled out, or None when it is."""
    if found is None:
        return "absent"
    name, status = found["metadata"]["name"], found.get("status", {})
    if status.get("observedGeneration", 0) < found["metadata"].get("generation", 1):
        return f"{name}: change not observed yet"
    if found["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        updated, ready, total = (
            status.get(field, 0) for field in ("updatedNumberScheduled", "numberReady", "currentNumberScheduled")
        )
        if not wanted:
            return f"{name}: not scheduled on any node yet"
    else:
        wanted = found.get("spec", {}).get("replicas", 1)
        updated, ready, total = (status.get(field, 0) for field in ("updatedReplicas", "readyReplicas", "replicas"))
    if updated < wanted or ready < wanted:
        return f"{name}: {min(updated, ready)} of {wanted} ready"
    # A ready replica of the old kind may stand in for one of the new kind that is not.
    return f"{name}: {total - updated} old replicas still run" if total > updated else None


def _not_ready(node: Mapping[str, Any]) -> str | None:
    for condition in node.get("status", {}).get("conditions") or []:
        if condition.get("type") == "Ready":
            if condition.get("status") == "True":
                return None
            return str(condition.get("message") or condition.get("reason") or "no reason given")
    return "no Ready condition yet"


def agent_pods(kube: Kube) -> list[dict[str, Any]]:
    """The Cilium agent pods of a cluster."""
    return kube.list("v1", "Pod", names.KUBE_SYSTEM, labels="k8s-app=cilium")
