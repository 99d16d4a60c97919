"""Commands in containers, their logs, and what their programs serve: through the API's door."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import websocket

PODS = "/api/v1/namespaces/default/pods"
V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"


@contextmanager
def connected(api: Any, query: str, *protocols: str, pod: str = "p") -> Iterator[websocket.WebSocket]:
    context = ssl.create_default_context(cafile=api.session.verify)
    context.load_cert_chain(*api.session.cert)
    url = f"wss://{api.address}:6443{PODS}/{pod}/exec?{query}"
    with (
        socket.create_connection((api.address, 6443), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname=api.address) as secure,
    ):
        connection = websocket.create_connection(url, subprotocols=list(protocols), socket=secure, timeout=10)
        yield connection
        connection.close()


def channels(command: websocket.WebSocket) -> dict[int, bytes]:
    """Everything that comes, by channel, until the server closes."""
    found: dict[int, bytes] = {}
    while True:
        code, data = command.recv_data()
        if code == websocket.ABNF.OPCODE_CLOSE:
            return found
        found[data[0]] = found.get(data[0], b"") + data[1:]


@pytest.mark.parametrize(("offered", "chosen"), [((V5, V4), V5), ((V4,), V4)])
def test_a_command_answers_on_its_channels(api: Any, offered: tuple[str, ...], chosen: str) -> None:
    api.run_pod("p")
    with connected(api, "command=ls&command=-l&stdout=1&stderr=1", *offered) as command:
        assert command.subprotocol == chosen
        found = channels(command)
    assert found[1] == b"default p main ls -l\n"
    assert json.loads(found[3]) == {"metadata": {}, "status": "Success"}


def test_a_failing_command_tells_its_exit_code(api: Any) -> None:
    api.run_pod("p")
    with connected(api, "command=false&stdout=1&stderr=1", V5) as command:
        found = channels(command)
    status = json.loads(found[3])
    assert found[2] == b"no\n"
    assert (status["status"], status["reason"]) == ("Failure", "NonZeroExitCode")
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


def test_input_ends_when_the_client_closes_its_channel(api: Any) -> None:
    api.run_pod("p")
    sent = bytes(range(256)) * 300
    with connected(api, "command=cat&stdin=1&stdout=1", V5) as command:
        command.send_binary(b"\x00" + sent[:1000])
        command.send_binary(b"\x00" + sent[1000:])
        command.send_binary(b"\xff\x00")
        assert channels(command)[1] == sent


def test_input_of_a_client_that_cannot_close_ends_when_it_pauses(api: Any) -> None:
    api.run_pod("p")
    with connected(api, "command=cat&stdin=1&stdout=1", V4) as command:
        command.send_binary(b"\x00hello")
        assert channels(command)[1] == b"hello"


def test_a_terminal_has_one_stream(api: Any) -> None:
    api.run_pod("p")
    with connected(api, "command=false&tty=1&stdout=1&stderr=1", V5) as command:
        command.send_binary(b"\x04" + json.dumps({"Width": 80, "Height": 24}).encode())
        found = channels(command)
    assert (found[1], 2 in found) == (b"no\n", False)


def test_a_container_that_stopped_in_between_is_reported(api: Any) -> None:
    api.run_pod("p")
    with connected(api, "command=gone&stdout=1", V5) as command:
        status = json.loads(channels(command)[3])
    assert (status["code"], status["reason"]) == (500, "InternalError")
    assert 'container not found ("main")' in status["message"]


@pytest.mark.parametrize(
    ("pod", "query", "code", "message"),
    [
        ("none", "command=ls&stdout=1", 404, 'pods "none" not found'),
        ("p", "command=ls&stdout=1&container=other", 400, "container other is not valid for pod p"),
        ("p", "stdout=1", 400, "you must specify at least 1 command for the container"),
        ("p", "command=ls", 400, "you must specify at least one of stdin, stdout, stderr"),
        ("waiting", "command=ls&stdout=1", 400, "pod waiting does not have a host assigned"),
    ],
)
def test_a_command_that_cannot_start_is_refused_before_the_upgrade(
    api: Any, make_pod: Any, pod: str, query: str, code: int, message: str
) -> None:
    api.run_pod("p")
    api.make(PODS, make_pod("waiting"))
    with pytest.raises(websocket.WebSocketBadStatusException) as caught, connected(api, query, V5, pod=pod):
        pass
    assert caught.value.status_code == code
    assert json.loads(caught.value.resp_body or b"{}")["message"] == message


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "Upgrade request required"),
        ({"Connection": "Upgrade", "Upgrade": "SPDY/2"}, 'unable to upgrade: unsupported protocol "SPDY/2"'),
    ],
)
def test_other_ways_of_running_commands_are_refused(api: Any, headers: dict[str, str], message: str) -> None:
    api.run_pod("p")
    answer = api.call("POST", f"{PODS}/p/exec?command=ls&stdout=1", headers=headers)
    assert answer.status_code == 400
    assert message in answer.json()["message"]


def test_logs_are_lines_from_the_end(api: Any) -> None:
    api.run_pod("p")
    assert api.call("GET", f"{PODS}/p/log").text == "one\ntwo\nthree\n"
    assert api.call("GET", f"{PODS}/p/log?tailLines=1&container=main").text == "three\n"


def test_logs_begin_at_a_time_bear_their_times_and_end_at_a_size(api: Any) -> None:
    api.run_pod("p")
    api.cluster.runtime.first = 1_790_000_000.25
    log = f"{PODS}/p/log"
    stamped = "2026-09-21T14:13:21.250000000Z two\n2026-09-21T14:13:22.250000000Z three\n"
    assert api.call("GET", f"{log}?timestamps=true&sinceTime=2026-09-21T14:13:21.9Z").text == stamped
    assert api.call("GET", f"{log}?limitBytes=5").text == "one\nt"
    assert api.call("GET", f"{log}?sinceSeconds=60").text == ""
    both = api.call("GET", f"{log}?sinceSeconds=60&sinceTime=2026-09-21T14:13:21Z")
    assert (both.status_code, "at most one of" in both.json()["message"]) == (422, True)
    absent = api.call("GET", f"{log}?previous=true")
    assert absent.json()["message"] == 'previous terminated container "main" in pod "p" not found'


def test_a_pod_that_has_no_node_has_no_log_yet(api: Any, make_pod: Any) -> None:
    api.make(PODS, make_pod("waiting"))
    answer = api.call("GET", f"{PODS}/waiting/log")
    assert (answer.status_code, answer.content) == (204, b"")


def test_logs_of_one_of_several_containers_need_its_name(api: Any, make_pod: Any) -> None:
    body = make_pod("two")
    body["spec"]["containers"].append({"name": "side", "image": "x"})
    api.make(PODS, body)
    answer = api.call("GET", f"{PODS}/two/log")
    assert answer.status_code == 400
    assert answer.json()["message"] == "a container name must be specified for pod two, choose one of: [main side]"


def test_followed_logs_go_on_until_the_pod_ends(api: Any) -> None:
    api.run_pod("p")
    runtime = api.cluster.runtime
    with api.call("GET", f"{PODS}/p/log?follow=true&tailLines=1", stream=True) as answer:
        lines = answer.iter_lines()
        assert next(lines) == b"three"
        runtime.log.append("four")
        assert next(lines) == b"four"
        api.merge(f"{PODS}/p/status", {"status": {"phase": "Succeeded"}})
        assert list(lines) == []


def test_a_programs_pages_are_reached_through_its_pod(api: Any) -> None:
    api.run_pod("p")
    by_pod = api.call("GET", f"{PODS}/https:p:8080/proxy/health?ready=1")
    assert by_pod.json() == {"pod": "p", "path": "/health?ready=1", "tls": True}
    assert api.call("GET", f"{PODS}/p:8080/proxy/x/").json() == {"pod": "p", "path": "/x/", "tls": False}
    assert api.call("GET", f"{PODS}/p:9/proxy/").status_code == 503
    assert api.call("GET", f"{PODS}/none:9/proxy/").json()["message"] == 'pods "none" not found'


def test_commands_run_at_the_same_time(api: Any) -> None:
    api.run_pod("p")
    found: list[bytes] = []

    def run(word: str) -> None:
        with connected(api, f"command=echo&command={word}&stdout=1", V5) as command:
            found.append(channels(command)[1])

    threads = [threading.Thread(target=run, args=(word,)) for word in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(found) == [f"default p main echo {word}\n".encode() for word in "abcdef"]


def test_a_program_that_is_not_there_is_an_error_and_no_exit_code(api: Any) -> None:
    api.run_pod("p")
    with connected(api, "command=absent&stdout=1", V5) as command:
        status = json.loads(channels(command)[3])
    assert (status["reason"], "details" in status) == ("InternalError", False)
    assert "executable file not found in $PATH" in status["message"]
