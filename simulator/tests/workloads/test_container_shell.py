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
            ("tools", "nicolaka/netshoot"),
        )
    }
    bench.advance(2)
    return bench


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('echo $((1+2)) "$(echo a b | tr a-z A-Z)"', "3 A B\n"),
        ('x=1; if [ $x -eq 1 ] && test -n "$HOSTNAME"; then echo yes; else echo no; fi', "yes\n"),
        ("for i in 1 2 3; do test $i = 2 && continue; echo $i; done", "1\n3\n"),
        ("i=0; while [ $i -lt 3 ]; do i=$((i+1)); done; echo $i", "3\n"),
        ("false || { echo fallback; }; ! false; echo $?", "fallback\n0\n"),
        ("echo out; echo err >&2; exit 3", "out\n"),
        ("cat <<E\n$HOSTNAME\nE", "busy\n"),
        ("echo ${missing:-default} ${HOSTNAME%sy} ${#HOSTNAME}", "default bu 4\n"),
        ("printf '%s-%d\\n' a 5 b 6", "a-5\nb-6\n"),
        ("case $HOSTNAME in b*) echo b;; *) echo other;; esac", "b\n"),
        ("f() { echo in $1; return 4; }; f x; echo $?", "in x\n4\n"),
        ("echo hidden >/dev/null; echo a > /tmp/x; cat /tmp/x", "a\n"),
        ("set -e; false; echo never", ""),
        ("command -v nslookup >/dev/null && echo there; command -v dig || echo none", "there\nnone\n"),
    ],
)
def test_scripts_do_what_a_shell_does(town: Any, script: str, said: str) -> None:
    assert town.run(town.boxes["busy"], "sh", "-c", script).stdout.decode() == said


def test_files_outlast_the_process_that_wrote_them(town: Any) -> None:
    db, busy = town.boxes["db"], town.boxes["busy"]
    assert town.run(db, "sh", "-c", "echo kept > /tmp/note; echo more > /tmp/deep").exit_code == 0
    assert town.run(db, "cat", "/tmp/note").stdout == b"kept\n"
    packed = town.run(db, "tar", "cf", "-", "/tmp/note", "-C", "/tmp", "deep")
    assert packed.stderr == b"tar: Removing leading `/' from member names\n"
    program = next(iter(busy.programs.values()))
    assert program.exec(["tar", "-xmf", "-", "-C", "/opt"], packed.stdout).exit_code == 0
    assert town.run(busy, "cat", "/opt/tmp/note", "/opt/deep").stdout == b"kept\nmore\n"
    listed = program.exec(["tar", "-t"], town.run(busy, "tar", "cf", "-", "/opt").stdout)
    assert listed.stdout == b"opt/\nopt/deep\nopt/tmp/\nopt/tmp/note\n"
    absent = town.run(db, "tar", "cf", "-", "none")
    assert (absent.exit_code, b"none: Cannot stat" in absent.stderr) == (2, True)
    assert program.exec(["tar", "xf", "-"], b"junk").exit_code == 2


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


def test_curl_reports_what_happened(town: Any) -> None:
    box = town.boxes["db"]
    assert town.run(box, "curl", "-s", "http://health.default/health").stdout == b"OK"
    code = town.run(box, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://health.default/nothing")
    assert code.stdout == b"404"
    assert town.run(box, "curl", "-sf", "http://health.default/nothing").exit_code == 22
    assert town.run(box, "curl", "-sS", "http://nobody.default/").exit_code == 6
    assert town.run(box, "curl", "-sS", "http://health.default:81/", "-m", "3").exit_code == 28
    assert town.run(box, "curl", "-k", "https://health.default:80/").exit_code in (35, 52)


def test_nslookup_nc_wget_and_ping_of_busybox(town: Any) -> None:
    box = town.boxes["busy"]
    found = town.run(box, "nslookup", "health.default.svc.cluster.local")
    assert found.exit_code == 0
    assert b"Name:\thealth.default.svc.cluster.local" in found.stdout
    missing = town.run(box, "nslookup", "nobody.default.svc.cluster.local")
    assert missing.exit_code == 1
    assert b"server can't find nobody.default.svc.cluster.local: NXDOMAIN" in missing.stdout
    assert town.run(box, "nc", "-z", "-w", "2", "health.default", "80").exit_code == 0
    assert town.run(box, "nc", "-z", "-w", "2", "10.77.0.1", "80").exit_code == 1
    assert town.run(box, "wget", "-qO-", "http://health.default/health").stdout == b"OK"
    assert town.run(box, "ping", "-c", "1", "127.0.0.1").exit_code == 0


def test_dig_shows_sections_and_short_answers(town: Any) -> None:
    box = town.boxes["tools"]
    short = town.run(box, "dig", "+short", "health.default.svc.cluster.local")
    assert short.stdout.startswith(b"10.201.")
    full = town.run(box, "dig", "nobody.default.svc.cluster.local", "AAAA").stdout
    assert b"status: NXDOMAIN" in full
    assert b"AUTHORITY SECTION" in full
    silent = town.run(box, "dig", "@10.77.0.1", "x.local")
    assert silent.exit_code == 9
    assert b"no servers could be reached" in silent.stdout


def test_files_environment_and_identity(town: Any) -> None:
    box = town.boxes["db"]
    assert town.run(box, "cat", "/etc/hostname").stdout == b"db\n"
    assert town.run(box, "cat", "/nowhere").exit_code == 1
    assert b"KUBERNETES_SERVICE_HOST=10.201.0.1" in town.run(box, "env").stdout
    assert town.run(box, "hostname").stdout == b"db\n"
    assert town.run(box, "id", "-u").stdout == b"0\n"
    assert b"resolv.conf" in town.run(box, "ls", "/etc").stdout


@pytest.mark.parametrize(
    ("box", "argv"),
    [
        ("db", ["dig", "x"]),
        ("db", ["nslookup", "x"]),
        ("db", ["nc", "-z", "a", "1"]),
        ("busy", ["bash", "-c", "true"]),
        ("busy", ["curl", "x"]),
    ],
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
    script = "until nslookup late.default.svc.cluster.local; do sleep 2; done"
    box = bench.pod(
        cluster, "n10", "default", "wait", [{"name": "main", "image": "busybox", "command": ["sh", "-c", script]}]
    )
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
