"""The login of azure-cli: one process for a whole command, asked for the subscription's own account."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crdbmesh.clients.cloud import Cloud, default_credential
from crdbmesh.commands import doctor, down, plan, status
from crdbmesh.errors import CrdbmeshError
from crdbmesh.local.folder import LocalFolder
from crdbmesh.spec import load as config

MESH = config.mesh({"name": "token", "regions": ["eastus"], "allow_from": ["127.0.0.1"]})


def run_doctor(cloud: Cloud, folder: LocalFolder) -> None:
    doctor.run_doctor(MESH, cloud, folder)


def run_plan(cloud: Cloud, folder: LocalFolder) -> None:
    plan.run_plan(MESH, cloud, folder)


def run_status(cloud: Cloud, folder: LocalFolder) -> None:
    status.run_status(MESH, cloud, folder)


def run_down(cloud: Cloud, folder: LocalFolder) -> None:
    down.find("token", cloud, folder)
    down.run_down("token", cloud, folder, notify=lambda _event: None)


COMMANDS = pytest.mark.parametrize("command", [run_doctor, run_plan, run_status, run_down])


@pytest.fixture
def az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put an `az` on the path that prints what it is given, or fails without; the file with a line for each call."""

    def install(printed: str) -> Path:
        asked, program = tmp_path / "asked", tmp_path / "bin" / "az"
        program.parent.mkdir()
        body = f"printf '%s' '{printed}'" if printed else "echo no login >&2; exit 1"
        program.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n{body}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
        return asked

    return install


def logged_in(azure: Any) -> Cloud:
    cloud: Cloud = azure.cloud
    return dataclasses.replace(cloud, credential=default_credential("login.microsoftonline.com", "sub-1"))


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for az")
@COMMANDS
def test_a_command_asks_for_one_token_of_the_subscriptions_account(
    azure: Any, az: Callable[[str], Path], command: Callable[..., None], tmp_path: Path
) -> None:
    asked = az(json.dumps({"accessToken": azure.world.coordinates["token"], "expires_on": 4102444800}))
    command(logged_in(azure), LocalFolder(tmp_path / "token"))
    (arguments,) = asked.read_text().splitlines()
    assert arguments.startswith("account get-access-token")
    assert "--subscription sub-1" in arguments


@COMMANDS
def test_a_login_that_fails_is_asked_once(
    azure: Any, az: Callable[[str], Path], command: Callable[..., None], tmp_path: Path
) -> None:
    asked = az("")
    with contextlib.suppress(CrdbmeshError):
        command(logged_in(azure), LocalFolder(tmp_path / "token"))
    assert len(asked.read_text().splitlines()) == 1
