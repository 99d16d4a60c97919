"""A login that does not work: why each credential fails is told in a line each, the same by every command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests import forks

EXPIRED = (
    "ERROR: AADSTS700082: The refresh token has expired due to inactivity. The token was issued on "
    "2026-01-05T10:44:20.3360000Z and was inactive for 90.00:00:00. Trace ID: 12345678-0000-4000-8000-000000000000"
)
DISABLED = "ERROR: AADSTS50057: The user account is disabled. Trace ID: 12345678-0000-4000-8000-000000000000"
COMMANDS = [
    ["doctor", "--regions", "eastus"],
    ["plan", "--regions", "eastus", "--allow-from", "203.0.113.7"],
    ["status", "login"],
    ["down", "login", "--yes"],
]


def crdbmesh(folder: Path, *arguments: str, az: str | None) -> tuple[subprocess.CompletedProcess[str], Any]:
    """Run a command with the developer's credentials, of which `az` says this; None: there is no `az`.

    It gets no further than asking for a token: Azure itself is not asked for anything.
    """
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    if az is not None:
        (programs / "az").write_text(f"#!/bin/sh\necho '{az}' >&2\nexit 1\n")
        (programs / "az").chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AZURE_")},
        "AZURE_TOKEN_CREDENTIALS": "dev",
        "AZURE_SUBSCRIPTION_ID": "00000000-0000-0000-0000-000000000001",
        "CRDBMESH_HOME": str(folder / "home"),
        "HOME": str(folder),
        "PATH": str(programs),
    }
    command = [sys.executable, "-m", "crdbmesh", *arguments, "--output", "json"]
    done = forks.run(command, env=environment, timeout=100)
    return done, json.loads(done.stdout)


@pytest.mark.parametrize(
    ("az", "told"),
    [
        (EXPIRED, "AzureCliCredential: AADSTS700082: The refresh token has expired due to inactivity"),
        (DISABLED, "AzureCliCredential: AADSTS50057: The user account is disabled"),
        (None, "AzureCliCredential: Azure CLI not found on path"),
    ],
    ids=["expired", "disabled", "absent"],
)
def test_every_command_says_in_a_line_why_each_credential_fails(tmp_path: Path, az: str | None, told: str) -> None:
    said = set()
    for arguments in COMMANDS if az == EXPIRED else COMMANDS[:1]:
        done, document = crdbmesh(tmp_path, *arguments, az=az)
        assert done.returncode in {1, 2, 3}
        lines = [line.strip("| ") for line in done.stderr.splitlines()] if arguments[0] != "doctor" else []
        if arguments[0] == "doctor":
            (check,) = (one for one in document["checks"] if one["check"] == "credential")
            lines = check["findings"][0]["reason"].splitlines()
        credentials = [line for line in lines if "Credential: " in line]
        assert told in credentials
        assert all(len(line) < 200 and "http" not in line for line in credentials)
        said.add(tuple(credentials))
    assert len(said) == 1
