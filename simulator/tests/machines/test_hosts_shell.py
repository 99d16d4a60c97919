"""The shell of a machine: what bash and dash print and end with. The cases are in shell_cases.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from simulator.tests.machines.conftest import Town

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("shell_cases.yaml").read_text())


@pytest.mark.parametrize("case", CASES, ids=[f"{case['shell']}: {case['claim']}" for case in CASES])
def test_a_script_prints_and_ends_as_in_the_real_shell(inn: Town, case: dict[str, Any]) -> None:
    if case["shell"] == "bash":
        done = inn.run("inn", case["script"])
    else:
        done = inn.run("inn", "sh -s", stdin=case["script"].encode())
    assert (done.stdout, done.status) == (case["stdout"], case.get("status", 0)), done.stderr
