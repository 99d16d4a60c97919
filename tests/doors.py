"""A simulated world seen from outside, by raw requests: none of the product's clients, none of its knowledge."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests import forks

API = {
    "microsoft.authorization": "2020-05-01",
    "microsoft.resources": "2025-04-01",
    "microsoft.network": "2025-05-01",
    "microsoft.compute": "2025-04-01",
    "microsoft.compute/disks": "2025-01-02",
}
_TIMEOUT_S = 30
_GONE_S = 60


def rule(access: str, port: str, *, priority: int) -> dict[str, Any]:
    """The properties of a firewall rule on what comes in from anywhere to a port, `*` for all of them."""
    return {
        "priority": priority,
        "direction": "Inbound",
        "access": access,
        "protocol": "*",
        "sourceAddressPrefix": "*",
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": port,
    }


@contextmanager
def simulated(folder: Path, *, scale: float, seed: int = 7) -> Iterator[dict[str, Any]]:
    """A simulated world in a process of its own until the block ends; its coordinates."""
    options = ["--attached", "--scale", str(scale), "--seed", str(seed), "--folder", str(folder)]
    command = [sys.executable, "-m", "crdbmesh_simulator", *options]
    with (
        (folder / "simulator.log").open("w") as log,
        forks.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "simulator.log").read_text()
            yield json.loads(line)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


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
        status, answer = self.ask("GET", self.coordinates["report_url"])
        assert status == 200, answer
        return dict(answer)

    def misbehave(self, faults: dict[str, float] | str) -> None:
        """Set how often each fault happens, or a preset by its name; none when empty."""
        body = {"preset": faults} if isinstance(faults, str) else {"rates": faults}
        status, answer = self.ask("PUT", f"{self.coordinates['report_url']}faults", body)
        assert status == 200, answer

    def answer(self, *recorded: dict[str, Any]) -> None:
        """Let Azure answer as it was recorded elsewhere: `method`, `path` (a pattern), `status`, `body`, `times`."""
        status, answer = self.ask("PUT", f"{self.coordinates['report_url']}answers", list(recorded))
        assert status == 204, answer

    def arm(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Ask Azure Resource Manager for something below the subscription, in the version of its provider."""
        version = API["microsoft.resources"]
        if not re.fullmatch(r"/providers/[^/]+(/register)?", path):
            provider = path.partition("?")[0].rpartition("/providers/")[2].lower().split("/")
            version = API.get("/".join(provider[:2])) or API.get(provider[0]) or version
        prefix = f"/subscriptions/{self.coordinates['subscription_id']}"
        url = f"{self.coordinates['arm_url']}{prefix}{path.removeprefix(prefix)}"
        return self.ask(method, f"{url}{'&' if '?' in path else '?'}api-version={version}", body)

    def delete(self, path: str) -> tuple[int, Any]:
        """Delete an Azure resource, and wait until it is gone; what Azure refuses to delete stays. Azure's answer."""
        status, answer = self.arm("DELETE", path)
        deadline = time.monotonic() + _GONE_S
        while status in {200, 202, 204} and self.arm("GET", path)[0] == 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        return status, answer

    def put(self, path: str, body: Any) -> str:
        """Create or replace an Azure resource, and wait until it is made; its id.

        Raises:
            AssertionError: Azure refuses it, or it is not made within a minute.
        """
        status, answer = self.arm("PUT", path, body)
        assert status in {200, 201, 202}, answer
        deadline = time.monotonic() + _GONE_S
        while (seen := self.arm("GET", path))[1]["properties"].get("provisioningState", "Succeeded") != "Succeeded":
            assert time.monotonic() < deadline, seen
            time.sleep(0.02)
        return str(seen[1]["id"])

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
        kind = "application/apply-patch+yaml" if "fieldManager=" in path else kind
        return send(method, f"{cluster['server']}{path}", body, context=context, content_type=kind)

    def ask(self, method: str, url: str, body: Any = None) -> tuple[int, Any]:
        """Ask an HTTPS door with the world's token."""
        context = ssl.create_default_context(cafile=self.coordinates["ca_file"])
        return send(method, url, body, context=context, token=self.coordinates["token"])


def send(
    method: str,
    url: str,
    body: Any = None,
    *,
    context: ssl.SSLContext,
    token: str | None = None,
    content_type: str = "application/json",
) -> tuple[int, Any]:
    """Send one HTTPS request; its status and its answer, parsed where it is JSON. A connection that broke is 0.

    Args:
        method: of HTTP.
        url: whole.
        body: sent as JSON; nothing when None.
        context: whom to trust, and as whom.
        token: sent as a bearer token.
        content_type: of the body.
    """
    headers = {"Content-Type": content_type} | ({"Authorization": f"Bearer {token}"} if token else {})
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
