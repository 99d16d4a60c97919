"""Addresses and node ports: a Service gets them from the cluster's ranges.

After `pkg/registry/core/service/{storage,ipallocator,portallocator}` of Kubernetes 1.36.
"""

from __future__ import annotations

import ipaddress
import random
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.api import status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.resources import Resource
from crdbmesh_simulator.kubernetes.api.status import FieldError

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.store import Store

NODE_PORTS = range(30000, 32768)
_STATIC_BAND = 86
"""Addresses and ports below this index are only given when asked for by number."""


class Allocations:
    """The ranges of one cluster. What is taken is read from the Services themselves."""

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311 - a choice among free addresses
        self._range = ipaddress.IPv4Network("10.43.0.0/16")

    def configure(self, service_cidr: str) -> None:
        """Set the range of Service addresses (of a dual-stack pair, the IPv4 one counts)."""
        for text in service_cidr.split(","):
            network = ipaddress.ip_network(text.strip())
            if isinstance(network, ipaddress.IPv4Network):
                self._range = network
                return

    def allocate(self, store: Store, resource: Resource, new: Obj, old: Obj | None) -> None:
        """Give a Service what it lacks, and check what it asks for.

        Raises StatusError: 422 when an address or port is outside its range, or another's.
        """
        spec = new["spec"]
        before = (old or {}).get("spec") or {}
        others = [
            each
            for each in store.peek_all(resource)
            if old is None or each["metadata"]["uid"] != old["metadata"]["uid"]
        ]
        errors: list[FieldError] = []
        if spec.get("type") == "ExternalName":
            for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                spec.pop(key, None)
        else:
            self._address(spec, before, others, errors)
        self._ports(spec, before, others, errors)
        if errors:
            raise status.unprocessable(resource, new["metadata"]["name"], errors)

    def _address(self, spec: Obj, before: Obj, others: list[Obj], errors: list[FieldError]) -> None:
        asked = spec.get("clusterIP") or (spec.get("clusterIPs") or [None])[0] or before.get("clusterIP")
        taken = {each["spec"].get("clusterIP") for each in others if "spec" in each}
        if asked and asked != "None" and asked != before.get("clusterIP"):
            self._check_address(str(asked), taken, errors)
        if not asked:
            asked = self._free_address(taken)
        spec["clusterIP"], spec["clusterIPs"] = asked, [asked]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")

    def _check_address(self, asked: str, taken: set[str | None], errors: list[FieldError]) -> None:
        try:
            address = ipaddress.IPv4Address(asked)
        except ValueError:
            errors.append(
                status.invalid(
                    "spec.clusterIPs[0]", asked, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
                )
            )
            return
        last = self._range.num_addresses - 1
        if address not in self._range or address in (self._range[0], self._range[last]):
            why = f"failed to allocate IP {asked}: the provided network does not match the current range"
            if address not in self._range:
                why = (
                    f"failed to allocate IP {asked}: the provided IP ({asked}) is not in the valid range. "
                    f"The range of valid IPs is {self._range}"
                )
            errors.append(status.invalid("spec.clusterIPs", [asked], why))
        elif asked in taken:
            why = f"failed to allocate IP {asked}: provided IP is already allocated"
            errors.append(status.invalid("spec.clusterIPs", [asked], why))

    def _free_address(self, taken: set[str | None]) -> str:
        size = self._range.num_addresses
        low = min(_STATIC_BAND * 3 if size > 1024 else size // 4, size - 2)
        for _ in range(64):
            candidate = str(self._range[self._random.randrange(max(low, 2), size - 1)])
            if candidate not in taken:
                return candidate
        raise status.StatusError(500, "InternalError", "failed to allocate a serviceIP: range is full")

    def _ports(self, spec: Obj, before: Obj, others: list[Obj], errors: list[FieldError]) -> None:
        wants = (
            spec.get("type") in ("NodePort", "LoadBalancer") and spec.get("allocateLoadBalancerNodePorts") is not False
        )
        if spec.get("type") not in ("NodePort", "LoadBalancer"):
            return
        taken = {
            (port.get("protocol", "TCP"), port["nodePort"])
            for each in others
            for port in (each.get("spec") or {}).get("ports") or []
            if port.get("nodePort")
        }
        mine: dict[int, str] = {}
        kept = {
            (port.get("name"), port["port"], port.get("protocol", "TCP")): port.get("nodePort")
            for port in before.get("ports") or []
        }
        fresh = []
        for at, port in enumerate(spec.get("ports") or []):
            identity = (port.get("name"), port["port"], port.get("protocol", "TCP"))
            number = port.get("nodePort") or kept.get(identity)
            if not number:
                fresh.append(port)
                continue
            field, protocol = f"spec.ports[{at}].nodePort", port.get("protocol", "TCP")
            if number not in NODE_PORTS:
                valid = f"{NODE_PORTS[0]}-{NODE_PORTS[-1]}"
                why = f"provided port is not in the valid range. The range of valid ports is {valid}"
                errors.append(status.invalid(field, number, why))
            elif (protocol, number) in taken:
                errors.append(status.invalid(field, number, "provided port is already allocated"))
            port["nodePort"] = number
            taken.add((protocol, number))
            mine[port["port"]] = protocol
        used = {number for _, number in taken}
        for port in fresh if wants else ():
            port["nodePort"] = self._free_port(used)
            used.add(port["nodePort"])

    def _free_port(self, used: set[int]) -> int:
        for _ in range(64):
            candidate = self._random.randrange(NODE_PORTS[0] + _STATIC_BAND, NODE_PORTS[-1] + 1)
            if candidate not in used:
                return candidate
        for candidate in NODE_PORTS:
            if candidate not in used:
                return candidate
        raise status.StatusError(500, "InternalError", "failed to allocate a nodePort: range is full")
