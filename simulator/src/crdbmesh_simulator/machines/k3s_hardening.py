"""What k3s and its parts read as they start, and do not start with: kernel, kubelet, API server; and etcd's snapshots.

Sources: docs.k3s.io (CIS hardening guide, secrets encryption, etcd-snapshot); Kubernetes 1.36 (`pkg/kubelet/cm`,
`pkg/apis/kubelet/validation`, `apiserver/pkg/admission/config.go`, `apiserver/pkg/server/options/audit.go`).
"""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from crdbmesh_simulator import tables
from crdbmesh_simulator.filesystem import Actor, FileSystem
from crdbmesh_simulator.machines.k3s_settings import Settings, SettingsError

_ARGUMENTS: dict[str, list[str]] = tables.read(__package__, "k3s_flags")["arguments"]
_TUNABLES = {"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1"}
_PLUGINS = ("NodeRestriction", "EventRateLimit", "AlwaysPullImages", "PodSecurity", "NamespaceLifecycle")
_ENCRYPTION = "server/cred/encryption-config.json"
_ROOT = Actor()


def check_arguments(settings: Settings) -> None:
    """Refuse an argument that a part of Kubernetes does not have."""
    for part, known in _ARGUMENTS.items():
        for name in _given(settings, part):
            if name not in known:
                raise SettingsError(f"unknown flag: --{name}")


def start_kubelet(files: FileSystem, settings: Settings, data: str) -> dict[str, Any]:
    """Return the kubelet's configuration: its folder's files, one laid over the other.

    Raises SettingsError: it ends at once.
    """
    if settings.values.get("protect-kernel-defaults"):
        for flag, wanted in _TUNABLES.items():
            if (actual := files.read(f"/proc/sys/{flag}", _ROOT).decode().strip()) != wanted:
                why = f"invalid kernel flag: {flag}, expected value: {wanted}, actual value: {actual}"
                raise SettingsError(f"kubelet exited: failed to start ContainerManager [{why}]")
    merged: dict[str, Any] = {}
    for path in files.glob(f"{data}/agent/etc/kubelet.conf.d/*.conf", _ROOT):
        found = _document(files, path, "failed to load kubelet config file")
        if found.get("kind") != "KubeletConfiguration":
            raise SettingsError(f"kubelet exited: failed to load kubelet config file, path: {path}: no kind")
        for name, value in found.items():
            merged[name] = {**merged.get(name, {}), **value} if isinstance(value, dict) else value
    if _seconds(merged, "shutdownGracePeriodCriticalPods") > _seconds(merged, "shutdownGracePeriod"):
        why = "shutdownGracePeriodCriticalPods must be <= shutdownGracePeriod"
        raise SettingsError(f"kubelet exited: failed to validate kubelet configuration: invalid configuration: {why}")
    return merged


def start_api(files: FileSystem, settings: Settings) -> dict[str, Any]:
    """Return the configuration of each admission plugin. Raises SettingsError: the API server does not start."""
    given = _given(settings, "kube-apiserver-arg")
    for plugin in given.get("enable-admission-plugins", "NodeRestriction").split(","):
        if plugin not in _PLUGINS:
            raise SettingsError(f'apiserver exited: enable-admission-plugins plugin "{plugin}" is unknown')
    if path := given.get("audit-policy-file"):
        policy = _document(files, path, "apiserver exited: loading audit policy file: failed to read file path")
        if not policy.get("rules"):
            raise SettingsError("apiserver exited: loading audit policy file: loaded illegal policy with 0 rules")
        if log := given.get("audit-log-path"):
            files.mkdir(log.rpartition("/")[0], _ROOT, mode=0o700, parents=True)
            files.write(log, b"", _ROOT, mode=0o600, append=True)
    if not (path := given.get("admission-control-config-file")):
        return {}
    why = "apiserver exited: failed to initialize admission: failed to read plugin config: unable to read admission"
    found = _document(files, path, f"{why} control configuration from")
    plugins = {one["name"]: one.get("configuration") or {} for one in found.get("plugins") or []}
    if "EventRateLimit" in plugins and not plugins["EventRateLimit"].get("limits"):
        raise SettingsError("apiserver exited: failed to initialize admission: limits: Invalid value: []: is empty")
    return plugins


