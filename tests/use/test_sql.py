"""`crdbmesh sql`: statements, scripts and the shell, as users with certificates of the mesh's CA."""

from __future__ import annotations

import stat
import subprocess
from typing import Any

import pytest
from tests.use.conftest import REGIONS, Typed

pytestmark = pytest.mark.timeout(240)


def test_a_statement_is_answered_in_every_region_as_a_user_of_our_own(mesh: Any) -> None:
    for region in REGIONS:
        run = mesh.run("sql", region, "-e", "SELECT gateway_region() AS at, current_user() AS me", "--output", "json")
        assert run.code == 0, run.stderr
        assert run.document["results"] == [[{"at": region, "me": "crdbmesh"}]]
        assert (run.document["region"], run.document["user"]) == (region, "crdbmesh")
    assert "Created the SQL user" not in mesh.run("sql", "-e", "SELECT 1").stderr
    users = mesh.run("sql", "-e", "SHOW USERS", "--output", "json").document["results"][0]
    assert {one["username"]: one["member_of"] for one in users}["crdbmesh"] == "{admin}"


def test_several_statements_share_a_session_and_an_error_is_the_databases_own(mesh: Any) -> None:
    made = mesh.run(
        *("sql", "-e", "CREATE DATABASE s", "-e", "USE s", "-e", "CREATE TABLE t (a INT, b STRING)"),
        *("-e", "INSERT INTO t VALUES (1, 'x'), (2, 'tab\there')", "-e", "SELECT * FROM t -- all of it"),
    )
    assert (made.code, made.stderr) == (0, "")
    assert made.stdout == 'CREATE DATABASE\nSET\nCREATE TABLE\nINSERT 0 2\na\tb\n1\tx\n2\t"tab\there"\n'
    failed = mesh.run("sql", "-e", "SELECT a FROM s.t", "-e", "SELECT * FROM nowhere", "-e", "DROP TABLE s.t")
    assert (failed.code, failed.stdout) == (1, "a\n1\n2\n")
    assert 'ERROR: relation "nowhere" does not exist\nSQLSTATE: 42P01' in failed.stderr
    told = mesh.run("sql", "-e", "SELECT * FROM nowhere", "--output", "json")
    assert told.code == 1
    assert 'relation "nowhere" does not exist; SQLSTATE: 42P01' in told.document["error"]["message"]


def test_a_script_is_piped_in_and_ends_at_its_first_error(mesh: Any) -> None:
    script = "CREATE TABLE piped (n INT);\n" + "".join(f"INSERT INTO piped VALUES ({n});\n" for n in range(40))
    run = mesh.run("sql", stdin=f"{script}SELECT count(*) AS n FROM piped;\n")
    assert (run.code, run.stderr) == (0, "")
    assert run.stdout.endswith("INSERT 0 1\nn\n40\n")
    failed = mesh.run("sql", stdin="SELECT 1 AS one;\nnonsense;\nSELECT 2;\n")
    assert (failed.code, failed.stdout) == (1, "one\n1\n")
    shut = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *mesh.command("sql")],
        env=mesh.environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (shut.returncode, "standard input" in shut.stderr, "Traceback" in shut.stderr) == (2, True, False)


def test_another_user_is_created_without_rights_and_its_certificate_is_for_this_user_alone(mesh: Any) -> None:
    mesh.run("sql", "-e", "CREATE TABLE guarded (n INT)")
    first = mesh.run("sql", "--user", "App.One", "-e", "SELECT current_user() AS me", "--output", "json")
    assert first.document["results"] == [[{"me": "app.one"}]]
    assert "Created the SQL user app.one" in first.stderr
    denied = mesh.run("sql", "--user", "app.one", "-e", "SELECT * FROM guarded")
    assert denied.code == 1
    assert "user app.one does not have SELECT privilege on relation guarded" in denied.stderr
    assert "Created" not in denied.stderr
    for path in (mesh.home / "sql").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list((mesh.home / "sql").glob("*root*"))


def test_root_is_only_who_asks_for_root(mesh: Any) -> None:
    assert mesh.run("sql", "--user", "root", "-e", "SELECT current_user() AS me").stdout == "me\nroot\n"


def test_neither_keys_nor_statements_are_in_an_argument_list(mesh: Any) -> None:
    secret = "CREATE USER nobody_knows WITH PASSWORD 'hunter22hunter22'"
    assert mesh.run("sql", "-e", secret).code == 0
    key = (mesh.home / "sql" / "client.crdbmesh.key").read_text().splitlines()[1]
    status, commands = mesh.doors.ask("GET", f"{mesh.coordinates['report_url']}commands")
    assert status == 200
    shown = str(commands)
    assert "--user=crdbmesh" in shown
    assert "hunter22" not in shown
    assert key not in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["narnia"], "REGION = narnia is not a region of the mesh"),
        (["--user", "no one"], "is not a name of a SQL user"),
        (["--user", "node"], "is reserved by CockroachDB"),
        (["--output", "json"], "works with -e only"),
    ],
)
def test_what_is_wrong_is_told_with_its_remedy(mesh: Any, arguments: list[str], said: str) -> None:
    run = mesh.run("sql", *arguments)
    assert run.code == 2
    assert said in " ".join(run.stderr.split())


def test_the_shell_at_a_terminal(mesh: Any) -> None:
    with Typed(mesh, "sql", "westus") as typed:
        typed.await_text(r"Welcome to the CockroachDB SQL shell")
        prompt = r"crdbmesh@cockroachdb-public\.westus\.svc\.cluster\.local:26257/defaultdb> "
        typed.await_text(prompt)
        typed.type("SELECT gateway_region()\r")
        typed.await_text(r"-> ")
        typed.type("AS here;\r")
        typed.await_text(r"  here\s+-+\s+westus\s+\(1 row\)")
        typed.await_text(prompt)
        typed.type("SELECT * FROM nowhere;\r")
        typed.await_text(r"SQLSTATE: 42P01")
        typed.await_text(prompt)
        typed.type("\\! stty size\r")
        typed.await_text(r"\n24 80\r\n")
        typed.await_text(prompt)
        typed.resize(132, 50)
        typed.type("SELECT 1 AS seen;\r")
        typed.await_text(prompt)
        typed.type("\\! stty size\r")
        typed.await_text(r"\n50 132\r\n")
        typed.type("SELECT\r")
        typed.await_text(r"-> ")
        typed.type("\x03")
        typed.await_text(prompt)
        typed.type("\\q\r")
        assert typed.end() == 0


def test_a_stream_that_breaks_before_anything_ran_is_said(mesh: Any) -> None:
    mesh.doors.misbehave({"kube.exec_broken": 1.0})
    try:
        run = mesh.run("sql", "westus", "-e", "SELECT 1")
    finally:
        mesh.doors.misbehave({})
    assert run.code == 1
    assert "the database does not answer" in run.stderr
    assert "the stream broke" in " ".join(run.stderr.split())
    assert "umask" not in run.stderr


def test_a_shell_whose_pod_is_deleted_ends_and_gives_the_terminal_back(mesh: Any) -> None:
    with Typed(mesh, "sql", "westus") as typed:
        typed.await_text(r"defaultdb> ")
        pods = "/api/v1/namespaces/westus/pods"
        _, found = mesh.doors.kube("westus", "GET", f"{pods}?labelSelector=app%3Dcockroachdb-client")
        mesh.doors.kube("westus", "DELETE", f"{pods}/{found['items'][0]['metadata']['name']}")
        assert typed.end() == 137
