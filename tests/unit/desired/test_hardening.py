"""What a machine has beyond k3s's defaults: only for layout 2, and each part fits the others."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from crdbmesh.desired import cockroach, hardening
from crdbmesh.spec.mesh import Mesh

SPEC: dict[str, Any] = {"regions": ["eastus"], "machines": {"per_region": 4}}


@pytest.fixture
def mesh() -> Mesh:
    return Mesh.model_validate(SPEC)


def test_a_mesh_of_release_0_1_has_none_of_it() -> None:
    old = Mesh.model_validate({**SPEC, "layout": 1})
    (region,) = old.all_regions()
    for machine in region.machines:
        assert (hardening.settings(old, region, machine), hardening.files(old, region, machine)) == ({}, {})
    assert hardening.kernel(old) == {}


def test_servers_have_all_of_the_guides_settings_and_agents_those_of_a_node(mesh: Mesh) -> None:
    (region,) = mesh.all_regions()
    server, agent = region.servers[0], region.agents[0]
    assert hardening.settings(mesh, region, agent) == {"protect-kernel-defaults": True}
    assert set(hardening.files(mesh, region, agent)) == {
        hardening.SYSCTL, hardening.LOGIND, hardening.KUBELET, hardening.REGISTRIES,
    }  # fmt: skip
    settings = hardening.settings(mesh, region, server)
    assert all(settings[one] is True for one in ("secrets-encryption", "embedded-registry", "protect-kernel-defaults"))
    arguments = dict(text.split("=", 1) for text in settings["kube-apiserver-arg"])
    files = hardening.files(mesh, region, server)
    assert {arguments["admission-control-config-file"], arguments["audit-policy-file"]} < set(files)
    assert arguments["enable-admission-plugins"] == "NodeRestriction,EventRateLimit"


def test_the_kernel_says_what_its_file_says(mesh: Mesh) -> None:
    (region,) = mesh.all_regions()
    lines = hardening.files(mesh, region, region.machines[0])[hardening.SYSCTL].splitlines()
    said = {f"/proc/sys/{name.replace('.', '/')}": f"{value}\n" for name, value in (line.split("=") for line in lines)}
    assert said == hardening.kernel(mesh)


def test_a_shutdown_leaves_the_database_its_grace_and_logind_waits_for_all_of_it(mesh: Mesh) -> None:
    (region,) = mesh.all_regions()
    files = hardening.files(mesh, region, region.machines[0])
    kubelet = yaml.safe_load(files[hardening.KUBELET])
    whole, critical = (
        int(kubelet[name].removesuffix("s")) for name in ("shutdownGracePeriod", "shutdownGracePeriodCriticalPods")
    )
    assert whole - critical >= cockroach.GRACE_SECONDS
    assert re.search(r"InhibitDelayMaxSec=(\d+)", files[hardening.LOGIND])[1] == str(whole)  # type: ignore[index]


def test_reservations_add_up_to_what_sizes_are_judged_by(mesh: Mesh) -> None:
    (region,) = mesh.all_regions()
    kubelet = yaml.safe_load(hardening.files(mesh, region, region.machines[0])[hardening.KUBELET])
    parts = [kubelet["kubeReserved"], kubelet["systemReserved"]]
    assert sum(int(one["cpu"].removesuffix("m")) for one in parts) == hardening.RESERVED_CPU * 1000
    assert sum(int(one["memory"].removesuffix("Mi")) for one in parts) == hardening.RESERVED_GIB * 1024
    assert kubelet["evictionHard"]["memory.available"] == "100Mi"


def test_every_namespace_but_kubernetes_own_is_restricted_unless_it_says_otherwise(mesh: Mesh) -> None:
    (region,) = mesh.all_regions()
    admission = yaml.safe_load(hardening.files(mesh, region, region.machines[0])[hardening.ADMISSION])
    plugins = {one["name"]: one["configuration"] for one in admission["plugins"]}
    assert plugins["PodSecurity"]["defaults"]["enforce"] == "restricted"
    assert plugins["PodSecurity"]["exemptions"]["namespaces"] == ["kube-system"]
    assert plugins["EventRateLimit"]["limits"]


def test_the_database_is_born_with_its_offset_its_logs_its_priority_and_its_place(mesh: Mesh) -> None:
    (region,) = mesh.all_regions()
    made = cockroach.statefulset(mesh, region)
    pod = made["spec"]["template"]["spec"]
    start = pod["containers"][0]["command"][-1]
    assert ("--max-offset=250ms" in start, "--logtostderr" in start) == (True, False)
    log = yaml.safe_load(start.split("--log='")[1].split("'")[0])
    assert log["sinks"]["stderr"]["filter"] == "WARNING"
    assert log["file-defaults"]["buffered-writes"] is True
    assert pod["priorityClassName"] == cockroach.priority()["metadata"]["name"]
    assert pod["affinity"]["nodeAffinity"].keys() == {"preferredDuringSchedulingIgnoredDuringExecution"}
    assert cockroach.statefulset(mesh, region, made) == made
