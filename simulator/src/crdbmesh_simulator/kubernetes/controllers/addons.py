"""Installs k3s's own objects: namespaces, the API's own Service, packaged components.

From https://docs.k3s.io/installation/packaged-components and k3s's `pkg/deploy`: packaged manifests are rewritten and
applied at each start of a server, so edits of them do not last. Manifests of users are not part of this world.
"""

from __future__ import annotations

import contextlib

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.objects import fill
from crdbmesh_simulator.kubernetes.controllers.site import Controller, Site

MANIFESTS = "/var/lib/rancher/k3s/server/manifests/"
_PACKAGED = ("coredns", "local-storage", "metrics-server", "runtimes")
_START_S = 4.0
_RESCAN_S = 15.0
_MANAGER = "deploy@k3s"


class Addons(Controller):
    """Installs k3s's own objects and keeps CoreDNS's list of nodes."""

    watches = ("Node",)

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._running: dict[str, float] = {}
        self._seen: set[str] = set()

    def run(self, now: float) -> float | None:
        """Deploy for each server that has (re)started; then look after files and node names."""
        self._bootstrap()
        for member in self.site.cluster.servers():
            if not self.site.alive(member):
                self._running.pop(member.node_name, None)
                self._seen.discard(member.node_name)
                continue
            since = self._running.setdefault(member.node_name, max(now, member.joined_at))
            if now < since + _START_S:
                continue
            if member.node_name not in self._seen:
                self._seen.add(member.node_name)
                self._packaged()
        self._kubernetes_endpoints()
        self._node_hosts()
        return now + (_RESCAN_S if self._seen else 1.0)

    def _bootstrap(self) -> None:
        if self.api.find("Namespace", None, "kube-system") is not None:
            return
        for obj in fill("bootstrap", {"address": self.site.service_ip(1)}):
            self._apply(obj)

    def _packaged(self) -> None:
        """(Re)write the packaged manifests, as each start of a server does."""
        config = self.site.cluster.config
        blanks = {
            "domain": str(config.get("cluster-domain", "cluster.local")),
            "address": str(config.get("cluster-dns", "10.43.0.10")).split(",")[0],
            "node_hosts": self._hosts_text(),
        }
        if not self.site.disabled("traefik"):
            self.site.world.not_known("controllers", "k3s's Traefik, which its configuration does not disable")
        for name in _PACKAGED:
            if self.site.disabled(name):
                continue
            members = fill(name, blanks)
            for obj in members:
                self._apply(obj)
            self._addon(name, f"{MANIFESTS}{name}.yaml", objects.digest(members, 32))

    def _addon(self, name: str, source: str, checksum: str) -> None:
        wanted: Obj = {
            "apiVersion": "k3s.cattle.io/v1",
            "kind": "Addon",
            "metadata": {"name": name, "namespace": "kube-system"},
            "spec": {"source": source, "checksum": checksum},
        }
        existing = self.api.find("Addon", "kube-system", name)
        addon = self.api.bring(existing, wanted)
        if existing is None:
            self.api.event(addon, "Normal", "AppliedManifest", f'Applied manifest at "{source}"', component=_MANAGER)

    def _apply(self, obj: Obj) -> None:
        """Create the object, or bring what it sets back to what it says."""
        existing = self.api.find(obj["kind"], objects.namespace(obj) or None, objects.name(obj))
        if existing is None:
            self.api.create(obj, manager=_MANAGER)
            return
        changed = _overlay(existing, obj)
        if changed != existing:
            self.api.replace(changed)

    def _hosts_text(self) -> str:
        pairs = []
        for node in self.api.list("Node"):
            ip = next(
                (a["address"] for a in objects.status(node).get("addresses") or [] if a["type"] == "InternalIP"), None
            )
            if ip:
                pairs.append((ip, objects.name(node)))
        return "".join(f"{ip} {name}\n" for ip, name in sorted(pairs))

    def _node_hosts(self) -> None:
        config = self.api.find("ConfigMap", "kube-system", "coredns")
        if config is None or self.site.disabled("coredns"):
            return
        text = self._hosts_text()
        if (config.get("data") or {}).get("NodeHosts") != text:
            changed = self.api.copy(config)
            changed.setdefault("data", {})["NodeHosts"] = text
            self.api.replace(changed)

    def _kubernetes_endpoints(self) -> None:
        addresses = sorted({self.site.private_ip(m) for m in self.site.cluster.servers() if self.site.alive(m)})
        endpoints = [{"addresses": [ip], "conditions": {"ready": True}} for ip in addresses]
        for obj in fill("kubernetes", {"addresses": [{"ip": ip} for ip in addresses], "endpoints": endpoints}):
            self.api.bring(self.api.find(obj["kind"], "default", "kubernetes"), obj)


def _overlay(existing: Obj, wanted: Obj) -> Obj:
    """`existing` with every field of `wanted` put in; maps are merged, except `data`, whose keys are all set anew."""
    merged = dict(existing)
    for key, value in wanted.items():
        if key in ("apiVersion", "kind", "status"):
            continue
        have = merged.get(key)
        if isinstance(value, dict) and isinstance(have, dict) and key != "data":
            merged[key] = _overlay(have, value)
        elif isinstance(value, list) and isinstance(have, list) and _named(value) and _named(have):
            known = {entry["name"]: entry for entry in have}
            with contextlib.suppress(KeyError):
                merged[key] = [_overlay(known.get(entry["name"], {}), entry) for entry in value]
        else:
            merged[key] = value
    return merged


def _named(entries: list[object]) -> bool:
    return bool(entries) and all(isinstance(entry, dict) and "name" in entry for entry in entries)
