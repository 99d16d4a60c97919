"""kubeconfig documents and files."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from crdbmesh.errors import ConfigError
from crdbmesh.local import kubeconfig

NOW = dt.datetime(2026, 11, 23, 4, 5, 6, tzinfo=dt.UTC)
K3S = """\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: ZGVmYXVsdCAxMjcuMC4wLjE=
    server: https://127.0.0.1:6443
  name: default
contexts:
- context:
    cluster: default
    user: default
  name: default
current-context: default
kind: Config
preferences: {}
users:
- name: default
  user:
    client-certificate-data: Y2VydA==
    client-key-data: a2V5
"""
USERS = """\
apiVersion: v1
kind: Config
preferences:
  colors: true
clusters:
- name: work
  cluster: {server: "https://work.example.com", certificate-authority: /etc/ca.pem}
- name: crdb-k3s-eastus
  cluster: {server: "https://old:6443"}
contexts:
- name: work
  context: {cluster: work, user: me, namespace: mine}
- name: crdb-k3s-eastus
  context: {cluster: crdb-k3s-eastus, user: crdb-k3s-eastus}
users:
- name: me
  user:
    auth-provider:
      name: oidc
      config: {expiry: 2026-01-01T00:00:00Z}
- name: crdb-k3s-eastus
  user: {token: old}
current-context: work
extensions: []
"""


def region(name: str, server: str = "https://20.1.2.3:6443") -> dict[str, Any]:
    return kubeconfig.rewrite(kubeconfig.parse(K3S), server=server, context=f"crdb-k3s-{name}")


def points(config: dict[str, Any]) -> kubeconfig.Points:
    found = kubeconfig.points_at(config)
    assert found is not None
    return found


def names(config: dict[str, Any], field: str) -> list[str]:
    return [entry["name"] for entry in config[field]]


def write_merged(path: Path, add: list[dict[str, Any]], *, switch: str | None, now: dt.datetime) -> Path | None:
    return kubeconfig.change_file(path, lambda config: kubeconfig.merge(config, add, switch=switch), now=now)


class TestParse:
    """Reading documents."""

    def test_k3s_own_file_is_read(self) -> None:
        assert kubeconfig.current(kubeconfig.parse(K3S))["cluster"]["server"] == "https://127.0.0.1:6443"

    def test_an_empty_file_is_a_config_without_entries(self) -> None:
        assert kubeconfig.parse("") == kubeconfig.empty()

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("users: [{name: x, user: {token: hunter2}", r"is not valid YAML \(line 1, column"),
            ("hunter2", "is not a mapping"),
            ("users: hunter2", "users is not a list"),
            ("contexts: [hunter2]", "an entry of contexts has no name"),
            ("users: [{name: u, user: hunter2}]", "an entry of users is not a mapping"),
        ],
    )
    def test_what_is_no_kubeconfig_is_refused_without_quoting_it(self, text: str, reason: str) -> None:
        with pytest.raises(ConfigError, match=reason) as caught:
            kubeconfig.parse(text, source="/home/me/.kube/config")
        assert "hunter2" not in f"{caught.value}{caught.value.__cause__}"
        assert "/home/me/.kube/config" in str(caught.value)

    def test_dates_come_out_as_they_went_in(self) -> None:
        assert "expiry: '2026-01-01T00:00:00Z'" in kubeconfig.dump(kubeconfig.parse(USERS))


class TestRewrite:
    """Renaming and repointing."""

    def test_names_and_host_change_and_nothing_else(self) -> None:
        assert region("eastus") == {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "crdb-k3s-eastus",
                    "cluster": {
                        "certificate-authority-data": "ZGVmYXVsdCAxMjcuMC4wLjE=",
                        "server": "https://20.1.2.3:6443",
                    },
                }
            ],
            "contexts": [
                {
                    "name": "crdb-k3s-eastus",
                    "context": {"cluster": "crdb-k3s-eastus", "user": "crdb-k3s-eastus"},
                }
            ],
            "users": [
                {
                    "name": "crdb-k3s-eastus",
                    "user": {"client-certificate-data": "Y2VydA==", "client-key-data": "a2V5"},
                }
            ],
            "current-context": "crdb-k3s-eastus",
        }

    @pytest.mark.parametrize("missing", ["current-context", "clusters", "users", "contexts"])
    def test_something_missing_is_said(self, missing: str) -> None:
        config = kubeconfig.parse(K3S)
        del config[missing]
        with pytest.raises(ConfigError, match=r"has no (current-context|cluster|user|context)"):
            kubeconfig.rewrite(config, server="https://1.2.3.4", context="x")


class TestMerge:
    """Merging into the user's own, and taking out again."""

    def test_same_names_are_replaced_in_place_and_the_rest_stays(self) -> None:
        before = kubeconfig.parse(USERS)
        merged = kubeconfig.merge(before, [region("eastus"), region("westus")], switch=None)
        assert names(merged, "contexts") == ["work", "crdb-k3s-eastus", "crdb-k3s-westus"]
        assert names(merged, "users") == ["me", "crdb-k3s-eastus", "crdb-k3s-westus"]
        assert merged["clusters"][0] == before["clusters"][0]
        assert merged["clusters"][1]["cluster"]["server"] == "https://20.1.2.3:6443"
        assert merged["current-context"] == "work"
        assert merged["preferences"] == {"colors": True}
        assert before == kubeconfig.parse(USERS)

    def test_the_current_context_changes_only_when_asked(self) -> None:
        merged = kubeconfig.merge(kubeconfig.parse(USERS), [region("eastus")], switch="crdb-k3s-eastus")
        assert merged["current-context"] == "crdb-k3s-eastus"

    def test_merging_twice_changes_nothing(self) -> None:
        once = kubeconfig.merge(kubeconfig.parse(USERS), [region("eastus")], switch=None)
        assert kubeconfig.merge(once, [region("eastus")], switch=None) == once

    def test_lists_that_are_null_are_empty(self) -> None:
        merged = kubeconfig.merge({"clusters": None, "users": None}, [region("eastus")], switch=None)
        assert names(merged, "users") == ["crdb-k3s-eastus"]

    def test_removing_undoes_merging(self) -> None:
        before = kubeconfig.parse(USERS)
        merged = kubeconfig.merge(before, [region("westus")], switch="crdb-k3s-westus")
        removed, gone = kubeconfig.remove(merged, {points(region("westus")), ("https://absent", "none")})
        assert gone == ("crdb-k3s-westus",)
        assert removed == {**before, "current-context": ""}

    def test_what_points_elsewhere_is_not_removed_whatever_its_name(self) -> None:
        before = kubeconfig.parse(USERS)
        assert kubeconfig.remove(before, {points(region("eastus"))}) == (before, ())

    def test_every_context_of_a_cluster_that_goes_goes_and_no_user_of_another(self) -> None:
        config = kubeconfig.merge({}, [region("eastus")], switch=None)
        config["contexts"].append({"name": "mine", "context": {"cluster": "crdb-k3s-eastus", "user": "me"}})
        config["users"].append({"name": "me", "user": {"token": "t"}})
        removed, gone = kubeconfig.remove(config, {points(region("eastus"))})
        assert gone == ("crdb-k3s-eastus", "mine")
        assert (names(removed, "clusters"), names(removed, "users")) == ([], ["me"])


