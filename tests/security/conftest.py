"""Worlds in which nothing that crdbmesh does goes unseen.

`Ground` runs the real command line in folders of its own, under a witness (`witness/sitecustomize.py`) and with its
processes' arguments and environments looked at while they run. `Recorder` stands between it and Azure Resource Manager
and keeps every request.
"""

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
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from tests.doors import Doors, simulated

from crdbmesh_simulator.tls import CertificateAuthority

WITNESS = Path(__file__).parent / "witness"
REGIONS = ("eastus", "westus")
NETWORK_API, COMPUTE_API = "2025-05-01", "2025-04-01"
PRIVATE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)


@dataclass
class Run:
    """A command line that has run."""

    arguments: list[str]
    code: int
    stdout: str
    stderr: str
    processes: set[str]
    acts: list[tuple[str, str]]

    def did(self, kind: str) -> list[str]:
        """What the witness saw of a kind: `written`, `folder`, `run`, `exposed`."""
        return [what for seen, what in self.acts if seen == kind]

    def document(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        loaded: dict[str, Any] = json.loads(self.stdout)
        return loaded


class Request:
    """A request that went to Azure."""

    def __init__(self, method: str, path: str, body: bytes) -> None:
        self.method, self.path, self.body = method, path, body

    def __repr__(self) -> str:
        return f"{self.method} {self.path}"


class Recorder:
    """An HTTPS proxy in front of one server that keeps what is asked, and what was open at each moment."""

    def __init__(self, upstream: str, ca_file: Path, folder: Path) -> None:
        self.requests: list[Request] = []
        self._upstream = urlsplit(upstream)
        self._trust = ssl.create_default_context(cafile=str(ca_file))
        authority = CertificateAuthority.create("recorder")
        self.ca_pem = authority.ca_pem
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.socket = authority.server_context(["127.0.0.1"]).wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                recorder.requests.append(Request(self.command, self.path, body))
                status, headers, content = recorder.forward(self.command, self.path, body, dict(self.headers))
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                self.wfile.flush()

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = _answer  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def forward(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPSConnection(self._upstream.netloc, context=self._trust, timeout=60)
        try:
            connection.request(method, path, body or None, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


@dataclass
class Ground:
    """Where command lines run: a world, and folders of their own.

    Attributes:
        coordinates: of the world.
        cloud_file: what CRDBMESH_CLOUD names.
        planted_then: the secrets that there were before the mesh was removed.
    """

    coordinates: dict[str, Any]
    folder: Path
    cloud_file: Path
    recorder: Recorder | None = None
    runs: list[Run] = field(default_factory=list)
    planted_then: dict[str, str] = field(default_factory=dict)

    @property
    def homes(self) -> Path:
        return self.folder / "homes" / "deeper"

    @property
    def home(self) -> Path:
        return self.homes / "crdbmesh"

    def surroundings(self) -> list[Path]:
        """Everywhere a run could leave something by accident."""
        return [self.folder / name for name in ("tmp", "user", "cwd")]

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "crdbmesh", *arguments]

    def environ(self, log: Path, **more: str) -> dict[str, str]:
        for place in self.surroundings():
            place.mkdir(exist_ok=True)
        kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        return {
            **kept,
            "TMPDIR": str(self.folder / "tmp"),
            "HOME": str(self.folder / "user"),
            "CRDBMESH_CLOUD": str(self.cloud_file),
            "CRDBMESH_HOME": str(self.homes),
            "PYTHONPATH": str(WITNESS),
            "PYTHONDONTWRITEBYTECODE": "1",
            "WITNESS_FOLDER": str(self.folder / "homes"),
            "WITNESS_LOG": str(log),
            **more,
        }

    def run(
        self,
        *arguments: str,
        during: Callable[[], object] | None = None,
        umask: int = 0o022,
        more: Mapping[str, str] | None = None,
    ) -> Run:
        """Run a command line to its end.

        Args:
            arguments: after `crdbmesh`.
            during: done over and over while it runs.
            umask: of the process.
            more: environment variables.
        """
        log = self.folder / f"witness-{uuid.uuid4()}"
        process = subprocess.Popen(
            self.command(*arguments),
            env=self.environ(log, **(more or {})),
            cwd=self.folder / "cwd",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            umask=umask,
        )
        seen: set[str] = set()
        done = threading.Event()
        watch = threading.Thread(target=_watch, args=(process.pid, seen, done, during))
        watch.start()
        try:
            stdout, stderr = process.communicate(timeout=90)
        finally:
            process.kill()
            done.set()
            watch.join()
        acts = [tuple(json.loads(line)) for line in log.read_text().splitlines()]
        run = Run(list(arguments), process.returncode, stdout, stderr, seen, acts)
        self.runs.append(run)
        return run

    def run_all(self, commands: Iterable[list[str]], more: Mapping[str, str] | None = None) -> list[Run]:
        """Run several command lines at once."""
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(lambda arguments: self.run(*arguments, more=more), commands))

    def secrets(self) -> dict[str, str]:
        """Every secret of the mesh, by what it is."""
        found = {"ARM token": str(self.coordinates["token"])}
        for path in sorted(self.home.rglob("*")):
            if path.is_file() and "journals" not in path.parts:
                found |= {f"{path.relative_to(self.home)}": path.read_text()} if "tokens" in path.parts else {}
                for number, key in enumerate(PRIVATE.findall(path.read_text())):
                    found[f"{path.relative_to(self.home)}/{number}"] = key
        for path in sorted((self.home / "kubeconfigs").glob("*")):
            user = yaml.safe_load(path.read_text())["users"][0]["user"]
            found[f"{path.name}/client-key"] = base64.b64decode(user["client-key-data"]).decode()
        return found

    def planted(self, regions: Sequence[str] = REGIONS) -> dict[str, str]:
        """Every secret there is: of the folder, of the clusters, and what machines are given at birth."""
        found = self.secrets()
        for region in regions:
            for secret in self.kube(region, f"/api/v1/namespaces/{region}/secrets")["items"]:
                for name, data in secret["data"].items():
                    if name.endswith(".key"):
                        found[f"{region}/{name}"] = base64.b64decode(data).decode()
        for request in self.recorder.requests if self.recorder else []:
            if request.method == "PUT" and "/virtualMachines/" in request.path:
                profile = json.loads(request.body)["properties"]["osProfile"]
                found[f"custom data of {profile['computerName']}"] = profile["customData"]
        return found

    def leaks(self, texts: Mapping[str, str], secrets: Mapping[str, str] | None = None) -> list[str]:
        """Which secret is in which of the texts, by their names."""
        return leaks(self.planted() if secrets is None else secrets, texts)

    def around(self, run: Run) -> dict[str, str]:
        """Everything that a run has shown anywhere on this side."""
        everywhere = {"stdout": run.stdout, "stderr": run.stderr}
        everywhere |= {f"process {number}": text for number, text in enumerate(sorted(run.processes))}
        everywhere |= files_below(self.surroundings())
        return everywhere | files_below([self.home / "journals"])

    @property
    def doors(self) -> Doors:
        return Doors(self.coordinates, self.home)

    def arm(self, path: str) -> Any:
        """A raw GET of ARM; `path` is below the subscription."""
        return _found(self.doors.arm("GET", path))

    def commands(self) -> list[dict[str, Any]]:
        """What the process lists of the machines and containers have shown."""
        found: list[dict[str, Any]] = _found(self.doors.ask("GET", f"{self.coordinates['report_url']}commands"))
        return found

    def put(self, path: str, body: Any) -> None:
        """A raw PUT to ARM."""
        status, answer = self.doors.arm("PUT", path, body)
        assert status in {200, 201, 202}, answer

    def machine_addresses(self) -> dict[str, str]:
        """Public addresses by machine, such as `eastus-1`."""
        found = self.arm("/providers/Microsoft.Network/publicIPAddresses")["value"]
        return {
            one["name"].removeprefix("crdbmesh-").removesuffix("-ip"): one["properties"]["ipAddress"] for one in found
        }

    def kube(self, region: str, path: str) -> Any:
        """A raw GET of a region's Kubernetes API."""
        return _found(self.doors.kube(region, "GET", path))

    def kube_objects(self, region: str) -> Iterator[dict[str, Any]]:
        """Every object of a cluster that can be listed, with its kind."""
        versions = [("/api/v1", self.kube(region, "/api/v1"))]
        for group in self.kube(region, "/apis")["groups"]:
            path = f"/apis/{group['preferredVersion']['groupVersion']}"
            versions.append((path, self.kube(region, path)))
        for path, listed in versions:
            for resource in listed["resources"]:
                if "/" in resource["name"] or "list" not in resource["verbs"]:
                    continue
                for one in self.kube(region, f"{path}/{resource['name']}")["items"]:
                    yield {"apiVersion": listed["groupVersion"], "kind": resource["kind"], **one}


def needles(secrets: Mapping[str, str]) -> dict[str, list[str]]:
    """What to look for: each secret whole, each line of a PEM body, all of these in base64 at any offset."""
    found: dict[str, list[str]] = {}
    for name, text in secrets.items():
        parts = [text.strip(), *(line for line in text.splitlines() if "-----" not in line)]
        for part in list(parts):
            raw = part.encode()
            for offset in range(3):
                inner = raw[-offset % 3 :]
                parts.append(base64.b64encode(inner[: len(inner) // 3 * 3]).decode())
        found[name] = [part for part in dict.fromkeys(parts) if len(part) >= 16]
        assert found[name], name
    return found


def leaks(secrets: Mapping[str, str], texts: Mapping[str, str]) -> list[str]:
    """Which secret is in which of the texts, by their names; never the secret itself."""
    return [
        f"{secret} in {where}"
        for secret, parts in needles(secrets).items()
        for where, text in texts.items()
        if any(part in text for part in parts)
    ]


def files_below(folders: Iterable[Path]) -> dict[str, str]:
    """The text of every file, by its path."""
    return {
        str(path): path.read_bytes().decode("utf-8", "replace")
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }


def _found(answer: tuple[int, Any]) -> Any:
    status, body = answer
    assert status == 200, body
    return body


def _watch(pid: int, seen: set[str], done: threading.Event, during: Callable[[], object] | None) -> None:
    """Note the arguments and the environment of a process and its children, over and over."""
    while not done.is_set():
        for one in _family(pid):
            for name in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    seen.add(Path(f"/proc/{one}/{name}").read_bytes().decode("utf-8", "replace"))
        if during is not None:
            during()
        done.wait(0.05)


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in task.read_text().split()]
    return found


def recorded_cloud(coordinates: Mapping[str, Any], folder: Path) -> tuple[Recorder, Path]:
    """A recorder in front of a world's ARM, and a cloud file that leads through it."""
    recorder = Recorder(coordinates["arm_url"], Path(coordinates["ca_file"]), folder)
    document = json.loads(Path(coordinates["cloud_file"]).read_text())
    (folder / "both-cas.pem").write_text(Path(coordinates["ca_file"]).read_text() + recorder.ca_pem)
    document |= {
        "arm_url": recorder.url,
        "ca_file": str(folder / "both-cas.pem"),
        "scopes": [f"{recorder.url}/.default"],
    }
    cloud_file = folder / "recorded.json"
    cloud_file.touch(0o600)
    cloud_file.write_text(json.dumps(document))
    return recorder, cloud_file


@dataclass
class Mesh:
    """A mesh that is up, and everything that was seen while it was made.

    Attributes:
        rules: every set of security rules that Azure had at any moment that was looked at.
    """

    ground: Ground
    up: Run
    rules: dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Two regions, made under the loosest umask there is, with everything recorded."""
    folder = tmp_path_factory.mktemp("mesh")
    with simulated(folder, scale=120) as coordinates:
        recorder, cloud_file = recorded_cloud(coordinates, folder)
        ground = Ground(coordinates, folder, cloud_file, recorder)
        rules: dict[str, dict[str, Any]] = {}

        def look() -> None:
            time.sleep(0.2)
            for group in ground.arm("/providers/Microsoft.Network/networkSecurityGroups")["value"]:
                for rule in group["properties"]["securityRules"]:
                    rules[json.dumps([group["name"], rule["properties"]], sort_keys=True)] = rule

        up = ground.run(
            "up",
            "--regions",
            ",".join(REGIONS),
            "--machines-per-region",
            "1",
            "--yes",
            "--output",
            "json",
            during=look,
            umask=0,
        )
        assert up.code == 0, up.stderr
        try:
            yield Mesh(ground, up, rules)
        finally:
            recorder.close()


@pytest.fixture(scope="session")
def grounds() -> Iterator[Callable[[dict[str, Any], Path], Ground]]:
    """Makes grounds in worlds that tests have made."""
    made: list[Ground] = []

    def make(coordinates: dict[str, Any], folder: Path) -> Ground:
        recorder, cloud_file = recorded_cloud(coordinates, folder)
        made.append(Ground(coordinates, folder, cloud_file, recorder))
        return made[-1]

    yield make
    for ground in made:
        assert ground.recorder is not None
        ground.recorder.close()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever looks at the one mesh does so in the process that made it.

    First of all hooks: pytest-xdist reads the groups in the same hook.
    """
    for item in items:
        if "mesh" in getattr(item, "fixturenames", ()) and item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.xdist_group("the mesh"))