def begin_encryption(files: FileSystem, data: str, *, enabled: bool) -> None:
    """Write the key of the secrets, unless there is one."""
    if enabled and files.find(f"{data}/{_ENCRYPTION}", _ROOT) is None:
        set_encryption(files, data, enabled=True)


def set_encryption(files: FileSystem, data: str, *, enabled: bool) -> None:
    """Write which provider encrypts new secrets: the first."""
    key = {"aescbc": {"keys": [{"name": "aescbckey", "secret": "c2ltdWxhdGVkLWtleS0zMi1ieXRlcy1sb25nLS0tLS0="}]}}
    providers = [key, {"identity": {}}] if enabled else [{"identity": {}}, key]
    document = {"kind": "EncryptionConfiguration", "resources": [{"resources": ["secrets"], "providers": providers}]}
    files.write(f"{data}/{_ENCRYPTION}", json.dumps(document), _ROOT, mode=0o600)


def read_encryption(files: FileSystem, data: str) -> bool | None:
    """Return whether new secrets are encrypted; None when nobody ever asked for it."""
    if files.find(f"{data}/{_ENCRYPTION}", _ROOT) is None:
        return None
    providers = json.loads(files.read(f"{data}/{_ENCRYPTION}", _ROOT))["resources"][0]["providers"]
    return "aescbc" in providers[0]


def snapshots(data: str) -> str:
    """The folder of etcd's snapshots."""
    return f"{data}/server/db/snapshots"


def take_snapshot(files: FileSystem, settings: Settings, data: str, node: str, since: float, now: float) -> None:
    """Take the scheduled snapshot that has come due since, and drop those beyond the number to keep."""
    schedule = settings.text("etcd-snapshot-schedule-cron", "0 */12 * * *")
    match = re.fullmatch(r"(\d+) (?:\*/(\d+)|\*) \* \* \*", schedule)
    if match is None:
        raise SettingsError(f"failed to parse etcd-snapshot-schedule-cron {schedule}: this world reads M */N * * *")
    late_s, period_s = int(match[1]) * 60, int(match[2] or 1) * 3600
    due = (now - late_s) // period_s * period_s + late_s
    if due <= since or settings.values.get("etcd-disable-snapshots"):
        return
    folder, name = snapshots(data), f"etcd-snapshot-{node}-{int(due)}"
    files.mkdir(folder, _ROOT, mode=0o700, parents=True)
    suffix = ".zip" if settings.values.get("etcd-snapshot-compress") else ""
    files.write(f"{folder}/{name}{suffix}", b"simulated snapshot\n", _ROOT, mode=0o600)
    own = sorted(files.glob(f"{folder}/etcd-snapshot-{node}-*", _ROOT))
    for path in own[: -int(settings.text("etcd-snapshot-retention", "5"))]:
        files.remove(path, _ROOT)


def _given(settings: Settings, part: str) -> dict[str, str]:
    pairs = (str(text).partition("=") for text in settings.values.get(part) or [])
    return {name: value for name, _, value in pairs}


def _document(files: FileSystem, path: str, why: str) -> dict[str, Any]:
    try:
        found = yaml.load(files.read(path, _ROOT), Loader=yaml.CSafeLoader)
    except (OSError, yaml.YAMLError) as error:
        reason = "no such file or directory" if isinstance(error, OSError) else "yaml: cannot be read"
        raise SettingsError(f'{why} "{path}" [open {path}: {reason}]') from None
    return found if isinstance(found, dict) else {}


def _seconds(configuration: dict[str, Any], name: str) -> float:
    return float(str(configuration.get(name, "0s")).removesuffix("s"))
