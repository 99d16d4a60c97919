"""Files over SSH: SFTP with paramiko and OpenSSH, and both kinds of scp."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from simulator.tests.machines.conftest import Town


def test_files_are_written_read_renamed_and_removed(inn: Town) -> None:
    with inn.client("inn").open_sftp() as sftp:
        sftp.mkdir("box", 0o750)
        with sftp.open("box/file", "w") as file:
            file.write("first\n")
        with sftp.open("box/file", "a") as file:
            file.write("second\n")
        sftp.chmod("box/file", 0o600)
        assert stat.S_IMODE(sftp.stat("box/file").st_mode or 0) == 0o600
        sftp.posix_rename("box/file", "box/other")
        assert sftp.listdir("box") == ["other"]
        with sftp.open("box/other") as file:
            assert file.read() == b"first\nsecond\n"
        sftp.symlink("other", "box/link")
        assert (sftp.readlink("box/link"), sftp.stat("box/link").st_size) == ("other", 13)
        assert stat.S_ISLNK(sftp.lstat("box/link").st_mode or 0)
        assert sftp.normalize(".") == "/home/azureuser"
        for name in ("box/link", "box/other"):
            sftp.remove(name)
        sftp.rmdir("box")
        with pytest.raises(FileNotFoundError):
            sftp.stat("box")


def test_the_user_has_no_more_rights_than_in_a_shell(inn: Town) -> None:
    with inn.client("inn").open_sftp() as sftp:
        with pytest.raises(PermissionError):
            sftp.open("/etc/k3s.yaml", "w")
        with pytest.raises(PermissionError):
            sftp.open("/etc/ssh/ssh_host_ed25519_key", "r")
        with pytest.raises(PermissionError):
            sftp.listdir("/root")
        with pytest.raises(PermissionError):
            sftp.chmod("/etc/hostname", 0o666)
        assert sftp.open("/etc/hostname").read() == b"inn\n"


def test_each_change_is_one_write_and_reading_is_none(inn: Town) -> None:
    before = inn.world.writes["ssh"]
    with inn.client("inn").open_sftp() as sftp:
        sftp.listdir("/etc")
        sftp.stat("/etc/hostname")
        with sftp.open("/etc/hostname") as file:
            file.read()
        assert inn.world.writes["ssh"] == before
        with sftp.open("w", "w") as file:
            file.write("a")
            file.write("b")
        sftp.posix_rename("w", "v")
        sftp.remove("v")
    assert inn.world.writes["ssh"] == before + 3


def test_openssh_sftp_and_scp_move_files_both_ways(town: Town, identity: list[str], tmp_path: Path) -> None:
    town.add("a")
    town.settle("a")
    source, back, old = tmp_path / "source", tmp_path / "back", tmp_path / "old"
    source.write_bytes(bytes(range(256)) * 1000)
    place = f"azureuser@{town.address('a')}"
    batch = f"put {source} one\nrename one two\nchmod 640 two\nln -s two three\nls -l\nget three {back}\n"
    options = [*identity, "-P", "2222"]
    subprocess.run(
        ["sftp", *options, "-b", "-", place], input=batch.encode(), check=True, timeout=20, stdout=subprocess.PIPE
    )
    assert back.read_bytes() == source.read_bytes()
    assert town.run("a", "stat -c '%a %s' two").stdout == "640 256000\n"
    old.mkdir()
    town.run("a", "mkdir box; touch box/x1 box/x2 box/y")
    subprocess.run(["scp", "-O", *options, f"{place}:box/x*", str(old)], check=True, timeout=20)
    assert sorted(each.name for each in old.iterdir()) == ["x1", "x2"]
    shutil.rmtree(old)
    for flags in ([], ["-O"]):
        subprocess.run(["scp", *flags, *options, str(source), f"{place}:four"], check=True, timeout=20)
        subprocess.run(["scp", *flags, *options, f"{place}:four", str(old)], check=True, timeout=20)
        assert old.read_bytes() == source.read_bytes()
        old.unlink()
        town.run("a", "rm four")
