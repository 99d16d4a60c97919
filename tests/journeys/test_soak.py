"""A short run of `make soak`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SEEDS = 4


@pytest.mark.timeout(300)
def test_seeds_of_faults_kills_and_damage_end_where_an_undisturbed_up_does_and_leave_nothing() -> None:
    command = [sys.executable, "-m", "tests.soak", "--seeds", str(SEEDS), "--jobs", "1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert ended.stdout == f"seeds={SEEDS} converged={SEEDS} leaked=0 split=0 tracebacks=0\n", ended.stderr
    assert ended.returncode == 0
