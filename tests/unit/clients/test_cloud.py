"""Which cloud: from the environment, from a file; and everything that can be wrong with either."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from crdbmesh.clients import caller, cloud, cloud_file, environment
from crdbmesh.errors import CloudError, ConfigError, UnsafeError

TOKEN = "a-secret-that-nobody-may-see"


def write(folder: Path, **keys: Any) -> dict[str, str]:
    file = folder / "cloud.json"
    file.write_text(json.dumps(keys))
    return {cloud.CLOUD_FILE: str(file)}


def wrong(environ: dict[str, str]) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        environment.find_cloud(environ)
    assert TOKEN not in str(caught.value)
    return {finding.field: finding.reason for finding in caught.value.findings}


def test_without_a_word_it_is_public_azure() -> None:
    found = environment.find_cloud({})
    assert found.name == "AzureCloud"
    assert found.arm_url == "https://management.azure.com"
    assert found.scopes == ("https://management.azure.com/.default",)
    assert found.subscription_id is None
    assert found.ca_file is None
    assert (found.ssh_port, found.time_scale) == (22, 1)


def test_the_subscription_comes_from_the_environment() -> None:
    assert environment.find_cloud({"AZURE_SUBSCRIPTION_ID": "s-1"}).subscription_id == "s-1"
    assert environment.find_cloud({"AZURE_SUBSCRIPTION_ID": ""}).subscription_id is None


@pytest.mark.parametrize(
    ("environ", "arm_url"),
    [
        ({"AZURE_CLOUD": "AzureUSGovernment"}, "https://management.usgovcloudapi.net"),
        ({"AZURE_CLOUD": "azurechinacloud"}, "https://management.chinacloudapi.cn"),
        ({"AZURE_AUTHORITY_HOST": "https://login.microsoftonline.us/"}, "https://management.usgovcloudapi.net"),
        ({"AZURE_AUTHORITY_HOST": "login.chinacloudapi.cn"}, "https://management.chinacloudapi.cn"),
        ({"AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com"}, "https://management.azure.com"),
    ],
)
def test_sovereign_clouds_have_their_own_endpoint(environ: dict[str, str], arm_url: str) -> None:
    assert environment.find_cloud(environ).arm_url == arm_url


def test_an_unknown_cloud_or_authority_is_refused() -> None:
    assert set(wrong({"AZURE_CLOUD": "Azur"})) == {"AZURE_CLOUD"}
    assert set(wrong({"AZURE_AUTHORITY_HOST": "https://login.example.org"})) == {"AZURE_AUTHORITY_HOST"}


def test_a_cloud_file_says_all_of_it(tmp_path: Path) -> None:
    environ = write(
        tmp_path,
        name="lab",
        arm_url="https://127.0.0.1:8443/",
        scopes=["https://lab/.default"],
        token=TOKEN,
        subscription_id="s-2",
        address_urls=["https://127.0.0.1:8443/address"],
        ssh_port=2222,
        time_scale=0.5,
    )
    found = environment.find_cloud(environ)
    assert (found.name, found.arm_url, found.scopes) == ("lab", "https://127.0.0.1:8443", ("https://lab/.default",))
    assert (found.subscription_id, found.ssh_port, found.time_scale) == ("s-2", 2222, 0.5)
    assert found.credential.get_token("any").token == TOKEN


def test_a_cloud_file_may_be_yaml_and_short(tmp_path: Path) -> None:
    file = tmp_path / "cloud.yaml"
    file.write_text(f"arm_url: https://arm.example.org\ntoken: {TOKEN}\n")
    found = cloud_file.read(file)
    assert (found.name, found.scopes) == ("arm.example.org", ("https://arm.example.org/.default",))
    assert (found.ssh_port, found.time_scale) == (22, 1)


def test_a_token_file_is_read_again_each_time_and_found_beside_the_cloud_file(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("first\n")
    found = environment.find_cloud(write(tmp_path, arm_url="https://arm.example.org", token_file="token"))
    assert found.credential.get_token("any").token == "first"
    token_file.write_text("second\n")
    assert found.credential.get_token("any").token == "second"
    token_file.unlink()
    with pytest.raises(CloudError, match="cannot read the token file"):
        found.credential.get_token("any")


def test_every_mistake_in_a_cloud_file_is_found_at_once(tmp_path: Path) -> None:
    environ = write(
        tmp_path,
        arm_url="http://arm.example.org",
        address_urls=["nonsense"],
        token=TOKEN,
        token_file="absent",
        ca_file="absent.pem",
        ssh_port="22",
        scopes=[1],
        name=7,
        tokn=TOKEN,
    )
    assert set(wrong(environ)) == {
        "arm_url",
        "address_urls",
        "token_file",
        "ca_file",
        "ssh_port",
        "scopes",
        "name",
        "tokn",
    }


def test_a_cloud_file_must_say_where_azure_is(tmp_path: Path) -> None:
    assert wrong(write(tmp_path, token=TOKEN)) == {"arm_url": "is needed"}


def test_a_port_that_is_none_and_a_url_with_a_password_are_refused(tmp_path: Path) -> None:
    assert set(wrong(write(tmp_path, arm_url=f"https://me:{TOKEN}@arm.example.org", ssh_port=70000))) == {
        "arm_url",
        "ssh_port",
    }
    assert set(wrong(write(tmp_path, arm_url="https://arm.example.org:99999999"))) == {"arm_url"}


@pytest.mark.parametrize("scale", [0, -1, True, "60", None])
def test_a_time_scale_that_is_not_above_zero_is_refused(tmp_path: Path, scale: Any) -> None:
    assert set(wrong(write(tmp_path, arm_url="https://arm.example.org", time_scale=scale))) == {"time_scale"}


def test_a_ca_file_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    assert set(wrong(write(tmp_path, arm_url="https://arm.example.org", ca_file="ca.pem"))) == {"ca_file"}


def test_a_file_that_is_no_mapping_or_cannot_be_parsed_is_refused_without_quoting_it(tmp_path: Path) -> None:
    file = tmp_path / "cloud.yaml"
    environ = {cloud.CLOUD_FILE: str(file)}
    assert "cannot be read" in wrong(environ)[cloud.CLOUD_FILE]
    file.write_text(f"token: {TOKEN}: {TOKEN}\n  - [")
    assert "neither JSON nor YAML" in wrong(environ)[cloud.CLOUD_FILE]
    file.write_text(f"- {TOKEN}\n")
    assert "mapping" in wrong(environ)[cloud.CLOUD_FILE]
    file.write_bytes(b"\xff\xfe\xff")
    assert "UTF-8" in wrong(environ)[cloud.CLOUD_FILE]


def test_the_token_is_in_no_representation(tmp_path: Path) -> None:
    found = environment.find_cloud(write(tmp_path, arm_url="https://arm.example.org", token=TOKEN))
    assert TOKEN not in f"{found!r} {found.credential!r} {found.credential.get_token!r}"


@pytest.mark.parametrize(
    "arm_url",
    ["https://management.azure.com.evil.example", "https://arm.example.org", "https://management.azure.com:444"],
)
def test_the_operators_login_is_for_azures_own_hosts_only(tmp_path: Path, arm_url: str) -> None:
    reasons = wrong(write(tmp_path, arm_url=arm_url))
    assert "your own login is for Azure's own hosts" in reasons["token"]


@pytest.mark.parametrize("arm_url", ["https://management.azure.com/", "https://management.chinacloudapi.cn"])
def test_for_azures_own_hosts_a_cloud_file_needs_no_token(tmp_path: Path, arm_url: str) -> None:
    found = environment.find_cloud(write(tmp_path, arm_url=arm_url))
    assert isinstance(found.credential, cloud.LazyCredential)


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o602])
@pytest.mark.parametrize("name", ["cloud.json", "ca.pem"])
def test_a_file_that_others_can_write_to_is_refused(tmp_path: Path, mode: int, name: str) -> None:
    (tmp_path / "ca.pem").write_text(trustme.CA().cert_pem.bytes().decode())
    environ = write(tmp_path, arm_url="https://arm.example.org", token=TOKEN, ca_file="ca.pem")
    environment.find_cloud(environ)
    (tmp_path / name).chmod(mode)
    with pytest.raises(ConfigError if name == "ca.pem" else UnsafeError, match="can be changed by others"):
        environment.find_cloud(environ)


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_cloud_file_of_another_user_is_refused_and_one_that_they_could_replace(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    environ = write(folder, arm_url="https://arm.example.org", token=TOKEN)
    folder.chmod(0o777)
    with pytest.raises(UnsafeError, match="others can write to it"):
        environment.find_cloud(environ)
    folder.chmod(0o1777)
    environment.find_cloud(environ)
    os.chown(folder / "cloud.json", 12345, 12345)
    with pytest.raises(UnsafeError, match="belongs to another user"):
        environment.find_cloud(environ)


def test_a_credential_is_made_once_and_only_when_needed() -> None:
    made: list[cloud.GivenToken] = []

    def make() -> cloud.GivenToken:
        made.append(cloud.GivenToken("t"))
        return made[-1]

    lazy = cloud.LazyCredential(make)
    assert made == []
    assert lazy.get_token("scope").token == "t"
    assert lazy.load() is lazy.load()
    assert len(made) == 1


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("https://127.0.0.1:1/x", True),
        ("https://127.9.8.7", True),
        ("https://[::1]:1", True),
        ("https://localhost", True),
        ("https://management.azure.com", False),
        ("https://10.0.0.1", False),
    ],
)
def test_loopback_is_told_from_the_rest(url: str, loopback: bool) -> None:
    assert cloud.is_loopback(url) is loopback


@contextmanager
def answering(*bodies: str) -> Iterator[str]:
    left = list(bodies)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = left.pop(0).encode()
            self.send_response(200 if body else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asked(*urls: str) -> caller.Own:
    return caller.find_address(replace(environment.find_cloud({}), address_urls=urls))


def test_the_callers_address_is_what_two_services_agree_on() -> None:
    with answering(" 203.0.113.9\n", "203.0.113.9", "198.51.100.7") as url:
        found = asked(url, url, url)
    assert (found.address, found.sure) == ("203.0.113.9", True)
    with answering("198.51.100.7", "<html>", "203.0.113.9", "203.0.113.9") as url:
        found = asked(url, url, url, url)
    assert (found.address, found.sure) == ("203.0.113.9", True)


def test_what_one_service_says_alone_or_against_the_others_is_not_sure() -> None:
    with answering("<html>", "", "198.51.100.7") as url:
        found = asked(url, url, url)
    assert (found.address, found.sure) == ("198.51.100.7", False)
    assert "503" in found.told
    with answering("198.51.100.7", "203.0.113.9") as url:
        found = asked(url, url)
    assert not found.sure
    assert "198.51.100.7" in found.told
    assert "203.0.113.9" in found.told


def test_nobody_is_asked_when_no_service_may_be() -> None:
    with pytest.raises(CloudError, match="no service may be asked") as caught:
        asked()
    assert "--allow-from" in (caught.value.hint or "")


def test_without_any_address_the_operator_is_told_what_was_asked_and_what_to_do() -> None:
    with answering("2001:db8::1") as url, pytest.raises(CloudError, match=r"2001:db8::1.*not an https URL") as caught:
        asked(url, "http://plain.example.org")
    assert caught.value.hint is not None
    assert "--allow-from" in caught.value.hint


def test_whom_we_ask_is_in_the_documents() -> None:
    for document in ("README.md", "SECURITY.md"):
        text = (Path(__file__).parents[3] / document).read_text()
        assert all(str(urlsplit(url).hostname) in text for url in cloud.ADDRESS_URLS), document
        assert "--no-address-lookup" in text


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_the_service_is_asked_through_the_proxy_with_and_without_a_scheme(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append(self.path)
            self.send_error(403, "not here")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for name in ("https_proxy", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}127.0.0.1:{server.server_address[1]}")
        there = replace(environment.find_cloud({}), address_urls=("https://address.invalid",))
        with pytest.raises(CloudError, match="cannot find out your own address"):
            caller.find_address(there)
        server.shutdown()
        thread.join()
    assert set(asked) == {"address.invalid:443"}


@pytest.mark.parametrize("proxy", ["socks9://127.0.0.1:1", "http://", "://", "127.0.0.1:none"])
def test_a_proxy_that_is_none_is_an_error_and_no_bug(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    there = replace(environment.find_cloud({}), address_urls=("https://address.invalid",))
    with pytest.raises(CloudError, match="cannot find out your own address"):
        caller.find_address(there, timeout_s=2)


def test_importing_the_clients_imports_no_sdk() -> None:
    code = (
        "import sys\n"
        "from crdbmesh.clients import caller, cloud, environment\n"
        "from crdbmesh.clients.azure import compare, failures, kinds, resources, session\n"
        "environment.find_cloud({})\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('azure', 'requests', 'msal')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