class TestChooseName:
    """Two meshes in one region."""

    NAMES = ("crdb-k3s-eastus", "crdb-k3s-eastus-prod")

    def choose(self, into: dict[str, Any]) -> str:
        return kubeconfig.choose_name(into, region("eastus"), self.NAMES)

    def test_a_name_that_is_free_or_its_own_is_taken(self) -> None:
        assert self.choose(kubeconfig.empty()) == "crdb-k3s-eastus"
        assert self.choose(kubeconfig.merge({}, [region("eastus")], switch=None)) == "crdb-k3s-eastus"

    @pytest.mark.parametrize("change", [{"server": "https://old:6443"}, {"certificate-authority-data": "b3RoZXI="}])
    def test_an_entry_that_points_at_another_server_or_ca_keeps_its_name(self, change: dict[str, str]) -> None:
        other = region("eastus")
        other["clusters"][0]["cluster"] |= change
        into = kubeconfig.merge({}, [other], switch=None)
        assert self.choose(into) == "crdb-k3s-eastus-prod"
        own = kubeconfig.rewrite(region("eastus"), server="https://20.1.2.3:6443", context="crdb-k3s-eastus-prod")
        assert self.choose(kubeconfig.merge(into, [own], switch=None)) == "crdb-k3s-eastus-prod"

    @pytest.mark.parametrize("field", ["clusters", "users"])
    def test_a_cluster_or_a_user_of_that_name_alone_keeps_it_too(self, field: str) -> None:
        other = {**kubeconfig.empty(), field: region("eastus", "20.9.9.9")[field]}
        assert self.choose(other) == "crdb-k3s-eastus-prod"

    def test_with_both_names_taken_it_is_refused_with_the_way_out(self) -> None:
        others = [
            kubeconfig.rewrite(region("eastus"), server="https://20.9.9.9:6443", context=name) for name in self.NAMES
        ]
        with pytest.raises(ConfigError, match=r"another cluster \(https://20.9.9.9:6443\).*--replace"):
            self.choose(kubeconfig.merge({}, others, switch=None))


class TestUserPath:
    """Which file is the user's."""

    def test_it_is_in_the_home_folder_by_default(self, tmp_path: Path) -> None:
        assert kubeconfig.user_path({}, tmp_path) == tmp_path / ".kube" / "config"
        assert kubeconfig.user_path({"KUBECONFIG": ""}, tmp_path) == tmp_path / ".kube" / "config"

    def test_of_several_it_is_the_first_that_exists_else_the_last(self, tmp_path: Path) -> None:
        first, second, third = (tmp_path / name for name in ("1", "2", "3"))
        environ = {"KUBECONFIG": os.pathsep.join(map(str, ["", first, second, third]))}
        assert kubeconfig.user_path(environ, tmp_path) == third
        second.touch()
        assert kubeconfig.user_path(environ, tmp_path) == second
        assert kubeconfig.user_path({"KUBECONFIG": str(first)}, tmp_path) == first


