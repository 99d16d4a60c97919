"""systemd units, the journal, and what machines can download."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.tests.machines.conftest import Town

K3S = "https://github.com/k3s-io/k3s/releases/download/v1.36.4%2Bk3s1/k3s"
DIGEST = "835873f37245fc615f547a2fe2af9402a347875f13fa64a1f136de644955ea3f"
CHART = "https://helm.cilium.io/cilium-1.20.0.tgz"
CHART_DIGEST = "c5f013912360d1a334f44ef25f36da59ba3414cdb48f466ee12d0c4fdff27883"


def test_a_service_is_enabled_started_asked_about_and_stopped(town: Town) -> None:
    town.add("a")
    town.settle("a")
    asked = "systemctl is-enabled x; systemctl is-active x; systemctl show x -p ActiveState,SubState --value"
    assert town.run("a", asked).stdout == "not-found\ninactive\ninactive\ndead\n"
    assert town.run("a", "sudo systemctl start x").status == 5
    unit = "[Unit]\nDescription=X\n[Service]\nEnvironment=\"V=a b\"\nExecStart=/bin/sh -c 'echo $V; sleep 1h'\n"
    town.put("a", "/etc/systemd/system/x.service", unit + "[Install]\nWantedBy=multi-user.target\n")
    assert town.run("a", asked).stdout == "disabled\ninactive\ninactive\ndead\n"
    assert town.run("a", "systemctl start x").stderr.startswith("Failed to start x.service: Interactive authentication")
    done = town.run("a", "sudo systemctl enable --now x")
    assert "Created symlink /etc/systemd/system/multi-user.target.wants/x.service" in done.stderr
    assert town.run("a", asked).stdout == "enabled\nactive\nactive\nrunning\n"
    town.until(lambda: "a b" in town.run("a", "journalctl -u x -o cat --no-pager").stdout, "the output in the journal")
    assert town.run("a", "sudo systemctl disable --now x; systemctl is-active x").stdout == "inactive\n"


def test_the_journal_is_shown_from_a_time_with_times_and_followed(town: Town) -> None:
    town.add("a")
    town.settle("a")
    unit = "[Service]\nExecStart=/bin/sh -c 'while true; do echo tick; sleep 5; done'\n"
    town.put("a", "/etc/systemd/system/x.service", unit)
    assert town.run("a", "sudo systemctl start x").status == 0
    show = "journalctl -u x -t sh --no-pager -q -o short-iso-precise"
    town.until(lambda: "tick" in town.run("a", show).stdout, "the first line")
    line = town.run("a", f"{show} -n 1").stdout
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00 a sh\[\d+\]: tick\n", line), line
    assert town.run("a", "journalctl -u x -t sh -o short-iso -n 1").stdout.count(".") == 0
    assert town.run("a", f"{show} --since=@4000000000").stdout == ""
    assert "No entries" in town.run("a", "journalctl -o cat --since=@4000000000").stdout
    assert "tick" in town.run("a", f"{show} --since=-1h").stdout
    assert town.run("a", f"{show} --since=teatime").status == 1
    followed = town.run("a", f"timeout 30 {show} -f -n 1").stdout.splitlines()
    assert len(followed) > 3


def test_a_failing_service_is_reported_and_started_again(town: Town) -> None:
    town.add("a")
    unit = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo broken; exit 7'\n"
    town.put("a", "/etc/systemd/system/once.service", unit)
    done = town.run("a", "sudo systemctl start once")
    assert done.status == 1
    assert done.stderr.startswith("Job for once.service failed because the control process exited with error code.\n")
    assert (
        town.run("a", "systemctl is-failed once; systemctl show once -p ExecMainStatus").stdout
        == "failed\nExecMainStatus=7\n"
    )
    again = "[Service]\nType=notify\nRestart=always\nRestartSec=1s\nExecStart=/nope\n"
    town.put("a", "/etc/systemd/system/again.service", again)
    assert town.run("a", "sudo systemctl start again").status == 1
    town.until(lambda: int(town.run("a", "systemctl show again -p NRestarts --value").stdout) > 1, "restarts")
    assert "status=203/EXEC" in town.run("a", "journalctl -u again -o cat").stdout


def test_what_runs_before_a_service_can_stop_it_and_a_service_runs_as_its_user(town: Town) -> None:
    town.add("a")
    unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nUser=nobody\nExecStartPre=-/bin/false\n"
    town.put("a", "/etc/systemd/system/good.service", unit + "ExecStart=/bin/sh -c 'whoami'\n")
    town.put("a", "/etc/systemd/system/bad.service", unit + "ExecStartPre=/bin/false\nExecStart=/bin/true\n")
    assert [town.run("a", f"sudo systemctl start {name}").status for name in ("good", "bad")] == [0, 1]
    assert town.run("a", "systemctl is-active good bad").stdout == "active\nfailed\n"
    assert "nobody" in town.run("a", "journalctl -u good -o cat").stdout
    assert "Control process exited, code=exited, status=1" in town.run("a", "journalctl -u bad -o cat").stdout


def test_a_changed_unit_counts_after_daemon_reload_only(town: Town) -> None:
    town.add("a")
    town.put("a", "/etc/systemd/system/x.service", "[Unit]\nDescription=Old\n[Service]\nExecStart=/bin/sleep 1h\n")
    town.run("a", "sudo systemctl start x")
    town.put("a", "/etc/systemd/system/x.service", "[Unit]\nDescription=New\n[Service]\nExecStart=/bin/sleep 2h\n")
    shown = "systemctl show x -p NeedDaemonReload"
    assert town.run("a", shown).stdout == "NeedDaemonReload=yes\n"
    assert "changed on disk" in town.run("a", "sudo systemctl restart x").stderr
    town.run("a", "sudo systemctl daemon-reload")
    assert town.run("a", shown).stdout == "NeedDaemonReload=no\n"


def test_downloads_have_the_published_checksums(inn: Town) -> None:
    done = inn.run(
        "inn",
        f"cd /tmp; curl -fsSL --proto =https --retry 5 -o k3s {K3S}; curl -fsSLo chart {CHART}; sha256sum k3s chart",
    )
    assert done.stdout == f"{DIGEST}  k3s\n{CHART_DIGEST}  chart\n"
    assert inn.run("inn", "cat /tmp/k3s > /tmp/b; cat /tmp/b | sha256sum").stdout == f"{DIGEST}  -\n"


def test_a_release_download_is_a_redirect_that_must_be_followed(inn: Town) -> None:
    assert inn.run("inn", f"curl -sf {K3S} | wc -c").stdout == "0\n"


def test_a_binary_of_another_architecture_does_not_run(inn: Town) -> None:
    done = inn.run("inn", f"curl -fsSLo /tmp/arm {K3S}-arm64; chmod +x /tmp/arm; /tmp/arm --version")
    assert (done.status, "Exec format error" in done.stderr) == (126, True)


def test_an_unknown_address_is_404_and_recorded(town: Town) -> None:
    town.add("a")
    done = town.run("a", "curl -fsSL https://github.com/nobody/nothing")
    assert (done.status, done.stderr) == (22, "curl: (22) The requested URL returned error: 404\n")
    assert town.run("a", "curl -sS https://nowhere.example").status == 6
    assert len(town.world.unknown) == 2


def test_nothing_is_downloaded_without_a_way_out(town: Town) -> None:
    town.add("a")
    town.settle("a")
    town.wiring.egress = False
    done = town.run("a", f"curl -fsSL --connect-timeout 10 -o k3s {K3S}; echo $?; test -e k3s || echo absent")
    assert done.stdout == "28\nabsent\n"


def test_a_damaged_download_has_another_checksum_and_does_not_run(town: Town) -> None:
    town.add("a")
    town.hosts.corrupt_downloads.add(K3S)
    done = town.run("a", f"curl -fsSLo k3s {K3S}; sha256sum k3s; chmod +x k3s; ./k3s --version")
    assert DIGEST not in done.stdout
    assert done.status == 139


def test_packages_are_upgraded_from_lists_that_were_updated_and_a_kernel_asks_for_a_reboot(town: Town) -> None:
    town.add("a")
    town.settle("a")
    look = "apt-get -s -q --with-new-pkgs upgrade | grep -c ^Inst"
    assert town.run("a", look).stdout == "0\n"
    assert town.run("a", "apt-get update").status == 100
    town.wiring.egress = False
    assert "Failed to fetch" in town.run("a", "apt-get update", sudo=True).stderr
    town.wiring.egress = True
    assert town.run("a", "apt-get -q update", sudo=True).status == 0
    assert town.run("a", look).stdout == "3\n"
    assert town.run("a", "apt-get -s upgrade | grep -c ^Inst").stdout == "2\n"
    assert town.run("a", "apt-get -q upgrade", sudo=True).status == 1
    assert town.run("a", "apt-get -y -q --with-new-pkgs upgrade; ls /run/reboot-required", sudo=True).status == 0
    assert town.run("a", look).stdout == "0\n"
    boot = town.run("a", "cat /proc/sys/kernel/random/boot_id").stdout
    town.run("a", "systemctl reboot --no-block", sudo=True)
    town.until(lambda: town.run("a", "cat /proc/sys/kernel/random/boot_id").stdout != boot, "another boot")
    assert town.run("a", "test -e /run/reboot-required").status == 1
