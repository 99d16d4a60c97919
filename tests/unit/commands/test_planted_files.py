"""Files that somebody else planted: every command refuses them at once, and nothing that they lead to is touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from crdbmesh.local import contents
from crdbmesh.local.folder import SPEC, LocalFolder
from crdbmesh.terminal import app as cli

ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
COMMANDS = [
    ["up", "--yes", "--allow-from", "127.0.0.1"],
    ["plan", "--allow-from", "127.0.0.1"],
    ["status", "planted"],
    ["doctor"],
    ["kubeconfig", "planted"],
    ["down", "planted", "--yes"],
]
BAIT = "precious"


def lock(folder: Path, bait: Path) -> None:
    (folder / "lock").symlink_to(bait / "file")


def journals(folder: Path, bait: Path) -> None:
    (folder / "journals").symlink_to(bait)


def keys(folder: Path, bait: Path) -> None:
    (folder / "tokens").symlink_to(bait)


def mesh_folder(folder: Path, bait: Path) -> None:
    real = folder.rename(bait / "real")
    folder.symlink_to(real)


def spec(folder: Path, bait: Path) -> None:
    (folder / SPEC).rename(bait / SPEC)
    (folder / SPEC).symlink_to(bait / SPEC)


def fifo(folder: Path, bait: Path) -> None:
    os.mkfifo(folder / contents.CILIUM_CA.replace("/", "-"))


def root_that_others_write_to(folder: Path, bait: Path) -> None:
    folder.parent.chmod(0o777)


def level_above_that_others_write_to(folder: Path, bait: Path) -> None:
    folder.parent.parent.chmod(0o770)


def others_key(folder: Path, bait: Path) -> None:
    (folder / contents.LOGIN_KEY).write_text("theirs")
    os.chown(folder / contents.LOGIN_KEY, 12345, 12345)


def others_root(folder: Path, bait: Path) -> None:
    os.chown(folder.parent, 12345, 12345)


def others_level_above(folder: Path, bait: Path) -> None:
    os.chown(folder.parent.parent, 12345, 12345)


ANYBODYS = [lock, journals, keys, mesh_folder, spec, fifo, root_that_others_write_to, level_above_that_others_write_to]
GIVEN = [others_key, others_root, others_level_above]


@pytest.mark.parametrize(
    "plant", [*ANYBODYS, *(pytest.param(one, marks=ROOT) for one in GIVEN)], ids=lambda plant: plant.__name__
)
def test_every_command_refuses_it_and_touches_nothing(
    azure: Any, plant: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    folder, bait = tmp_path / "above" / "home" / "planted", tmp_path / "bait"
    LocalFolder(folder).write(SPEC, "name: planted\nregions: [eastus]\n")
    bait.mkdir(mode=0o755)
    (bait / "file").write_text(BAIT)
    azure.put_group("planted", crdbmesh="planted")
    plant(folder, bait)
    before, writes = seen(bait), azure.world.writes()
    environment = {"CRDBMESH_HOME": str(folder.parent), "CRDBMESH_CLOUD": str(azure.world.cloud_file)}
    for command in COMMANDS:
        shown = CliRunner().invoke(cli.app, command, env=environment)
        assert shown.exit_code == 3, (command, shown.output)
        assert "nothing was changed" in shown.output or command == ["doctor"]
        assert seen(bait) == before, command
    assert azure.world.writes() == writes
    assert azure.group_exists("planted")


def seen(folder: Path) -> list[tuple[str, int, str]]:
    """What is in a folder: each name with its mode and content."""
    found = [folder, *sorted(folder.rglob("*"))]
    return [(str(one), one.stat().st_mode, one.read_text() if one.is_file() else "") for one in found]


def test_a_folder_of_all_meshes_that_is_the_operators_own_link_is_followed(azure: Any, tmp_path: Path) -> None:
    LocalFolder(tmp_path / "disk" / "planted").write(SPEC, "name: planted\nregions: [eastus]\n")
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    LocalFolder(tmp_path / "home" / "planted").require_safe()
    (tmp_path / "disk").chmod(0o1777)
    LocalFolder(tmp_path / "home" / "planted").require_safe()
