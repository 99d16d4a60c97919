"""Commands in containers: shells, resolvers, clients; what an image lacks."""

from __future__ import annotations

from typing import Any

import pytest

from crdbmesh_simulator.workloads import images


@pytest.fixture
def town(bench: Any) -> Any:
    """A cluster with CoreDNS, a web Service in front of CoreDNS's health port, and pods of several images."""
    cluster = bench.cluster(1)
    dns = bench.coredns(cluster)
    bench.service(cluster, "default", "health", [{"name": "http", "port": 80, "targetPort": 8080}], [dns])
    bench.advance(5)
    bench.boxes = {
        name: bench.shell(cluster, "n10", name=name, image=image)
        for name, image in (
            ("busy", "busybox:1.37"),
            ("db", "cockroachdb/cockroach:v26.2.6"),
        )
    }
    bench.advance(2)
    return bench


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('x=1; if [ $x -eq 1 ] && test -n "$HOSTNAME"; then echo yes; else echo no; fi', "yes\n"),
        ("for i in 1 2 3; do test $i = 2 && continue; echo $i; done", "1\n3\n"),
        ("false || { echo fallback; }; ! false; echo $?", "fallback\n0\n"),
        ("echo out; echo err >&2; exit 3", "out\n"),
        ("cat <<E\n$HOSTNAME\nE", "busy\n"),
        ("echo ${missing:-default} ${HOSTNAME%sy}", "default bu\n"),
        ("case $HOSTNAME in b*) echo b;; *) echo other;; esac", "b\n"),
        ("echo hidden >/dev/null; echo a > /tmp/x; echo b >> /tmp/x; cat /tmp/x", "a\nb\n"),
        ("set -e; false; echo never", ""),
        ("command -v sleep >/dev/null && echo there; command -v dig || echo none", "there\nnone\n"),
    ],
)
def test_scripts_do_what_a_shell_does(town: Any, script: str, said: str) -> None:
    assert town.run(town.boxes["busy"], "sh", "-c", script).stdout.decode() == said


