"""Whatever is typed, set or found in a file: no traceback, a documented exit code, JSON where JSON was asked for.

Azure is a server on this computer that says no to everything, so nothing goes on for long.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.environment import find_cloud
from crdbmesh.clients.ssh import connect as ssh_connect
from crdbmesh.errors import CrdbmeshError
from crdbmesh.local import kubeconfig
from crdbmesh.local.folder import LocalFolder
from crdbmesh.run.world import World
from crdbmesh.spec import load as config
from crdbmesh.terminal import app as cli

CODES = {0, 1, 2, 3, 10, 130}
COMMANDS = ["up", "plan", "doctor", "status", "report", "down", "kubeconfig"]
SPEC = "name: kept\nregions: [eastus, westus]\nallow_from: [127.0.0.1/32]\nssh: {port: 2222}\n"
TOKEN = "planted-token-of-the-cloud-file"
_REPORT = "kept.html"
"""What `report` writes where it is called."""
FOLDERS = ("homes", "tmp", "user", "cwd")

few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
some = settings(few, max_examples=40)

words = st.sampled_from(
    ["eastus", "eastus,westus", "a", "A B", "-1", "0", "3", "*", "10.0.0.0/8", "0.0.0.0/0", "json", "", ",", "kept",
     "Standard_D4s_v5", "/", "..", "../..", "~", "%s", "[red]", "[/]", "\\", "'", "é", "\u202e", "1e9", "99999999999"]
)  # fmt: skip
text = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12)
values = words | text
options = st.sampled_from(
    ["--regions", "--name", "--config", "--allow-from", "--machines-per-region", "--machine-size", "--yes", "-y",
     "--merge", "--switch", "--no-wait", "--forget-kubeconfig", "-h", "--help", "--version", "--", "-", "-x"]
)  # fmt: skip
arguments = st.lists(options | values | st.builds("{}={}".format, options, values), max_size=6)
with_output = st.lists(options | values | st.sampled_from(["-o", "--output", "-ojson", "--output="]), max_size=6)
variables = st.dictionaries(
    st.sampled_from(
        ["CRDBMESH_NAME", "CRDBMESH_REGIONS", "CRDBMESH_CONFIG", "CRDBMESH_ALLOW_FROM", "CRDBMESH_MACHINES_PER_REGION",
         "CRDBMESH_MACHINE_SIZE", "CRDBMESH_YES", "CRDBMESH_NO_WAIT", "CRDBMESH_FORGET_KUBECONFIG", "CRDBMESH_MERGE",
         "CRDBMESH_SWITCH", "CRDBMESH_CLOUD", "CRDBMESH_UNKNOWN", "COLUMNS", "TERM", "NO_COLOR", "FORCE_COLOR",
         "KUBECONFIG", "CRDBMESH_HOME"]
    ),
    # Not empty: without a cloud file it would be Azure itself.
    values.map(lambda value: value.replace("/", "").replace(".", "") or "x"),
    max_size=4,
)  # fmt: skip
documents = st.one_of(
    st.binary(max_size=60),
    text.map(str.encode),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | values,
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "regions", "machines", "ssh", "port", "cockroach", "network", "base", "tags", "group",
                 "allow_from", "arm_url", "token", "ca_file", "scopes", "ssh_port", "clusters", "users", "contexts",
                 "cluster", "user", "context", "server", "current-context", "client-key-data", "patience"]
            )
            | values,
            inner,
            max_size=5,
        ),
        max_leaves=12,
    ).map(lambda value: yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogateescape")),
)  # fmt: skip


class Ran:
    """How a command line ended."""

    def __init__(self, code: Any, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr


class Ground:
    """Folders in which command lines run in this process, and a look at what they left."""

    def __init__(self, folder: Path, cloud_file: Path) -> None:
        self.folder, self.cloud_file = folder, cloud_file
        self.kept = LocalFolder(folder / "homes" / "kept")

    def restore(self, **files: bytes) -> None:
        """Nothing is anywhere but the spec of one mesh, and files in its folder."""
        for name in FOLDERS:
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir()
        for name, content in {"mesh.yaml": SPEC.encode(), **files}.items():
            self.kept.write(name, "")
            (self.kept.path / name).write_bytes(content)

    def run(self, *arguments: str, **more: str) -> Ran:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "user"),
            "TMPDIR": str(self.folder / "tmp"),
            "CRDBMESH_CLOUD": str(self.cloud_file),
            "CRDBMESH_HOME": str(self.folder / "homes"),
            **more,
        }
        stdout, stderr = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        with (
            within(environ, self.folder / "cwd"),
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
            pytest.raises(SystemExit) as ended,
        ):
            cli.main(arguments)
        texts = [stream.buffer.getvalue().decode() for stream in (stdout, stderr)]
        return Ran(ended.value.code, *texts)

    def left_elsewhere(self) -> list[str]:
        """What is in the folders that are not the mesh's."""
        return [str(path) for name in FOLDERS[1:] for path in (self.folder / name).rglob("*")]


