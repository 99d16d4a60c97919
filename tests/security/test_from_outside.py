"""What comes from Azure, machines and files is not trusted: it writes no terminal, hangs nothing, runs nothing."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import json
import re
import secrets
import socket
import ssl
import stat
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from tests.doors import simulated

from crdbmesh import redaction
from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.cloud import Cloud, GivenToken
from crdbmesh.clients.kube.client import Kube
from crdbmesh.commands.cost import Cost
from crdbmesh.commands.plan import PlanResult
from crdbmesh.engine.step import Event, Gap, Outcome, Result
from crdbmesh.errors import CloudError, CommandError, ConfigError, CrdbmeshError, Finding, HeldError
from crdbmesh.local import kubeconfig, pki
from crdbmesh.local.birth import Aim
from crdbmesh.observe.belongings import Belongings
from crdbmesh.observe.health import LAYERS, Health, Layer, Level, RegionHealth
from crdbmesh.spec import documents, load
from crdbmesh.steps import catalog
from crdbmesh.terminal import console, doctor_view, plan_view, results
from crdbmesh.terminal.progress import Progress

FORGED = "x\x1b[2J\x1b]52;c;ZXZpbA==\x07\x1b]8;;http://evil\x1b\\\x9b31m\x7f\u202egnol\u2066\u2028\nhealthy\r✓ 9 steps"
ALLOWED_S = 10.0
ALLOWED_BYTES = 50 * 2**20

Attack = Callable[[ssl.SSLSocket, bytes], None]
"""What is done to a client, given its request."""


def show_everything() -> None:
    """All that is printed, each with something from outside in it, by every door."""
    screen = console.make(stderr=False)
    finding = Finding(FORGED, FORGED, FORGED, FORGED)
    console.say(screen, FORGED)
    console.announce(screen, FORGED)
    for error in (CrdbmeshError(FORGED, hint=FORGED), HeldError(FORGED), CloudError(FORGED, code=FORGED)):
        console.show_error(screen, error)
    console.show_error(screen, CommandError(FORGED, host=FORGED, status=1, tail=FORGED))
    console.show_error(screen, ConfigError([finding]))
    one = ({"id": FORGED, "type": FORGED},)
    console.show_belongings(screen, FORGED, Belongings({FORGED: one}, one, (FORGED,), one, (FORGED,)))
    failed = Result(FORGED, Outcome.FAILED, FORGED, hint=FORGED)
    blocked = Result(f"{FORGED}2", Outcome.BLOCKED, FORGED, culprit=FORGED)
    results.show_results(screen, {FORGED: failed, f"{FORGED}2": blocked}, seconds=1, journal=FORGED, again=FORGED)
    gaps: dict[str, Gap | Result] = {"eastus/network": Gap(FORGED, restarts=(FORGED,)), "eastus/nodes": failed}
    planned = PlanResult(
        load.mesh({"regions": ["eastus"]}), Aim(cloud=FORGED, arm_url="", subscription_id=FORGED), gaps
    )
    plan_view.show_plan(screen, planned, Cost(0, 0, 0, (FORGED,), FORGED))
    layers = tuple(Layer(name, Level.DEGRADED, 0, 1, FORGED) for name in LAYERS)
    console.show_status(screen, Health(FORGED, (RegionHealth(FORGED, layers),), (FORGED, f"{FORGED}2")))
    doctor_view.warn(screen)(finding)
    with Progress(screen, ["eastus/network"], catalog.place, catalog.STAGES, live=False) as shows:
        for kind in ("applying", "waiting", "warning"):
            shows(Event("eastus/network", kind, FORGED))
        shows(Event("eastus/network", "ended", FORGED, failed))
    with Progress(screen, ["eastus/network"], catalog.place, catalog.STAGES, live=True) as shows:
        shows(Event("eastus/network", "waiting", FORGED))
        screen.print(shows.draw())


def test_no_control_character_from_outside_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_everything()
    shown = capsys.readouterr().out
    ours = shown.replace("\x1b[?25l", "").replace("\x1b[?25h", "").replace("\x1b[2K", "").replace("\x1b[1A", "")
    assert {character for character in ours.replace("\r", "") if ord(character) in range(32)} <= {"\n", "\t"}
    assert not {*map(chr, range(0x7F, 0xA0)), *"\u202e\u2066\u2028\u061c"} & set(ours)
    assert "^[[2J" in shown
    assert "\\u202e" in shown


def test_no_text_from_outside_makes_a_line_that_looks_like_ours(capsys: pytest.CaptureFixture[str]) -> None:
    screen = console.make(stderr=False)
    console.show_error(screen, CrdbmeshError("no\nhealthy\n✓ 9 steps: 9 held"))
    one = ({"id": "VNet a\n  kept, because it is not the mesh's alone: b"},)
    console.show_belongings(screen, "m", Belongings({}, one, ("c\nhealthy",)))
    for line in capsys.readouterr().out.splitlines():
        assert not line.startswith(("healthy", "✓ 9", "  kept, because it is not the mesh's alone: b"))


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(BOMB, "aliases", id="aliases of aliases"),
        ("a: 1\na: 2\n", "is none"),
        pytest.param("[" * 3000, "too deeply", id="nested lists"),
        pytest.param("{a: " * 100 + "1" + "}" * 100, "too deeply", id="nested mappings"),
        pytest.param("a: " + "x" * 100_000, "too large", id="a long text"),
        pytest.param("- x\n" * 40_000, "too large", id="a long list"),
        ("!!python/object/apply:os.system ['true']", "is none"),
        pytest.param("1" * 9000, "is none", id="a long number"),
    ],
)
def test_a_document_beyond_the_limits_is_refused_at_once(text: str, reason: str) -> None:
    started = time.monotonic()
    with pytest.raises(documents.DocumentError, match=reason) as caught:
        documents.read_yaml(text)
    assert time.monotonic() - started < 20, "it was read, however long that takes"
    assert "xxx" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[" + "[]," * 300_000 + "1]", '{"a": 1, "a": 2}', "[" * 70 + "]" * 70],
    ids=["without an end", "many values", "a key twice", "nested"],
)
def test_a_json_beyond_the_limits_is_refused_at_once(text: str) -> None:
    started = time.monotonic()
    with pytest.raises(documents.DocumentError):
        documents.read_json(text)
    assert time.monotonic() - started < 20, "it was read, however long that takes"


PLANTED: dict[str, tuple[str, dict[str, Any]]] = {
    "users.exec": ("user", {"exec": {"command": "sh"}}),
    "users.tokenFile": ("user", {"tokenFile": "/etc/shadow"}),
    "users.auth-provider": ("user", {"auth-provider": {"name": "oidc"}}),
    "users.client-key": ("user", {"client-key": "/home/alice/.ssh/id"}),
    "users.token": ("user", {"token": "x"}),
    "users.as": ("user", {"as": "admin"}),
    "clusters.proxy-url": ("cluster", {"proxy-url": "http://evil"}),
    "clusters.insecure": ("cluster", {"insecure-skip-tls-verify": True}),
    "clusters.tls-server-name": ("cluster", {"tls-server-name": "evil"}),
    "clusters.certificate-authority": ("cluster", {"certificate-authority": "/etc/hosts"}),
    "clusters.escape": ("cluster", {"certificate-authority-data": "Y2E=\u202e"}),
    "contexts.namespace": ("context", {"namespace": "evil"}),
    "contexts.extensions": ("context", {"extensions": []}),
    "top.extensions": ("", {"extensions": [{"name": "x"}]}),
    "top.preferences": ("", {"preferences": {"colors": True}}),
}


def k3s_yaml() -> dict[str, Any]:
    ca = {"certificate-authority-data": "Y2E=", "server": "https://127.0.0.1:6443"}
    user = {"client-certificate-data": "Y2VydA==", "client-key-data": "a2V5"}
    return {
        "apiVersion": "v1",
        "clusters": [{"name": "default", "cluster": ca}],
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
        "current-context": "default",
        "kind": "Config",
        "preferences": {},
        "users": [{"name": "default", "user": user}],
    }


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_field_of_a_kubeconfig_is_refused_by_its_name(planted: str) -> None:
    part, fields = PLANTED[planted]
    document = k3s_yaml()
    (document[f"{part}s"][0][part] if part else document).update(fields)
    config = kubeconfig.parse(json.dumps(document), outside=True)
    with pytest.raises(ConfigError) as caught:
        kubeconfig.rewrite(config, server="https://203.0.113.1:6443", context="crdb-k3s-eastus")
    (field,) = fields
    assert [finding.value for finding in caught.value.findings] == [f"{part}.{field}" if part else field]


def test_of_a_kubeconfig_three_fields_are_kept_and_no_other_context() -> None:
    kept = kubeconfig.rewrite(k3s_yaml(), server="https://203.0.113.1:6443", context="c")
    authority = {"certificate-authority-data": "Y2E=", "server": "https://203.0.113.1:6443"}
    assert kept["clusters"] == [{"name": "c", "cluster": authority}]
    assert kept["users"] == [{"name": "c", "user": k3s_yaml()["users"][0]["user"]}]
    for field, part in (("clusters", "cluster"), ("contexts", "context"), ("users", "user")):
        document = k3s_yaml()
        document[field].append({"name": "evil", part: {}})
        with pytest.raises(ConfigError, match=field):
            kubeconfig.rewrite(document, server="https://203.0.113.1:6443", context="c")


@contextlib.contextmanager
def hostile(attack: Attack) -> Iterator[dict[str, Any]]:
    """An API server in the hands of an attacker, who has the cluster's CA; a kubeconfig for it."""
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_context)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(peer,), daemon=True).start()

    def answer(peer: socket.socket) -> None:
        with contextlib.suppress(OSError), server_context.wrap_socket(peer, server_side=True) as stream:
            attack(stream, stream.recv(65536))

    threading.Thread(target=serve, daemon=True).start()
    client = authority.issue_cert("admin")
    certificate, key = client.cert_chain_pems[0].bytes(), client.private_key_pem.bytes()

    def encoded(raw: bytes) -> str:
        return base64.b64encode(raw).decode()

    document = k3s_yaml()
    cluster = {"server": f"https://127.0.0.1:{listener.getsockname()[1]}"}
    cluster["certificate-authority-data"] = encoded(authority.cert_pem.bytes())
    document["clusters"][0]["cluster"] = cluster
    document["users"][0]["user"] = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}
    try:
        yield document
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def for_ever(head: bytes, body: bytes, pause_s: float = 0.0) -> Attack:
    """Sends `head` once and `body` for ever."""

    def attack(stream: ssl.SSLSocket, _request: bytes) -> None:
        stream.sendall(head)
        while True:
            stream.sendall(body)
            time.sleep(pause_s)

    return attack


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ATTACKS = {
    "a body without an end": for_ever(
        OK + b"Transfer-Encoding: chunked\r\n\r\n", b"8000\r\n" + b"[" * 0x8000 + b"\r\n"
    ),
    "a body of a tebibyte": for_ever(OK + b"Content-Length: 1099511627776\r\n\r\n", b"x" * 65536),
    "a byte now and then": for_ever(OK + b"Content-Length: 1000\r\n\r\n", b"x", 0.2),
    "headers without an end": for_ever(b"HTTP/1.1 200 OK\r\n", b"X", 0.2),
}


