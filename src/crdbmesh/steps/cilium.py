"""Cilium in each cluster: installed by k3s's own helm-controller, agents up, nodes ready, clusters in sync."""

import functools
from collections.abc import Mapping
from typing import Any

from crdbmesh.clients.kube.client import Kube
from crdbmesh.clients.waiting import Say
from crdbmesh.desired import Object, cilium, cockroach, policies
from crdbmesh.engine.step import Gap
from crdbmesh.errors import RefusedError
from crdbmesh.observe import cilium as observed
from crdbmesh.observe import links, machines, rollouts
from crdbmesh.run.world import lost_folder
from crdbmesh.spec import documents, names
from crdbmesh.steps import rollout
from crdbmesh.steps.base import AwaitedStep, ObjectsStep, RegionStep

CRD_DEADLINE_S = 180.0
INSTALL_DEADLINE_S = 600.0
READY_DEADLINE_S = 600.0

_CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "helmcharts.helm.cattle.io", None)
_CHART = ("helm.cattle.io/v1", "HelmChart", names.CILIUM, names.KUBE_SYSTEM)
_VALUES = ("v1", "Secret", names.CILIUM_VALUES_SECRET, names.KUBE_SYSTEM)
_JOB = ("batch/v1", "Job", observed.job(names.CILIUM), names.KUBE_SYSTEM)
_AGENTS = ("DaemonSet", names.CILIUM, names.KUBE_SYSTEM)

_FIXED = {"cluster id": "cluster-id", "cluster name": "cluster-name", "pod range": "cluster-pool-ipv4-cidr"}
"""The values that cannot be changed while pods run: from a name for messages to the setting in cilium-config."""


class Cilium(ObjectsStep):
    """The chart is installed with our values, and what it brings is there."""

    def objects(self) -> list[Object]:
        """Return the Secret with the CA, then the HelmChart that reads it."""
        ca = self.world.cilium_ca()
        secret = cilium.secret(ca_cert=ca.cert_pem, ca_key=ca.key_pem)
        return [secret, cilium.chart(self.world.mesh, self.region)]

    def check(self) -> Gap | None:
        """Refuse another CA: every running agent and every other cluster trusts the one it has."""
        kube = self.kube
        found = kube.find(*_VALUES)
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
        config = kube.find("v1", "ConfigMap", names.CILIUM_CONFIG, names.KUBE_SYSTEM)
        chart = kube.find(*_CHART)
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
        """Look for what the chart should have brought, and whether it is being installed right now."""
        return observed.read_missing(self.world, self.region)

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002 - the whole chart is applied, whatever differs
        """Apply the chart; where pods run on it, in one region at a time, until its agents are ready again.

        It is not deferred as rollouts are: the clusters that it adds are what other steps wait for.
        """
        if rollouts.read_missing(self.kube, *_AGENTS) is not None:
            self._apply(say)
            return
        with self.world.turn("rollout"):
            self._apply(say)
            _await_agents(self, say)

    def _apply(self, say: Say) -> None:
        """Apply it; if it is as wanted but something that it brings is gone, have it installed again."""
        kube = self.kube
        deadline_s, awaited = self.world.deadline(CRD_DEADLINE_S), f"the helm-controller of {self.region.name}"
        kube.wait(*_CRD, lambda crd: None if crd else "not there yet", awaited=awaited, deadline_s=deadline_s, say=say)
        before, job_before = self._inputs(kube), observed.find_job(kube, names.CILIUM)
        covered = not any(kube.covers(wanted) for wanted in self.objects())
        # Helm goes on from the revision before those that broke off, and takes over what they made.
        broken = observed.list_broken(kube, names.CILIUM)
        for name in broken:
            kube.delete("v1", "Secret", name, names.KUBE_SYSTEM, wait=True)
        if broken or (covered and not observed.is_under_way(job_before)):
            # The helm-controller makes a job that is gone anew, and that runs `helm upgrade --install`.
            kube.delete(*_JOB, wait=True, deadline_s=deadline_s)
        for wanted in self.objects():
            kube.apply(wanted, force=True)
        # The job that is there may still be the one of the chart before.
        outdated = job_before if self._inputs(kube) != before else None
        self._wait(kube, str(outdated["metadata"]["uid"]) if outdated else None, say)

    def _inputs(self, kube: Kube) -> list[Any]:
        """Return what the helm-controller makes the install job from, as the cluster has it now."""
        return [(kube.find(*_CHART) or {}).get("spec"), (kube.find(*_VALUES) or {}).get("data")]

    def _wait(self, kube: Kube, outdated: str | None, say: Say) -> None:
        """Wait for the install job, other than the outdated one, then for what it brings."""
        done = functools.partial(observed.unfinished, kube, names.CILIUM, names.CILIUM_AGENTS, outdated)
        awaited, deadline_s = f"the Cilium install in {self.region.name}", self.world.deadline(INSTALL_DEADLINE_S)
        kube.wait(*_JOB, done, awaited=awaited, deadline_s=deadline_s, say=say)
        deadline_s = self.world.deadline(CRD_DEADLINE_S)
        for api_version, kind, name in observed.brought(self.world, self.region):
            at, awaited = (api_version, kind, name, names.KUBE_SYSTEM), f"{kind} {name} in {self.region.name}"
            kube.wait(*at, lambda found: None if found else "absent", awaited=awaited, deadline_s=deadline_s, say=say)