@contextlib.contextmanager
def within(environ: Mapping[str, str], folder: Path) -> Iterator[None]:
    """This process with another environment, in another folder."""
    before, at, scratch = dict(os.environ), Path.cwd(), tempfile.tempdir
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    tempfile.tempdir = environ["TMPDIR"]
    try:
        yield
    finally:
        tempfile.tempdir = scratch
        os.chdir(at)
        os.environ.clear()
        os.environ.update(before)


class Refusing(BaseHTTPRequestHandler):
    """Azure that knows nobody."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps({"error": {"code": "AuthorizationFailed", "message": "No."}}).encode()
        self.send_response_only(403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = _answer  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def cloud_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("azure")
    authority = trustme.CA()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    url = f"https://127.0.0.1:{server.server_address[1]}"
    authority.cert_pem.write_to_path(folder / "ca.pem")
    document = {"arm_url": url, "ca_file": "ca.pem", "token": TOKEN, "address_urls": [url], "ssh_port": 2222}
    path = folder / "cloud.json"
    path.write_text(json.dumps({**document, "subscription_id": "00000000-0000-4000-8000-000000000001"}))
    yield path
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ground(tmp_path: Path, cloud_file: Path) -> Ground:
    return Ground(tmp_path, cloud_file)


def require_clean(ground: Ground, ran: Ran, *, json_wanted: bool = True, writes: tuple[str, ...] = ()) -> None:
    said = ran.stdout + ran.stderr
    assert ran.code in CODES, said
    assert "Traceback" not in said
    bugs = [path.read_text() for path in (ground.folder / "tmp").glob("crdbmesh-*.txt")]
    assert bugs == [], said
    assert "this is a bug" not in said, said
    assert TOKEN not in said
    if json_wanted and "Usage:" not in ran.stdout and not ran.stdout.startswith("crdbmesh "):
        document = json.loads(ran.stdout)
        assert document["schema"] == 1
    left = [path for path in ground.left_elsewhere() if not any(part in path for part in (*writes, _REPORT))]
    assert left == []


@given(command=st.sampled_from([*COMMANDS, "demo", "nonsense"]), typed=arguments)
@settings(some, max_examples=100)
def test_any_command_line_ends_in_order(command: str, typed: list[str], ground: Ground) -> None:
    ground.restore()
    # `demo` would start a world of its own: an option that it has not is last, or the argument that it takes none of.
    ran = ground.run(
        command, "--output", "json", *typed, *(["--machines-per-region=none"] if command == "demo" else [])
    )
    require_clean(ground, ran, writes=("/user/.kube",))


@given(command=st.sampled_from([*COMMANDS, "nonsense", None]), typed=with_output)
@example(command=None, typed=[])
@some
def test_any_command_line_ends_in_order_for_people_too(command: str | None, typed: list[str], ground: Ground) -> None:
    ground.restore()
    ran = ground.run(*([command] if command else []), *typed)
    require_clean(ground, ran, json_wanted=False, writes=("/user/.kube",))


@given(command=st.sampled_from(COMMANDS), environ=variables)
@settings(some, max_examples=25)
def test_any_variables_end_in_order(command: str, environ: dict[str, str], ground: Ground) -> None:
    ground.restore()
    ran = ground.run(command, **{**environ, "CRDBMESH_OUTPUT": "json"})
    # Where CRDBMESH_HOME and KUBECONFIG say that a folder is to be, it is.
    named = tuple(f"/cwd/{environ[name]}" for name in ("CRDBMESH_HOME", "KUBECONFIG") if environ.get(name))
    require_clean(ground, ran, writes=("/user/.kube", "/user/.local", *named))


@given(content=documents, command=st.sampled_from(["up", "plan", "doctor"]))
@some
def test_any_config_file_ends_in_order(content: bytes, command: str, ground: Ground) -> None:
    ground.restore()
    path = ground.folder / "spec.yaml"
    path.write_bytes(content)
    yes = ["--yes"] if command == "up" else []
    require_clean(ground, ground.run(command, "--config", str(path), *yes, "--output", "json"))


@given(content=documents, command=st.sampled_from(COMMANDS))
@some
def test_any_cloud_file_ends_in_order(content: bytes, command: str, ground: Ground) -> None:
    ground.restore()
    path = ground.folder / "cloud.yaml"
    path.write_bytes(content)
    yes = ["--yes"] if command in ("up", "down") else []
    require_clean(ground, ground.run(command, *yes, "--output", "json", CRDBMESH_CLOUD=str(path)))


@given(content=documents, command=st.sampled_from(COMMANDS))
@some
def test_any_kept_spec_ends_in_order(content: bytes, command: str, ground: Ground) -> None:
    ground.restore(**{"mesh.yaml": content})
    yes = ["--yes"] if command in ("up", "down") else []
    require_clean(ground, ground.run(command, *yes, "--output", "json"))


FILES = ["login.key", "ca/cilium.pem", "ca/cockroach.pem", "tokens/eastus", "host-keys/eastus-1.key", "cluster-id",
         "kubeconfigs/eastus.yaml", "kubeconfigs/westus.yaml", "lock", "begun/eastus"]  # fmt: skip


@given(name=st.sampled_from(FILES), content=documents, command=st.sampled_from(COMMANDS))
@few
def test_any_file_in_the_folder_ends_in_order(name: str, content: bytes, command: str, ground: Ground) -> None:
    ground.restore(**{name: content})
    yes = ["--yes"] if command in ("up", "down") else []
    require_clean(ground, ground.run(command, *yes, "--output", "json"))


@given(content=documents)
@example(content="token: Ä".encode())
@some
def test_any_kubeconfig_is_read_or_refused_without_being_quoted(content: bytes, ground: Ground) -> None:
    ground.restore(**{f"kubeconfigs/{region}.yaml": content for region in ("eastus", "westus")})
    for more in ([], ["--merge"]):
        ran = ground.run("kubeconfig", *more, "--output", "json")
        require_clean(ground, ran, writes=("/user/.kube",))


READERS: dict[str, Callable[[str], object]] = {
    "kubeconfig": lambda text: kubeconfig.rewrite(kubeconfig.parse(text), server="127.0.0.1", context="c"),
    "login key": ssh_connect.read_login_key,
    "host key": ssh_connect.read_host_key,
    "spec": lambda text: config.mesh({"regions": [text], "name": text}),
}


@given(
    reader=st.sampled_from(sorted(READERS)), given_text=text | documents.map(lambda raw: raw.decode("utf-8", "replace"))
)
@some
def test_any_text_is_read_or_refused_on_purpose(reader: str, given_text: str) -> None:
    with contextlib.suppress(CrdbmeshError):
        READERS[reader](given_text)


@given(name=st.sampled_from(FILES[:5]), content=documents)
@few
def test_any_key_file_is_read_or_refused_on_purpose(name: str, content: bytes, ground: Ground) -> None:
    ground.restore(**{name: content})
    mesh = config.mesh(yaml.safe_load(SPEC))
    with Session(find_cloud({"CRDBMESH_CLOUD": str(ground.cloud_file)})) as session:
        world = World(mesh, session, ground.kept)
        machine = next(iter(mesh.all_machines()))
        readers: list[Callable[[], object]] = [
            world.login_key,
            world.cilium_ca,
            world.cockroach_ca,
            lambda: world.token("eastus"),
            lambda: world.host_key(machine),
        ]
        for read in readers:
            with contextlib.suppress(CrdbmeshError):
                read()
