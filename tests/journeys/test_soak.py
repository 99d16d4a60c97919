"""A short run of `make soak`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.soak import crowded

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("first", "seeds"), [(35, 2), (101, 6)])
def test_seeds_of_faults_kills_and_damage_end_where_an_undisturbed_up_does(first: int, seeds: int) -> None:
    command = [sys.executable, "-m", "tests.soak", "--first", str(first), "--seeds", str(seeds), "--jobs", "1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=380, check=False)
    assert ended.stdout == f"seeds={seeds} converged={seeds} leaked=0 split=0 tracebacks=0\n", ended.stderr
    assert ended.returncode == 0


@pytest.mark.parametrize("seed", [3, 4])
def test_seeds_of_other_people_end_with_all_that_is_theirs(seed: int) -> None:
    outcome = crowded.run(seed, scale=300)
    assert outcome.good, outcome.notes
