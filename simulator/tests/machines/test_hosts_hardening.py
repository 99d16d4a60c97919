"""What k3s and its parts read as they start, each rule both ways; encryption, snapshots, the kernel and the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from simulator.tests.machines.test_hosts_k3s import FIRST

from crdbmesh_simulator.machines.k3s_hardening import take_snapshot
from crdbmesh_simulator.machines.k3s_settings import Settings, SettingsError

if TYPE_CHECKING:
    from simulator.tests.machines.conftest import Town

SYSCTL = "vm.panic_on_oom=0\nvm.overcommit_memory=1\nkernel.panic=10\nkernel.panic_on_oops=1\n"
KUBELET = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/50-own.conf"
ADMISSION = "/etc/rancher/k3s/admission.yaml"
PLUGINS = [
    {"name": "EventRateLimit", "configuration": {"limits": [{"type": "Server", "qps": 1, "burst": 2}]}},
    {
        "name": "PodSecurity",
        "configuration": {"defaults": {"enforce": "restricted"}, "exemptions": {"namespaces": ["kube-system"]}},
    },
]


def api(**arguments: str) -> dict[str, Any]:
    return {"kube-apiserver-arg": [f"{name.replace('_', '-')}={value}" for name, value in arguments.items()]}


REFUSED = [
    ({"protect-kernel-defaults": True}, "invalid kernel flag: vm/overcommit_memory, expected value: 1, actual"),
    (api(admission_control_config_file="/nowhere"), "admission control configuration from"),
    (api(audit_policy_file="/nowhere"), "loading audit policy file: failed to read file path"),
    (api(audit_policy_file="/empty"), "loaded illegal policy with 0 rules"),
    (api(admission_control_config_file="/unlimited"), "limits: Invalid value"),
    (api(enable_admission_plugins="Nonsense"), "is unknown"),
    (api(nonsense="1"), "unknown flag: --nonsense"),
    ({"kubelet-arg": ["nonsense=1"]}, "unknown flag: --nonsense"),
]


@pytest.fixture
def machine(fast_town: Town) -> Town:
    fast_town.add("s1")
    fast_town.settle("s1")
    fast_town.put("s1", "/empty", "kind: Policy\nrules: []\n")
    fast_town.put("s1", "/unlimited", yaml.safe_dump({"plugins": [{"name": "EventRateLimit"}]}))
    return fast_town


def test_settings_that_a_part_of_k3s_does_not_start_with_end_it(machine: Town) -> None:
    machine.install_k3s("s1", FIRST)
    for more, cause in REFUSED:
        machine.put("s1", "/etc/rancher/k3s/config.yaml", yaml.safe_dump({**FIRST, **more}))
        done = machine.run("s1", "systemctl start k3s; status=$?; systemctl stop k3s; exit $status", sudo=True)
        assert done.status == 1, cause
        assert cause in machine.journal("s1"), cause


def test_a_shutdown_that_is_shorter_than_its_critical_part_ends_k3s(machine: Town) -> None:
    short = {"kind": "KubeletConfiguration", "shutdownGracePeriod": "10s", "shutdownGracePeriodCriticalPods": "30s"}
    machine.put("s1", KUBELET, yaml.safe_dump(short))
    assert machine.start_k3s("s1", FIRST).status == 1
    assert "shutdownGracePeriodCriticalPods must be <=" in machine.journal("s1")


def test_a_hardened_server_starts_and_says_what_it_read(machine: Town) -> None:
    machine.put("s1", "/etc/sysctl.d/90-kubelet.conf", SYSCTL)
    assert machine.run("s1", "sysctl -q -p /etc/sysctl.d/90-kubelet.conf", sudo=True).status == 0
    machine.put("s1", ADMISSION, yaml.safe_dump({"plugins": PLUGINS}))
    machine.put("s1", "/etc/rancher/k3s/audit.yaml", "kind: Policy\nrules: [{level: Metadata}]\n")
    reserved = {"kubeReserved": {"cpu": "500m"}, "systemReserved": {"memory": "1Gi"}}
    machine.put("s1", KUBELET, yaml.safe_dump({"kind": "KubeletConfiguration", **reserved}))
    arguments = api(
        enable_admission_plugins="NodeRestriction,EventRateLimit",
        admission_control_config_file=ADMISSION,
        audit_policy_file="/etc/rancher/k3s/audit.yaml",
        audit_log_path="/var/lib/rancher/k3s/server/logs/audit.log",
    )
    more = {"protect-kernel-defaults": True, "secrets-encryption": True, "etcd-snapshot-schedule-cron": "0 */6 * * *"}
    assert machine.start_k3s("s1", {**FIRST, **more, **arguments}).status == 0
    assert machine.member("s1").kubelet["kubeReserved"] == {"cpu": "500m"}
    (cluster,) = machine.world.clusters
    assert cluster.store.admission["PodSecurity"]["defaults"] == {"enforce": "restricted"}
    assert machine.run("s1", "stat -c %a /var/lib/rancher/k3s/server/logs/audit.log", sudo=True).stdout == "600\n"
    status = "k3s secrets-encrypt status"
    assert machine.run("s1", status, sudo=True).stdout.startswith("Encryption Status: Enabled\n")
    assert machine.run("s1", "k3s secrets-encrypt disable", sudo=True).status == 0
    assert machine.run("s1", status, sudo=True).stdout.startswith("Encryption Status: Disabled\n")


def test_without_the_setting_there_is_no_encryption_and_a_stopped_k3s_does_not_answer(machine: Town) -> None:
    assert machine.start_k3s("s1", FIRST).status == 0
    said = machine.run("s1", "k3s secrets-encrypt status", sudo=True).stdout
    assert said == "Encryption Status: Disabled, no configuration file found\n"
    assert machine.run("s1", "systemctl stop k3s; k3s secrets-encrypt status", sudo=True).status == 1


def test_snapshots_are_taken_on_schedule_and_the_oldest_go(machine: Town) -> None:
    more = {"etcd-snapshot-schedule-cron": "0 * * * *", "etcd-snapshot-retention": 2, "etcd-snapshot-compress": True}
    assert machine.start_k3s("s1", {**FIRST, **more}).status == 0
    assert machine.run("s1", "k3s etcd-snapshot ls", sudo=True).stdout == "Name Location Size Created\n"
    (files,) = (one.os.files for one in machine.world.machines.values() if one.os)
    about = (files, Settings("server", more), "/var/lib/rancher/k3s", "s1")
    hour = 1_699_999_200
    for since, now in ((-1, 0), (0, 3500), (3500, 3700), (3700, 7400)):
        take_snapshot(*about, hour + since, hour + now)
    lines = machine.run("s1", "k3s etcd-snapshot list", sudo=True).stdout.splitlines()[1:]
    assert [line.split()[::3] for line in lines] == [
        ["etcd-snapshot-s1-1700002800.zip", "2023-11-14T23:00:00Z"],
        ["etcd-snapshot-s1-1700006400.zip", "2023-11-15T00:00:00Z"],
    ]
    with pytest.raises(SettingsError):
        take_snapshot(files, Settings("server", {"etcd-snapshot-schedule-cron": "@daily"}), "/d", "s1", 0, 1)


def test_a_boot_sets_the_kernel_from_the_files_and_forgets_the_rest(machine: Town) -> None:
    machine.put("s1", "/etc/sysctl.d/90-kubelet.conf", "kernel.panic=10\n")
    machine.put("s1", "/root/own.conf", "vm.panic_on_oom=2\n")
    assert machine.run("s1", "sysctl -p /root/own.conf; sysctl -n vm.panic_on_oom", sudo=True).stdout == "2\n"
    assert machine.run("s1", "sysctl -p /root/own.conf").status == 1
    assert "cannot stat" in machine.run("s1", "echo a.b=1 > /c; sysctl -p /c", sudo=True).stderr
    machine.run("s1", "reboot || systemctl reboot", sudo=True)
    machine.until(lambda: machine.world.machines and machine.run("s1", "true").status == 0, "it to be back")
    machine.settle("s1")
    assert machine.run("s1", "sysctl -n kernel.panic; sysctl -n vm.panic_on_oom").stdout == "10\n0\n"


def test_chrony_says_how_the_clock_is(machine: Town) -> None:
    assert machine.run("s1", "chronyc -c tracking").stdout.endswith(",Normal\n")
    assert machine.run("s1", "chronyc -c sources").stdout.startswith("#,*,PHC0,")
    machine.world.faults.set({"clock.off": 1})
    fields = machine.run("s1", "chronyc -c tracking").stdout.strip().split(",")
    assert (fields[4], fields[-1]) == ("0.400000000", "Not synchronised")
    machine.world.faults.clear()
    assert machine.run("s1", "systemctl stop chrony; chronyc -c tracking", sudo=True).status == 1
