"""`ssh`, `logs` and the support archive, on the one mesh that is up."""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime as dt
import gzip
import json
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import tarfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from tests import forks

pytestmark = pytest.mark.timeout(240)

UNIT = "/etc/systemd/system/k3s-agent.service"
"""A unit whose lines count among those of k3s; on a server there is none."""


def log(mesh: Any, machine: str, text: str) -> None:
    """Write a text to the journal of a machine, by the product's own way in."""
    unit = "[Service]\\nType=oneshot\\nExecStart=/bin/cat /tmp/said\\n"
    script = f"cat > /tmp/said; printf '{unit}' > {UNIT}; systemctl daemon-reload; systemctl start k3s-agent; rm {UNIT}"
    ran = mesh.run("ssh", machine, "--", f"sudo bash -c {shlex.quote(script)}", stdin=text)
    assert ran.code == 0, ran.stderr


@pytest.fixture
def copied(mesh: Any, tmp_path: Path) -> Any:
    """The mesh with a copy of its local folders, to damage."""
    from tests.use.conftest import Mesh

    class Copied(Mesh):
        @property
        def environ(self) -> dict[str, str]:
            return {**mesh.environ, "CRDBMESH_HOME": str(tmp_path / "homes")}

    shutil.copytree(mesh.folder / "homes", tmp_path / "homes")
    return Copied(mesh.coordinates, tmp_path)