@contextlib.contextmanager
def held(seconds: float) -> Iterator[None]:
    """The block takes hold of the operator for no longer and no more than is allowed."""
    tracemalloc.start()
    started = time.monotonic()
    try:
        yield
        assert time.monotonic() - started < seconds + ALLOWED_S
        assert tracemalloc.get_traced_memory()[1] < ALLOWED_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_api_server_that_sends_for_ever_is_let_go(attack: str) -> None:
    stop = threading.Event()
    stop.set()
    lost = pytest.raises(CrdbmeshError)
    with hostile(ATTACKS[attack]) as config, Kube(config, name="eastus", stop=stop) as kube, held(2), lost:
        kube.proxy_get("here", "pod", 8080, "/", tls=False, timeout_s=2)


def pages_for_ever(stream: ssl.SSLSocket, _request: bytes) -> None:
    """Answers with a page of a list, after which there is always one more."""
    page = json.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": "more"}, "items": [{}] * 9})
    stream.sendall(OK + f"Connection: close\r\nContent-Length: {len(page)}\r\n\r\n{page}".encode())


def test_a_list_of_pages_without_an_end_is_let_go() -> None:
    none, endless = threading.Event(), pytest.raises(CrdbmeshError, match="has no end")
    with hostile(pages_for_ever) as config, Kube(config, name="eastus", stop=none) as kube, held(10), endless:
        kube.list("v1", "Pod", "here")


