"""A simulated world seen from outside, by raw requests: none of the product's clients, none of its knowledge."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

API = {
    "microsoft.resources": "2025-04-01",
    "microsoft.network": "2025-05-01",
    "microsoft.compute": "2025-04-01",
    "microsoft.compute/disks": "2025-01-02",
}
_TIMEOUT_S = 30
_GONE_S = 60


@dataclass(frozen=True, slots=True)
class Doors:
    """The doors of one world.

    Attributes:
        coordinates: as `python -m crdbmesh_simulator` prints them.
        home: the mesh's local folder, for the kubeconfigs in it.
    """

    coordinates: dict[str, Any]
    home: Path

    def report(self) -> dict[str, Any]:
        """What was asked of the world, and what there is."""
        return dict(self._cloud("GET", self.coordinates["report_url"])[1])

    def misbehave(self, rates: dict[str, float]) -> None:
        """Set how often each fault happens; none when empty."""
        status, answer = self._cloud("PUT", f"{self.coordinates['report_url']}faults", {"rates": rates})
        if status != 200:
            raise RuntimeError(f"faults: {status} {answer}")

    def arm(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Ask Azure Resource Manager for something below the subscription, in the version of its provider."""
        provider = path.rpartition("/providers/")[2].split("/")
        version = API.get("/".join(provider[:2]).lower()) or API.get(provider[0].lower()) or API["microsoft.resources"]
        prefix = f"/subscriptions/{self.coordinates['subscription_id']}"
        url = f"{self.coordinates['arm_url']}{prefix}{path.removeprefix(prefix)}"
        return self._cloud(method, f"{url}{'&' if '?' in path else '?'}api-version={version}", body)

    def delete(self, path: str) -> None:
        """Delete an Azure resource, and wait until it is gone; what Azure refuses to delete stays."""
        status, _ = self.arm("DELETE", path)
        deadline = time.monotonic() + _GONE_S
        while status in {200, 202, 204} and self.arm("GET", path)[0] == 200 and time.monotonic() < deadline:
            time.sleep(0.05)

    def kube(self, region: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Ask a region's Kubernetes API, with the kubeconfig that is kept."""
        kubeconfig = yaml.safe_load((self.home / "kubeconfigs" / f"{region}.yaml").read_text())
        cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
        context = ssl.create_default_context(cadata=_decoded(cluster["certificate-authority-data"]))
        with tempfile.NamedTemporaryFile("w") as pair:
            os.fchmod(pair.fileno(), 0o600)
            pair.write(_decoded(user["client-certificate-data"]) + _decoded(user["client-key-data"]))
            pair.flush()
            context.load_cert_chain(pair.name)
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        return _send(method, f"{cluster['server']}{path}", body, {"Content-Type": kind}, context)

    def _cloud(self, method: str, url: str, body: Any = None) -> tuple[int, Any]:
        context = ssl.create_default_context(cafile=self.coordinates["ca_file"])
        headers = {"Authorization": f"Bearer {self.coordinates['token']}", "Content-Type": "application/json"}
        return _send(method, url, body, headers, context)


def _send(method: str, url: str, body: Any, headers: dict[str, str], context: ssl.SSLContext) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=context) as response:
            raw = response.read()
            return response.status, json.loads(raw) if raw else None
    except urllib.error.HTTPError as error:
        with error, contextlib.suppress(http.client.HTTPException):
            raw = error.read()
            return error.code, json.loads(raw) if raw.startswith(b"{") else raw.decode(errors="replace")
        return error.code, "cut off"
    except (OSError, ValueError, http.client.HTTPException) as error:
        # A world that misbehaves resets connections; who does damage shrugs.
        return 0, str(error)


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()
