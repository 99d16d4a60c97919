"""SQL in the client's container: one store for all nodes, users who need a certificate and privileges, formats."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

BINARY = "/cockroach/cockroach"
CERTS = "/cockroach/cockroach-certs"


class Database:
    """Three nodes in two regions, initialised; the boxes are their pods."""

    def __init__(self, bench: Any, ca: Any) -> None:
        self.bench = bench
        cluster = bench.cluster(1, nodes=3)
        bench.namespace(cluster, "east")
        bench.coredns(cluster)
        self.boxes = [
            bench.cockroach(
                cluster, f"n1{number}", number, ca=ca, namespace="east", join=["cockroachdb-0.cockroachdb:26257"],
                locality=f"region={'west' if number == 2 else 'east'},zone={number}",
            )
            for number in range(3)
        ]  # fmt: skip
        bench.headless(cluster, "east", self.boxes)
        bench.advance(8)
        self.run("init", f"--certs-dir={CERTS}", "--host=cockroachdb-0.cockroachdb")
        bench.advance(15)
        for user in ("alice", "bob"):
            cert, key = ca.issue(user, [])
            files = self.boxes[0].programs["db"].container.files
            files[f"{CERTS}/client.{user}.crt"], files[f"{CERTS}/client.{user}.key"] = cert, key

    def run(self, *words: str, stdin: bytes = b"") -> Any:
        return next(iter(self.boxes[0].programs.values())).exec([BINARY, *words], stdin)

    def sql(self, *statements: str, node: int = 0, user: str = "root", form: str = "csv") -> Any:
        words = [word for statement in statements for word in ("-e", statement)]
        flags = [f"--certs-dir={CERTS}", f"--host=cockroachdb-{node}.cockroachdb", f"--format={form}", f"--user={user}"]
        return self.run("sql", *flags, *words)

    def rows(self, *statements: str, **more: Any) -> list[str]:
        answer = self.sql(*statements, **more)
        assert answer.exit_code == 0, answer.stderr
        return list(answer.stdout.decode().splitlines())

    def refusal(self, *statements: str, **more: Any) -> str:
        answer = self.sql(*statements, **more)
        assert answer.exit_code == 1, answer.stdout
        return str(answer.stderr.decode())


@pytest.fixture
def database(bench: Any, ca: Any) -> Database:
    return Database(bench, ca)


def test_rows_written_at_one_node_are_read_at_another(database: Database) -> None:
    made = database.rows(
        "CREATE DATABASE bank",
        "CREATE TABLE bank.accounts (id UUID PRIMARY KEY DEFAULT gen_random_uuid(), owner STRING NOT NULL, sum INT)",
        "INSERT INTO bank.accounts (owner, sum) VALUES ('a', 1), ('b', NULL)",
        "UPSERT INTO bank.public.accounts VALUES ('1', 'c', 3)",
    )
    assert made == ["CREATE DATABASE", "CREATE TABLE", "INSERT 0 2", "INSERT 0 1"]
    read = "SELECT owner, sum FROM bank.accounts ORDER BY owner"
    assert database.rows(read, node=2) == ["owner,sum", "a,1", "b,NULL", "c,3"]
    assert database.rows("USE bank", "SHOW TABLES", node=1)[1:] == [
        "schema_name,table_name,type,owner,estimated_row_count,locality",
        "public,accounts,table,root,3,NULL",
    ]
    assert database.rows("SELECT gateway_region()", node=2) == ["gateway_region", "west"]


def test_a_databases_regions_are_the_clusters_and_a_region_failure_needs_three(database: Database) -> None:
    assert database.rows("SHOW REGIONS FROM CLUSTER") == ["region,zones", 'east,"{0,1}"', "west,{2}"]
    assert database.rows(
        "CREATE DATABASE d", 'ALTER DATABASE d SET PRIMARY REGION "east"', 'ALTER DATABASE d ADD REGION "west"'
    ) == ["CREATE DATABASE", "ALTER DATABASE PRIMARY REGION", "ALTER DATABASE ADD REGION"]
    assert 'd,root,east,NULL,"{east,west}",zone' in database.rows("SHOW DATABASES")
    assert "at least 3 regions are required" in database.refusal("ALTER DATABASE d SURVIVE REGION FAILURE")
    assert 'region "north" does not exist' in database.refusal('ALTER DATABASE d ADD REGION "north"')


def test_a_user_needs_to_exist_a_certificate_of_that_name_and_privileges(database: Database) -> None:
    assert "password authentication failed for user alice" in database.refusal("SELECT 1", user="alice")
    database.rows(
        "CREATE USER alice", "CREATE USER bob WITH PASSWORD 'x'", "GRANT admin TO alice", "CREATE TABLE t (i INT)"
    )
    assert database.rows("SHOW USERS", user="alice")[1:3] == ["admin,,{}", "alice,,{admin}"]
    denied = database.refusal("SELECT * FROM t", user="bob")
    assert "user bob does not have SELECT privilege on relation t\nSQLSTATE: 42501" in denied
    assert "does not have the privilege" in database.refusal("CREATE DATABASE b", user="bob")
    database.rows("GRANT SELECT ON TABLE t TO bob")
    assert database.rows("SELECT count(*) FROM t", user="bob") == ["count", "0"]
    assert "INSERT privilege" in database.refusal("INSERT INTO t VALUES (1)", user="bob")
    assert "client cert for user carol: not found" in database.refusal("SELECT 1", user="carol")


def test_formats_are_those_of_the_binary(database: Database) -> None:
    rows = "SELECT 1 AS id, 'long enough' AS n UNION SELECT 22, NULL"
    shown = database.sql(rows, form="table").stdout.decode()
    assert shown == "  id |      n\n-----+--------------\n   1 | long enough\n  22 | NULL\n(2 rows)\n"
    assert database.rows(rows, form="tsv") == ["id\tn", "1\tlong enough", "22\tNULL"]
    assert database.rows(rows, form="records")[:3] == ["-[ RECORD 1 ]", "id | 1", "n  | long enough"]
    assert json.loads(database.sql(rows, form="json").stdout) == [
        {"id": "1", "n": "long enough"},
        {"id": "22", "n": "NULL"},
    ]
    assert database.sql("SET application_name = 'x'", form="json").stdout == b"[SET\n\n]\n"


def test_what_is_not_known_says_so_and_the_first_error_ends_a_script(database: Database) -> None:
    refused = database.refusal("CREATE CHANGEFEED FOR t")
    assert "the simulated CockroachDB does not know this statement" in refused
    assert [unknown.door for unknown in database.bench.world.unknown] == ["sql"]
    script = b"SELECT 'a;b' AS v; -- a remark; not a statement\nSELECT * FROM absent;\nSELECT 3;"
    answer = database.run("sql", f"--certs-dir={CERTS}", "--host=cockroachdb-0.cockroachdb", stdin=script)
    assert (answer.exit_code, answer.stdout) == (1, b"v\na;b\n")
    assert answer.stderr == b'ERROR: relation "absent" does not exist\nSQLSTATE: 42P01\nFailed running "sql"\n'


def test_without_a_quorum_nothing_is_answered(database: Database) -> None:
    for box in database.boxes[1:]:
        box.programs.clear()
    database.bench.advance(20)
    assert "timeout: context deadline exceeded" in database.refusal("SELECT 1")


UNSAFE = "SET allow_unsafe_internals = true"


def test_internals_and_system_tables_are_closed_to_sessions_that_do_not_ask(database: Database) -> None:
    place = "UPSERT INTO system.locations VALUES ('region', 'east', 1.5, -2.5)"
    for statement in ("SELECT crdb_internal.cluster_id()", "SELECT * FROM system.locations", place):
        assert "SQLSTATE: 42501" in database.refusal(statement)
    asked = 'SELECT "localityValue", latitude, longitude FROM system.locations'
    assert database.rows(UNSAFE, place, place, asked)[-1] == "east,1.5,-2.5"


def test_a_license_is_a_key_with_an_end_which_metrics_count_down_to(database: Database) -> None:
    metric = "SELECT value FROM crdb_internal.node_metrics WHERE name = 'seconds.until.license.expiry'"
    assert database.rows(UNSAFE, metric)[-1] == "0"
    for wrong in ("crl-0-!", "crl-0-EP", "key"):
        refusal = database.refusal(f"SET CLUSTER SETTING enterprise.license = '{wrong}'")
        assert "invalid license string" in refusal
    # valid_until_unix_sec (field 2) is 4102444800: the year 2100.
    key = "crl-0-" + base64.b64encode(b"\x10\x80\xae\x99\xa4\x0f\x18\x01").decode().rstrip("=")
    database.rows(f"SET CLUSTER SETTING enterprise.license = '{key}'")
    assert database.rows("SHOW CLUSTER SETTING enterprise.license")[-1] == key
    assert int(database.rows(UNSAFE, metric)[-1]) > 10 * 365 * 86400
    database.rows("CREATE USER alice")
    assert "SQLSTATE: 42501" in database.refusal("SHOW CLUSTER SETTING enterprise.license", user="alice")


def test_zone_configurations_are_shown_as_they_are_printed_and_refused_where_they_make_no_sense(
    database: Database,
) -> None:
    shown = json.loads(database.sql("SHOW ALL ZONE CONFIGURATIONS", form="json").stdout)
    zones = {one["target"]: one["raw_config_sql"] for one in shown}
    assert "num_replicas = 5,\n\tconstraints = '[]'" in zones["RANGE meta"]
    assert "num_replicas" not in zones["TABLE system.public.replication_stats"]
    alter = "ALTER RANGE meta CONFIGURE ZONE USING "
    made = f"""{alter}num_replicas = 3, constraints = '{{"+region=west": 1, "+region=east": 2}}'"""
    assert database.rows(made) == ["CONFIGURE ZONE 1"]
    (meta,) = [one for one in database.rows("SHOW ZONE CONFIGURATIONS") if "{+region=east: 2, +region=west: 1}" in one]
    assert "constraints" in meta
    refused = {
        "num_replicas = 2": "at least 3 replicas are required",
        "num_replicas = 1": "cannot be greater than the number of replicas configured",
        """constraints = '{"+region=mars": 1}'""": "matches no existing nodes",
        "num_replicas 3": "syntax error",
    }
    for values, reason in refused.items():
        assert reason in database.refusal(alter + values)


def test_schedules_of_backups_take_known_times_and_are_dropped_by_number(database: Database) -> None:
    at = "s3://c/m"
    create = "CREATE SCHEDULE s FOR BACKUP INTO '{}' RECURRING '{}' FULL BACKUP '@daily'"
    assert "error parsing schedule" in database.refusal(create.format(at, "@never"))
    assert len(database.rows(create.format(at, "@hourly"))) == 3
    shown = database.rows("SHOW SCHEDULES FOR BACKUP")
    assert [line.split(",")[3] for line in shown[1:]] == ["@hourly", "@daily"]
    assert database.rows(f"DROP SCHEDULE {shown[1].split(',')[0]}") == ["DROP SCHEDULES 1"]
    assert len(database.rows("SHOW SCHEDULES FOR BACKUP")) == 2
    assert "unsupported storage scheme" in database.refusal("BACKUP INTO 's3://elsewhere'")