class Nodes(RegionStep):
    """Every node of the region is Ready, with a Cilium agent that is."""

    def check(self) -> Gap | None:
        """Look at the nodes, then at the agents."""
        kube = self.kube
        nodes = kube.list("v1", "Node")
        if cordoned := rollout.list_cordoned(nodes):
            return Gap(f"{', '.join(cordoned)} is cordoned by a rollout that broke off")
        unready = machines.unready_nodes(kube, self.region, nodes)
        missing = "; ".join(unready) or rollouts.read_missing(kube, *_AGENTS)
        return Gap(f"{self.region.name}: {missing}") if missing else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Uncordon what a rollout has left, then wait: nodes become ready when their agent is up."""
        rollout.mend(self.world, self.region, say)
        kube = self.kube
        deadline_s, awaited = self.world.deadline(READY_DEADLINE_S), f"the nodes of {self.region.name}"

        def until(nodes: list[Object]) -> str | None:
            return "; ".join(machines.unready_nodes(kube, self.region, nodes)) or None

        kube.wait_all("v1", "Node", None, until, awaited=awaited, deadline_s=deadline_s, say=say)
        _await_agents(self, say)


class Policies(ObjectsStep):
    """The policies for pods: the database's priority, who reaches it, and that none reaches Azure's metadata."""

    def objects(self) -> list[Object]:
        """Return the class of priority and the network policies."""
        return [cockroach.priority(), *policies.objects(self.world.mesh, self.region)]


class Links(RegionStep, AwaitedStep):
    """The region's agents and kvstoremesh have a ready link to every other region.

    There is nothing to apply: the whole clustermesh is in each cluster's first install. This step waits for the links.
    """

    def awaited(self) -> str:
        """Name what is waited for, for messages."""
        return f"the clustermesh links of {self.region.name}"

    def missing(self) -> str | None:
        """Ask every agent and every kvstoremesh."""
        remotes = [other.name for other in self.world.mesh.others(self.region)]
        unready = links.read_unready(self.kube, remotes)
        causes = [cause for found in unready.values() for cause in found]
        return f"{self.region.name}: {'; '.join(causes)}" if causes else None


def _await_agents(step: RegionStep, say: Say) -> None:
    awaited, deadline_s = f"the Cilium agents of {step.region.name}", step.world.deadline(READY_DEADLINE_S)
    rollouts.wait(step.kube, *_AGENTS, awaited=awaited, deadline_s=deadline_s, say=say)


def fixed_values(chart: Mapping[str, Any]) -> dict[str, str]:
    """Return the values of a HelmChart that cannot be changed while pods run, by their name for messages."""
    try:
        values = documents.read_yaml(chart.get("spec", {}).get("valuesContent") or "") or {}
    except documents.DocumentError:
        values = {}
    ranges = values.get("ipam", {}).get("operator", {}).get("clusterPoolIPv4PodCIDRList") or []
    cluster = values.get("cluster", {})
    found = (str(cluster.get("id")), str(cluster.get("name")), " ".join(map(str, ranges)))
    return dict(zip(_FIXED, found, strict=True))
