"""Certificates that are about to end are issued anew, and in use, while the database serves."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any

import pytest

from crdbmesh.local import pki

SECRET = "/api/v1/namespaces/westus/secrets/{0}"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_certificates_are_renewed_before_they_end_and_long_after_and_the_database_reads_them(mesh: Any) -> None:
    ca = pki.read_key_pair((mesh.home / "ca" / "cockroach.pem").read_text())
    now = dt.datetime.now(dt.UTC)
    ending = pki.issue_cockroach_node(ca, "westus", now=now - dt.timedelta(days=pki.LEAF_DAYS - 20))
    ended = pki.issue_cockroach_client(ca, "root", now=now - dt.timedelta(days=100), days=90)
    for secret, leaf, pair in (("cockroachdb.node", "node", ending), ("cockroachdb.client.root", "client.root", ended)):
        data = {f"{leaf}.crt": pair.cert_pem, f"{leaf}.key": pair.key_pem}
        body = {"data": {name: base64.b64encode(text.encode()).decode() for name, text in data.items()}}
        status, answer = mesh.doors.kube("westus", "PATCH", SECRET.format(secret), body)
        assert status == 200, answer

    seen = mesh.run("status", "--output", "json")
    assert (seen.code, seen.document["certificates"]["bad"]) == (10, True)
    assert "ended on" in mesh.run("status").stdout
    ran = mesh.run("up", "--yes", "--output", "json")
    assert ran.code == 0, ran.stderr
    changed = [step["step"] for step in ran.document["steps"] if step["outcome"] == "changed"]
    assert changed == ["westus/certificates"]
    status, pod = mesh.doors.kube("westus", "GET", "/api/v1/namespaces/westus/pods/cockroachdb-0")
    assert status == 200
    assert "crdbmesh/certificate-loaded" in pod["metadata"]["annotations"]
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    assert mesh.run("sql", "westus", "-e", "SELECT 1").code == 0
    assert mesh.run("verify", "--output", "json").code == 0
    assert "The first certificate to end is" in mesh.run("status").stdout
    again = mesh.run("up", "--yes", "--output", "json")
    assert (again.code, again.document["changed"]) == (0, 0)
