"""The machines: public address, network interface, VM, and the host behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crdbmesh.clients.azure import compute, network
from crdbmesh.desired import azure as resources
from crdbmesh.desired import machine as hosts
from crdbmesh.engine.step import Gap, Say
from crdbmesh.errors import HostError, WaitError
from crdbmesh.run.world import lost_folder
from crdbmesh.spec import names
from crdbmesh.steps.base import MachineStep, ResourceStep

BOOT_DEADLINE_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Address(MachineStep, ResourceStep):
    """A machine's public address."""

    def resource(self) -> str:
        """What it is, for messages."""
        return f"public IP {self._name}"

    def wanted(self) -> Mapping[str, Any]:
        """The public IP."""
        return resources.public_address(self.world.mesh, self.machine)

    def find(self) -> dict[str, Any] | None:
        """The public IP as it is."""
        return network.find_public_ip(self.world.session, self.world.group, self._name)

    def ensure(self, body: dict[str, Any], say: Say) -> None:
        """Create or update it."""
        network.ensure_public_ip(self.world.session, self.world.group, self._name, body, say=say)

    @property
    def _name(self) -> str:
        return names.address(self.world.mesh.name, self.machine.region, self.machine.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic(MachineStep, ResourceStep):
    """A machine's network interface."""

    def resource(self) -> str:
        """What it is, for messages."""
        return f"network interface {self._name}"

    def wanted(self) -> Mapping[str, Any]:
        """The interface."""
        return resources.nic(self.world.mesh, self.machine, self.world.session.subscription_id)

    def find(self) -> dict[str, Any] | None:
        """The interface as it is."""
        return network.find_nic(self.world.session, self.world.group, self._name)

    def ensure(self, body: dict[str, Any], say: Say) -> None:
        """Create or update it."""
        network.ensure_nic(self.world.session, self.world.group, self._name, body, say=say)

    @property
    def _name(self) -> str:
        return names.nic(self.world.mesh.name, self.machine.region, self.machine.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualMachine(MachineStep, ResourceStep):
    """A machine's VM, running."""

    def resource(self) -> str:
        """What it is, for messages."""
        return f"VM {self._name}"

    def wanted(self) -> Mapping[str, Any]:
        """The VM."""
        world = self.world
        host_key = world.host_key(self.machine)
        return resources.virtual_machine(
            world.mesh,
            self.machine,
            world.session.subscription_id,
            zone=world.zone_of(self.machine),
            login_key=world.login_key().public,
            cloud_init=hosts.cloud_init(world.mesh, host_key=host_key.private, host_key_public=host_key.public),
        )

    def find(self) -> dict[str, Any] | None:
        """The VM as it is."""
        return compute.find_vm(self.world.session, self.world.group, self._name)

    def ensure(self, body: dict[str, Any], say: Say) -> None:
        """Create it; one that is there keeps its zone, its keys and its image, which cannot be changed."""
        compute.ensure_vm(self.world.session, self.world.group, self._name, body, say=say)

    def check(self) -> Gap | None:
        """Also that it was made with our login key, and that it runs."""
        found = self.find()
        if found is None:
            return Gap(f"{self.resource()} is absent")
        self.refuse_foreign(found)
        if not self._has_our_key(found):
            raise lost_folder(self.resource())
        state = found.get("properties", {}).get("provisioningState")
        if state != "Succeeded":
            return Gap(f"{self.resource()} is {state}")
        size = found["properties"].get("hardwareProfile", {}).get("vmSize", "")
        if size.lower() != self.machine.size.lower():
            return Gap(f"{self.resource()}: size {self.machine.size} wanted, {size} found")
        power = self._power()
        return None if power == "running" else Gap(f"{self.resource()} is {power}, not running")

    def apply(self, gap: Gap, say: Say) -> None:
        """Create it, or start it again, or send the new size."""
        found = self.find()
        if found is None:
            ResourceStep.apply(self, gap, say)
            return
        if found.get("properties", {}).get("provisioningState") == "Succeeded" and self._power() != "running":
            compute.start_vm(self.world.session, self.world.group, self._name, say=say)
            return
        wanted = dict(self.wanted())
        properties = dict(wanted["properties"])
        properties["osProfile"] = {key: value for key, value in properties["osProfile"].items() if key != "customData"}
        have = found.get("properties", {}).get("storageProfile", {})
        for fixed in ("imageReference", "osDisk"):
            if fixed in have:
                properties["storageProfile"] = {**properties["storageProfile"], fixed: have[fixed]}
        body = {**wanted, "properties": properties, "tags": {**(found.get("tags") or {}), **wanted["tags"]}}
        if zones := found.get("zones"):
            body["zones"] = zones
        else:
            body.pop("zones", None)
        self.ensure(body, say)

    def _has_our_key(self, found: Mapping[str, Any]) -> bool:
        profile = found.get("properties", {}).get("osProfile", {})
        keys = (profile.get("linuxConfiguration") or {}).get("ssh", {}).get("publicKeys") or []
        ours = self.world.login_key().public.split()[:2]
        return any(str(key.get("keyData", "")).split()[:2] == ours for key in keys)

    def _power(self) -> str:
        view = compute.find_instance_view(self.world.session, self.world.group, self._name) or {}
        for status in view.get("statuses") or []:
            kind, _, value = str(status.get("code", "")).partition("/")
            if kind == "PowerState":
                return value
        return "in an unknown power state"

    @property
    def _name(self) -> str:
        return names.machine(self.world.mesh.name, self.machine.region, self.machine.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReady(MachineStep):
    """The host answers SSH with the key we gave it, lets us in, and its first boot is done."""

    def check(self) -> Gap | None:
        """Log in and ask cloud-init."""
        try:
            host = self.world.host(self.machine)
            done = host.run("cloud-init status --format json", check=False, timeout_s=60, describe="cloud-init status")
        except (HostError, WaitError) as error:
            return Gap(str(error))
        status = _cloud_init_status(done.stdout)
        # An error in some module of the image's own does not keep us from logging in and going on.
        return None if status in {"done", "error", "disabled"} else Gap(f"{self.machine.node}: cloud-init is {status}")

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Wait until SSH lets us in, then until cloud-init has ended."""
        host = self.world.host(self.machine)
        host.wait_ready(self.world.deadline(BOOT_DEADLINE_S), say)
        say("first boot (cloud-init)")
        host.run(
            "cloud-init status --wait",
            check=False,
            timeout_s=self.world.deadline(BOOT_DEADLINE_S),
            describe="cloud-init status --wait",
        )


def _cloud_init_status(stdout: str) -> str:
    try:
        return str(json.loads(stdout).get("status", "unknown"))
    except (ValueError, AttributeError):
        return "unclear"