def test_an_answer_of_azure_without_an_end_is_let_go(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with hostile(ATTACKS["a body without an end"]) as config:
        cluster = config["clusters"][0]["cluster"]
        ca_file = tmp_path / "ca.pem"
        ca_file.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
        url, token = cluster["server"], GivenToken("a token of this test")
        cloud = Cloud("hostile", url, (f"{url}/.default",), token, ca_file=ca_file, subscription_id="s")
        with Session(cloud, stop=stop) as session, held(5), pytest.raises(CrdbmeshError):
            session.find("GET x", lambda: session.resources.resource_groups.get("x"))


def frames_for_ever(body: bytes, pause_s: float) -> Attack:
    """Begins the stream of a command, then sends parts of frames (RFC 6455)."""

    def attack(stream: ssl.SSLSocket, request: bytes) -> None:
        (key,) = re.findall(rb"(?i)sec-websocket-key: (\S+)", request)
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        head += b"Sec-WebSocket-Protocol: v5.channel.k8s.io\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        for_ever(head, body, pause_s)(stream, request)

    return attack


STREAMS = {
    "a frame of a tebibyte": frames_for_ever(b"\x02\x7f" + (2**40).to_bytes(8, "big") + b"x" * 65536, 0),
    "frames without an end": frames_for_ever(b"\x02\x01\x01", 0.1),
    "headers without an end": for_ever(b"HTTP/1.1 101 Switching Protocols\r\n", b"X", 0.2),
}


@pytest.mark.parametrize("attack", STREAMS)
def test_a_command_in_a_pod_that_prints_for_ever_is_let_go(attack: str) -> None:
    lost = pytest.raises(CrdbmeshError)
    with hostile(STREAMS[attack]) as config, Kube(config, name="eastus") as kube, held(2), lost:
        kube.exec("here", "pod", ["true"], timeout_s=2)


def encodings(secret: str) -> dict[str, str]:
    """The ways in which a log may show a secret."""
    raw = secret.encode()
    b64 = base64.b64encode(raw).decode()
    return {
        "whole": secret,
        "first part": secret[:-2],
        "last part": secret[20:],
        "16 characters": secret[11:27],
        "upper case": secret.upper(),
        "over lines": "\n".join(textwrap.wrap(secret, 9)),
        "over lines in JSON": json.dumps("\n".join(textwrap.wrap(secret, 9))),
        "with spaces": " ".join(textwrap.wrap(secret, 4)),
        "hexadecimal": raw.hex(),
        "hexadecimal in upper case": raw.hex().upper(),
        "URL-encoded": "".join(f"%{byte:02X}" for byte in raw),
        "base64": b64,
        "base64 within more": base64.b64encode(b"password=" + raw + b";").decode(),
        "base64 for URLs": base64.urlsafe_b64encode(raw).decode(),
        "base64 over lines": "\n".join(textwrap.wrap(b64, 20)),
        "base64 cut": b64[:-20],
        "base64 URL-encoded": urllib.parse.quote(b64, safe=""),
        "base64 twice": base64.b64encode(base64.b64encode(raw)).decode(),
        "base64 twice over lines": "\n".join(textwrap.wrap(base64.b64encode(b64.encode()).decode(), 30)),
        "reversed": secret[::-1],
        "base64 three times": base64.b64encode(base64.b64encode(base64.b64encode(raw))).decode(),
    }


def test_a_secret_is_hidden_in_18_of_21_encodings() -> None:
    secret = secrets.token_hex(32)
    redaction.learn(secret, whole=True)
    hidden = [name for name, text in encodings(secret).items() if redaction.HIDDEN in redaction.hide(f"it said {text}")]
    assert len(encodings(secret)) == 21
    assert len(hidden) >= 18, hidden


def test_a_message_of_megabytes_costs_no_time_and_is_cut() -> None:
    redaction.learn(secrets.token_hex(32), whole=True)
    started = time.monotonic()
    error = CommandError("x", host="eastus-1", status=1, tail="VmFsdWU0" * 2**20)
    assert time.monotonic() - started < 20, "it was read, however long that takes"
    assert len(str(error)) < 25_000


def test_of_what_is_hidden_no_16_characters_in_a_row_are_left() -> None:
    secret = secrets.token_hex(32)
    redaction.learn(secret, whole=True)
    for cut in range(16, 64):
        left = redaction.hide(f"it said {secret[:cut]}")
        assert not any(secret[at : at + 16] in left for at in range(48)), left


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("kind", ["rsa2048", "ec256"])
def test_a_key_is_hidden_in_every_format_and_its_certificate_is_not(kind: Any, form: Any) -> None:
    pair = pki.make_ca("x", None, now=dt.datetime.now(dt.UTC), key=kind)
    redaction.learn(pair.key_pem)
    key: Any = serialization.load_pem_private_key(pair.key_pem.encode(), password=None)
    nothing = serialization.NoEncryption()
    for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER):
        raw = key.private_bytes(encoding, form, nothing)
        texts = [raw.hex(), base64.b64encode(raw).decode(), *([raw.decode()] if raw.startswith(b"---") else [])]
        for text in texts:
            numbers: Any = key.private_numbers()
            private = numbers.d if kind == "rsa2048" else numbers.private_value
            shown = redaction.hide(text)
            assert redaction.HIDDEN in shown
            assert f"{private:x}"[8:40] not in shown
    assert redaction.hide(pair.cert_pem) == pair.cert_pem