class TestFile:
    """Changing the user's file."""

    def mode(self, path: Path) -> int:
        return path.stat().st_mode & 0o777

    def test_a_missing_file_is_made_private_with_its_folder(self, tmp_path: Path) -> None:
        path = tmp_path / "home" / ".kube" / "config"
        assert write_merged(path, [region("eastus")], switch=None, now=NOW) is None
        assert (self.mode(path), self.mode(path.parent)) == (0o600, 0o700)
        assert names(kubeconfig.parse(path.read_text()), "contexts") == ["crdb-k3s-eastus"]
        assert [entry.name for entry in path.parent.iterdir()] == ["config"]

    def test_the_old_file_is_kept_as_a_private_backup(self, tmp_path: Path) -> None:
        path = tmp_path / "config"
        path.write_text(USERS)
        path.chmod(0o644)
        backup = write_merged(path, [region("eastus")], switch=None, now=NOW)
        assert backup == tmp_path / "config.crdbmesh-20261123T040506.bak"
        assert backup.read_text() == USERS
        assert self.mode(backup) == self.mode(path) == 0o600
        second = write_merged(path, [region("westus")], switch=None, now=NOW)
        assert second is not None
        assert second != backup

    def test_a_file_that_needs_no_change_is_not_touched(self, tmp_path: Path) -> None:
        path = tmp_path / "config"
        write_merged(path, [region("eastus")], switch=None, now=NOW)
        before = path.stat()
        assert write_merged(path, [region("eastus")], switch=None, now=NOW) is None
        after = path.stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    def test_a_symbolic_link_is_followed_and_stays(self, tmp_path: Path) -> None:
        real = tmp_path / "dotfiles" / "kube"
        real.parent.mkdir()
        real.write_text(USERS)
        link = tmp_path / "config"
        link.symlink_to(real)
        backup = write_merged(link, [region("eastus")], switch=None, now=NOW)
        assert link.is_symlink()
        assert "https://20.1.2.3:6443" in real.read_text()
        assert backup is not None
        assert backup.parent == real.parent

    @pytest.mark.parametrize("content", [b"users: [", b"just text", b"\xff\xfe\x00"])
    def test_a_file_that_is_no_kubeconfig_is_refused_and_not_touched(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "config"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="config"):
            write_merged(path, [region("eastus")], switch=None, now=NOW)
        assert path.read_bytes() == content
        assert [entry.name for entry in tmp_path.iterdir()] == ["config"]

    def test_a_file_that_kubectl_is_changing_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "config"
        path.write_text(USERS)
        lock = tmp_path / "config.lock"
        lock.touch()
        with pytest.raises(ConfigError, match="is being changed by another program"):
            write_merged(path, [region("eastus")], switch=None, now=NOW)
        assert path.read_text() == USERS
        lock.unlink()
        write_merged(path, [region("eastus")], switch=None, now=NOW)
        assert not lock.exists()

    @pytest.mark.parametrize("kind", ["folder", "fifo", "device", "link to a fifo"])
    def test_what_is_no_regular_file_is_refused_at_once_and_stays(self, tmp_path: Path, kind: str) -> None:
        path = Path("/dev/null") if kind == "device" else tmp_path / "config"
        if kind == "folder":
            path.mkdir()
        elif kind != "device":
            os.mkfifo(tmp_path / "fifo")
            path.symlink_to(tmp_path / "fifo")
            path = path if kind == "link to a fifo" else tmp_path / "fifo"
        before = path.lstat()
        with pytest.raises(ConfigError, match="is not a regular file"):
            write_merged(path, [region("eastus")], switch=None, now=NOW)
        assert (path.lstat().st_mode, path.lstat().st_ino) == (before.st_mode, before.st_ino)

    @pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
    @pytest.mark.parametrize("linked", [False, True])
    def test_a_file_of_another_user_is_refused_and_not_touched(self, tmp_path: Path, *, linked: bool) -> None:
        real, path = tmp_path / "real", tmp_path / "config"
        (real if linked else path).write_text(USERS)
        os.chown(real if linked else path, 12345, 12345)
        if linked:
            path.symlink_to(real)
        with pytest.raises(ConfigError, match="belongs to another user"):
            write_merged(path, [region("eastus")], switch=None, now=NOW)
        assert path.read_text() == USERS

    @pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
    def test_kubectl_reads_what_was_written(self, tmp_path: Path) -> None:
        path = tmp_path / "config"
        path.write_text(USERS.replace("auth-provider", "x-auth-provider"))
        config = region("eastus", "https://[2001:db8::1]:6443")
        write_merged(path, [config], switch="crdb-k3s-eastus", now=NOW)
        asked = ["kubectl", "config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]
        environ = {"KUBECONFIG": str(path), "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        done = subprocess.run(asked, capture_output=True, text=True, check=True, env=environ)
        assert done.stdout == "https://[2001:db8::1]:6443"