class TestSsh:
    """A login with the mesh's key, which believes the mesh's host key alone."""

    def test_a_commands_output_and_status_are_its_own_by_any_name_of_the_machine(self, mesh: Any) -> None:
        for name in ("westus/1", "westus-1", "crdbmesh-westus-1"):
            ran = mesh.run("ssh", name, "--", "hostname; echo no >&2; exit 7")
            assert (ran.code, ran.stdout, ran.stderr) == (7, "westus-1\n", "no\n")

    def test_a_wrong_name_lists_the_machines(self, mesh: Any) -> None:
        ran = mesh.run("ssh", "westus/9")
        assert ran.code == 2
        assert "choose from eastus/1, westus/1, northeurope/1" in ran.stderr

    def test_nothing_of_the_users_weakens_it_and_no_secret_is_an_argument(self, mesh: Any) -> None:
        ran = mesh.run("ssh", "-v", "eastus/1", "--", "true")
        (line,) = [line for line in ran.stderr.splitlines() if line.startswith("ssh ")]
        arguments = shlex.split(line)
        shown = subprocess.run([arguments[0], "-G", *arguments[1:]], capture_output=True, text=True, check=True).stdout
        settings = dict(one.split(" ", 1) for one in shown.splitlines() if " " in one)
        assert arguments[1:3] == ["-F", "none"]
        assert (settings["stricthostkeychecking"], settings["identitiesonly"]) == ("true", "yes")
        assert settings["identityfile"] == str(mesh.home / "login.key")
        assert settings["userknownhostsfile"] == str(mesh.home / "known-hosts" / "eastus-1")
        assert (settings["identityagent"], settings["globalknownhostsfile"]) == ("none", "none")
        assert "PRIVATE" not in (mesh.home / "known-hosts" / "eastus-1").read_text()

    def test_another_host_key_is_refused(self, copied: Any) -> None:
        keys = copied.home / "host-keys"
        shutil.copy(keys / "westus-1.pub", keys / "eastus-1.pub")
        ran = copied.run("ssh", "eastus/1", "--", "true")
        assert (ran.code, "Host key verification failed" in ran.stderr) == (255, True)

    def test_without_openssh_ours_has_the_same_ends_and_a_terminal(self, mesh: Any) -> None:
        own = {**mesh.environ, "PATH": "/nonexistent"}
        command = mesh.command("ssh", "eastus/1", "--", "cat; echo no >&2; exit 7")
        ran = forks.run(command, env=own, given="typed", timeout=60)
        assert (ran.returncode, ran.stdout, ran.stderr) == (7, "typed", "no\n")
        ours, theirs = os.openpty()
        line = mesh.command("ssh", "eastus/1")
        with forks.Popen(line, env=own, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            shown, typed, deadline = "", False, time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    if select.select([ours], [], [], 0.1)[0]:
                        shown += os.read(ours, 4096).decode()
                if "Welcome" in shown and not typed:
                    typed = bool(os.write(ours, b"echo $SSH_TTY of $(hostname); exit 3\r"))
            process.kill()
        os.close(ours)
        assert (process.returncode, "/dev/pts/0 of eastus-1" in shown) == (3, True), shown


class TestLogs:
    """Journals and logs in one stream."""

    def test_all_are_merged_by_time_each_line_with_its_place(self, mesh: Any) -> None:
        ran = mesh.run("logs", "--tail", "20", "--output", "json")
        assert ran.code == 0, ran.stderr
        lines = ran.document["lines"]
        assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
        places = {line["source"] for line in lines}
        assert {"eastus/1", "westus/1", "eastus/cockroachdb-0", "northeurope/cockroachdb-0"} <= places
        assert any(place.startswith("westus/coredns-") for place in places)
        assert any(re.fullmatch(r"westus/cilium-\w+", place) for place in places)

    def test_regions_programs_and_lines_are_chosen(self, mesh: Any) -> None:
        ran = mesh.run("logs", "westus", "k3s", "--tail", "2")
        lines = ran.stdout.splitlines()
        assert len(lines) == 2
        for line in lines:
            assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ westus/1  \w+\[\d+\]: ", line), line
        tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=30)
        assert mesh.run("logs", "cockroachdb", "k3s", "--since", tomorrow.isoformat()).stdout == ""
        assert mesh.run("logs", "cockroachdb", "--since", "9d").stdout.count("nodeID:") == 3
        wrong = mesh.run("logs", "moon")
        assert (wrong.code, "choose from eastus, westus, northeurope and k3s, cloud-init" in wrong.stderr) == (2, True)
        assert mesh.run("logs", "--since", "teatime").code == 2
        assert mesh.run("logs", "--tail", "0").stdout == ""

    def test_it_shows_no_control_character_and_no_secret(self, mesh: Any) -> None:
        token = (mesh.home / "tokens" / "eastus").read_text().strip()
        log(mesh, "eastus/1", f"\x1b]0;owned\x07 token {token}\n")
        ran = mesh.run("logs", "eastus", "k3s", "--since", "1h")
        assert "^[]0;owned^G token (secret)" in ran.stdout
        assert not {"\x1b", "\x07"} & set(ran.stdout)

    def test_it_follows_until_an_interrupt(self, mesh: Any) -> None:
        command = mesh.command("logs", "westus", "k3s", "cockroachdb", "--follow", "--tail", "1")
        with forks.Popen(command, env=mesh.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as following:
            assert following.stdout is not None
            stream = following.stdout.fileno()
            os.set_blocking(stream, False)

            def wait_for(text: str, seen: str = "") -> str:
                deadline = time.monotonic() + 60
                while text not in seen:
                    assert time.monotonic() < deadline, seen
                    with contextlib.suppress(BlockingIOError):
                        seen += os.read(stream, 65536).decode()
                    time.sleep(0.05)
                return seen

            try:
                seen = wait_for("westus/1")
                log(mesh, "westus/1", "something new\n")
                seen = wait_for("something new", seen)
                assert seen.count("something new") == 1
                following.send_signal(signal.SIGINT)
                assert following.wait(20) == 130
            finally:
                following.kill()

    def test_what_cannot_be_read_is_said_and_the_rest_is_shown(self, copied: Any) -> None:
        (copied.home / "kubeconfigs" / "westus.yaml").unlink()
        ran = copied.run("logs", "cockroachdb")
        assert (ran.code, "northeurope/cockroachdb-0" in ran.stdout) == (0, True)
        assert "the pods of westus: westus: no kubeconfig" in ran.stderr


SECRETS = ("login.key", "ca/*.pem", "host-keys/*", "kubeconfigs/*", "tokens/*")
RUN = re.compile(rb"[A-Za-z0-9+/_-]{40,}={0,2}")
HEX = re.compile(rb"(?:[0-9a-fA-F]{2}){20,}")


def private(text: str) -> Iterator[bytes]:
    """The private numbers of each key in a text, which may be in base64."""
    for run in re.findall(r"LS0tLS1C[A-Za-z0-9+/=]+", text):
        text += base64.b64decode(run).decode()
    for pem in re.findall(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", text, re.DOTALL):
        load = serialization.load_ssh_private_key if "OPENSSH" in pem else serialization.load_pem_private_key
        key: Any = load(pem.encode() + b"\n", None)
        if hasattr(key, "private_bytes_raw"):
            yield key.private_bytes_raw()
        else:
            number = getattr(key.private_numbers(), "private_value", None) or key.private_numbers().d
            yield number.to_bytes((number.bit_length() + 7) // 8, "big")


def shows(data: bytes, secrets: list[bytes], depth: int = 3) -> bool:
    """Whether a secret is in data: as it is, or in base64, hexadecimal or gzip, also one within another."""
    if any(secret in data for secret in secrets):
        return True
    if depth == 0:
        return False
    inner = [bytes.fromhex(run.decode()) for run in HEX.findall(data)]
    for run in RUN.findall(data):
        for begins in range(4):
            whole = run[begins:].rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
            inner.append(binascii.a2b_base64(whole[: len(whole) // 4 * 4]))
    inner += [zlib.decompressobj(47).decompress(one) for one in [data, *inner] if one.startswith(b"\x1f\x8b\x08")]
    # Text in several lines is one value.
    return any(shows(one.replace(b"\n", b"") + one, secrets, depth - 1) for one in inner)


def test_a_support_archive_holds_no_secret_of_the_mesh_in_any_form(copied: Any, tmp_path: Path) -> None:
    mesh = copied
    texts = [path.read_text() for pattern in SECRETS for path in sorted(mesh.home.glob(pattern))]
    nodes = "/api/v1/namespaces/{0}/secrets/cockroachdb.{1}"
    for region in ("eastus", "westus", "northeurope"):
        _, node = mesh.doors.kube(region, "GET", nodes.format(region, "node"))
        texts += [base64.b64decode(value).decode() for value in node["data"].values()]
    secrets = [one for text in texts for one in private(text)]
    secrets += [path.read_bytes().strip() for path in mesh.home.glob("tokens/*")]
    assert len(secrets) >= 1 + 2 + 3 + 3 + 3 + 3
    whole = "\n".join(texts)
    sealed = base64.b64encode(gzip.compress(whole.encode())).decode()
    forms = [whole, base64.b64encode(whole.encode()).decode(), whole.encode().hex(), sealed]
    forms += [base64.b64encode(one).decode() for one in (sealed.encode(), *secrets)]
    planted = "\n".join(forms)
    assert all(shows(planted.encode(), [one]) for one in secrets)

    log(mesh, "eastus/1", f"{planted}\nthe end of the journal\n")
    body = {"metadata": {"name": "planted", "annotations": {"note": whole}}, "data": {"all": planted}}
    body["binaryData"] = {"zip": sealed}
    status, answer = mesh.doors.kube("eastus", "POST", "/api/v1/namespaces/default/configmaps", body)
    assert status == 201, answer
    event = {"metadata": {"name": "planted"}, "involvedObject": {}, "message": texts[0][:900], "reason": "Planted"}
    assert mesh.doors.kube("eastus", "POST", "/api/v1/namespaces/default/events", event)[0] == 201
    password = "postgres://app:correct-horse@db"
    applied = json.dumps({"stringData": {"DATABASE_URL": password}})
    theirs = {"name": "theirs", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied}}
    secret = {"metadata": theirs, "data": {"DATABASE_URL": base64.b64encode(password.encode()).decode()}}
    assert mesh.doors.kube("eastus", "POST", "/api/v1/namespaces/default/secrets", secret)[0] == 201
    log(mesh, "eastus/1", f"cannot reach {password}\n")
    secrets.append(password.encode())
    run = mesh.home / "journals" / "20990101T000000.000000-up.jsonl"
    run.touch(0o600)
    run.write_text(json.dumps({"text": planted}) + "\n")

    # A machine that is not there.
    spec = yaml.safe_load((mesh.home / "mesh.yaml").read_text())
    spec["regions"][2] = {**spec["regions"][2], "machines": 2}
    (mesh.home / "mesh.yaml").write_text(yaml.safe_dump(spec))
    file = tmp_path / "support.tar.gz"
    ran = mesh.run("logs", "--bundle", str(file), "--output", "json")
    mesh.doors.kube("eastus", "DELETE", "/api/v1/namespaces/default/configmaps/planted")
    mesh.doors.kube("eastus", "DELETE", "/api/v1/namespaces/default/secrets/theirs")
    assert ran.code == 0, ran.stderr
    assert file.stat().st_mode & 0o777 == 0o600

    with tarfile.open(file) as archive:
        parts = {one.name.partition("/")[2]: archive.extractfile(one).read() for one in archive.getmembers()}  # type: ignore[union-attr]
    assert [name for name, content in parts.items() if shows(content, secrets)] == []
    assert not shows((ran.stdout + ran.stderr).encode(), secrets)
    # What was planted was read, and what is no secret is there.
    assert b"the end of the journal" in parts["machines/eastus-1/k3s.log"]
    assert b'"planted"' in parts["regions/eastus/objects/ConfigMap.json"]
    assert b"cannot reach" in parts["machines/eastus-1/k3s.log"]
    assert b"DATABASE_URL" in parts["regions/eastus/objects/Secret.json"]
    assert b"Planted" in parts["regions/eastus/objects/Event.json"]
    assert b"(secret)" in parts[f"runs/{run.name}"]
    assert b"nodeID:" in parts["regions/northeurope/northeurope/cockroachdb-0/db.log"]
    assert json.loads(parts["status.json"])["mesh"] == json.loads(parts["plan.json"])["mesh"] == "crdbmesh"
    assert b"cockroachdb.node" in parts["regions/eastus/objects/Secret.json"]
    missing = json.loads(parts["missing.json"])
    assert missing == ran.document["missing"]
    assert "has no public address" in missing["machines/northeurope-2/k3s.log"]
    assert all(name in ran.stderr for name in missing)
    again = mesh.run("logs", "--bundle", str(file))
    assert (again.code, "is there already" in again.stderr) == (2, True)