FULL = """
import resource, signal, sys, datetime as dt
from pathlib import Path
from crdbmesh.commands import up
from crdbmesh.engine.step import Event, Gap
from crdbmesh.local.folder import LocalFolder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
seen = []
with LocalFolder(Path(sys.argv[1])).journal("up", dt.datetime.now(dt.UTC)) as journal:
    notify = up.recorded(journal, seen.append)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    for number in range(50):
        notify(Event(f"step-{number}", "applying", "x" * 50))
print(journal.path, len(seen), sum(event.kind == "warning" for event in seen))
"""


def test_a_full_disk_costs_journal_lines_and_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "mesh")], capture_output=True, text=True, check=True, timeout=60
    )
    path, seen, warnings = done.stdout.split()
    assert (int(seen), int(warnings)) == (51, 1)
    lines = Path(path).read_text().splitlines()
    assert 1 < len(lines) < 50
    assert [json.loads(line)["step"] for line in lines] == [f"step-{number}" for number in range(len(lines))]


def test_a_file_that_is_there_already_does_not_open_the_simulators_token(tmp_path: Path) -> None:
    cloud_file = tmp_path / "cloud.json"
    cloud_file.touch()
    cloud_file.chmod(0o666)
    with simulated(tmp_path, scale=50) as coordinates:
        assert coordinates["token"] in cloud_file.read_text()
        assert stat.S_IMODE(cloud_file.stat().st_mode) == 0o600