def test_exit_codes_and_both_streams_come_back(town: Any) -> None:
    answer = town.run(town.boxes["busy"], "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (answer.exit_code, answer.stdout, answer.stderr) == (3, b"out\n", b"err\n")


def test_getent_finds_names_and_says_by_two_when_there_are_none(town: Any) -> None:
    found = town.run(town.boxes["db"], "getent", "ahostsv4", "health.default")
    assert found.exit_code == 0
    assert found.stdout.splitlines()[0].split()[1:] == [b"STREAM", b"health.default.svc.cluster.local"]
    assert town.run(town.boxes["db"], "getent", "hosts", "nobody.default").exit_code == 2


def test_bash_opens_tcp_connections_and_sh_of_busybox_does_not(town: Any) -> None:
    script = "</dev/tcp/health.default/80"
    assert town.run(town.boxes["db"], "bash", "-c", script).exit_code == 0
    refused = town.run(town.boxes["db"], "timeout", "5", "bash", "-c", "</dev/tcp/127.0.0.1/81")
    assert refused.exit_code == 1
    assert b"Connection refused" in refused.stderr
    late = town.run(town.boxes["db"], "timeout", "5", "bash", "-c", "</dev/tcp/10.77.0.1/80")
    assert late.exit_code == 124
    assert town.run(town.boxes["busy"], "sh", "-c", script).exit_code != 0


TALK = """begun=${EPOCHREALTIME:-$(date +%s.%N)}; exec 3<>"/dev/tcp/$1/$2" || exit 1
open=${EPOCHREALTIME:-0}; printf "GET /%s HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n" "$3" >&3; echo "$begun $open $(wc -c <&3)"
"""


def test_bash_talks_over_a_descriptor_and_tells_how_long_connecting_took(town: Any) -> None:
    answer = town.run(town.boxes["db"], "bash", "-c", TALK, "talk", "health.default", "80", "health")
    begun, connected, size = map(float, answer.stdout.split())
    assert 0 < connected - begun < 0.01
    assert size > len("HTTP/1.0 200 OK")
    assert town.run(town.boxes["db"], "bash", "-c", TALK, "talk", "127.0.0.1", "81", "").exit_code == 1
    assert town.run(town.boxes["db"], "bash", "-c", 'printf "%s|%05d" a 7').stdout == b"a|00007"


def test_the_resolver_asks_over_tcp_when_the_environment_says_so(town: Any) -> None:
    for options in ("", "RES_OPTIONS='use-vc timeout:2 attempts:1'"):
        assert town.run(town.boxes["db"], "bash", "-c", f"{options} getent ahostsv4 health.default").exit_code == 0


def test_files_environment_and_identity(town: Any) -> None:
    box = town.boxes["db"]
    assert town.run(box, "cat", "/etc/hostname").stdout == b"db\n"
    assert town.run(box, "cat", "/nowhere").exit_code == 1
    assert b"KUBERNETES_SERVICE_HOST=10.201.0.1" in town.run(box, "env").stdout
    assert town.run(box, "hostname").stdout == b"db\n"
    assert b"resolv.conf" in town.run(box, "ls", "/etc").stdout


@pytest.mark.parametrize(
    ("box", "argv"), [("db", ["dig", "x"]), ("db", ["nc", "-z", "a", "1"]), ("busy", ["bash", "-c", "true"])]
)
def test_a_command_that_the_image_lacks_fails_loudly(town: Any, box: str, argv: list[str]) -> None:
    answer = town.run(town.boxes[box], *argv)
    assert answer.exit_code == 127
    assert f'"{argv[0]}": executable file not found in $PATH'.encode() in answer.stderr
    assert [unknown.door for unknown in town.world.unknown] == ["exec"]


def test_a_missing_command_in_a_script_is_127_and_recorded(town: Any) -> None:
    answer = town.run(town.boxes["db"], "bash", "-c", "dig x")
    assert answer.exit_code == 127
    assert b"command not found" in answer.stderr
    assert town.world.unknown


def test_syntax_that_is_not_supported_is_recorded(town: Any) -> None:
    assert town.run(town.boxes["db"], "bash", "-c", "sleep 1 &").exit_code == 2
    assert town.world.unknown[0].what.startswith("shell: ")


def test_a_scratch_image_has_no_shell(town: Any) -> None:
    cluster = town.world.clusters[0]
    answer = town.run(
        next(box for box in cluster.runtime.sandboxes.values() if box.name == "coredns-1"), "sh", "-c", "true"
    )
    assert answer.exit_code == 127


def test_a_container_runs_its_command_over_time_and_ends_with_its_status(bench: Any) -> None:
    cluster = bench.cluster(1)
    script = "echo begun; sleep 5; echo done; exit 4"
    box = bench.pod(
        cluster, "n10", "default", "job", [{"name": "main", "image": "busybox", "command": ["sh", "-c", script]}]
    )
    program = box.programs["main"]
    bench.advance(3)
    early = (list(program.log), program.exit_code)
    bench.advance(5)
    assert early == (["begun"], None)
    assert (program.log, program.exit_code) == (["begun", "done"], 4)


def test_an_init_container_waits_for_a_name(bench: Any) -> None:
    cluster = bench.cluster(1)
    bench.coredns(cluster)
    script = "until getent hosts late.default.svc.cluster.local; do sleep 2; done"
    main = {"name": "main", "image": "cockroachdb/cockroach:v26.2.6", "command": ["sh", "-c", script]}
    box = bench.pod(cluster, "n10", "default", "wait", [main])
    bench.advance(20)
    assert box.programs["main"].exit_code is None
    bench.service(cluster, "default", "late", [{"port": 1}])
    bench.advance(60)
    assert box.programs["main"].exit_code == 0


@pytest.mark.parametrize(
    ("image", "there"),
    [
        ("cockroachdb/cockroach:v26.2.6", True),
        ("docker.io/cockroachdb/cockroach@sha256:00", True),
        ("busybox", True),
        ("quay.io/cilium/cilium:v1.20.0@sha256:00", True),
        ("cockroachdb/cockroche:v1", False),
        ("example.com/cockroachdb/cockroach:v26.2.6", False),
    ],
)
def test_only_published_images_can_be_pulled(image: str, there: bool) -> None:
    assert (images.find(image) is not None) == there


def test_an_unknown_image_is_a_lookup_error(bench: Any) -> None:
    cluster = bench.cluster(1)
    with pytest.raises(LookupError):
        bench.pod(cluster, "n10", "default", "x", [{"name": "a", "image": "nobody/nothing:1"}])
