"""Works out environment, arguments and mounted files of a container, as the kubelet does.

After `pkg/kubelet/kubelet_pods.go` and `pkg/volume` of Kubernetes 1.36.
"""

from __future__ import annotations

import base64
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.site import find_file, is_folder, list_files

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Member
    from crdbmesh_simulator.kubernetes.controllers.site import Site
    from crdbmesh_simulator.kubernetes.programs import Container

_VARIABLE = re.compile(r"\$(\$|\(([^)\s]*)\))")
_TOKEN_S = 365 * 86400.0
_TOKEN_KEPT_S = 86400.0
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


class ConfigError(Exception):
    """A container cannot be configured (CreateContainerConfigError)."""


class MountError(Exception):
    """A volume cannot be mounted (FailedMount)."""


@dataclass
class Mount:
    """The content of one volume: relative path -> content, and -> mode."""

    files: dict[str, bytes] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)


def expand(text: str, env: dict[str, str]) -> str:
    """Put variables in for `$(NAME)`; `$$` is a dollar sign; unknown names stay as they are."""

    def value(found: re.Match[str]) -> str:
        if found[1] == "$":
            return "$"
        return env.get(found[2], found[0])

    return _VARIABLE.sub(value, text)


def arguments(container: Obj, env: dict[str, str]) -> list[str]:
    """`command` and `args` with variables put in."""
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    return [expand(str(word), env) for word in words]


def environment(site: Site, pod: Obj, container: Obj, *, pod_ip: str, host_ip: str, node: Obj) -> dict[str, str]:
    """A container's environment. Raises ConfigError: a ConfigMap, a Secret, or a key that it needs is missing."""
    env = _service_links(site, pod)
    env["HOSTNAME"] = hostname(pod, host_ip and objects.name(node))
    if container.get("envFrom"):
        raise ConfigError("envFrom is not part of this simulated world")
    for entry in container.get("env") or []:
        if entry.get("valueFrom"):
            found = _value_from(site, pod, entry["valueFrom"], pod_ip=pod_ip, host_ip=host_ip)
            if found is not None:
                env[entry["name"]] = found
        else:
            env[entry["name"]] = expand(str(entry.get("value") or ""), env)
    return env


def hostname(pod: Obj, node_name: str) -> str:
    """Return the host name inside the pod."""
    if objects.spec(pod).get("hostNetwork"):
        return node_name
    return str(objects.spec(pod).get("hostname") or objects.name(pod))


def _service_links(site: Site, pod: Obj) -> dict[str, str]:
    env: dict[str, str] = {}
    services = site.api.list("Service", "default")
    if objects.spec(pod).get("enableServiceLinks", True) and objects.namespace(pod) != "default":
        services = [*services, *site.api.list("Service", objects.namespace(pod))]
    for service in services:
        ip, name = objects.spec(service).get("clusterIP"), objects.name(service)
        ports = objects.spec(service).get("ports") or []
        if not ip or ip == "None" or not ports:
            continue
        if objects.namespace(service) == "default" and name != "kubernetes" and objects.namespace(pod) != "default":
            continue
        prefix = name.upper().replace("-", "_")
        env[f"{prefix}_SERVICE_HOST"] = str(ip)
        env[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            if port.get("name"):
                env[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    return env


def _value_from(site: Site, pod: Obj, source: Obj, *, pod_ip: str, host_ip: str) -> str | None:
    if "fieldRef" in source:
        return field_of(pod, source["fieldRef"]["fieldPath"], pod_ip=pod_ip, host_ip=host_ip)
    for field_name, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        if field_name not in source:
            continue
        reference = source[field_name]
        found = site.api.find(kind, objects.namespace(pod), reference["name"])
        if found is None:
            if reference.get("optional"):
                return None
            raise ConfigError(f'{kind.lower()} "{reference["name"]}" not found')
        text = content(found).get(reference["key"])
        if text is None:
            if reference.get("optional"):
                return None
            where = f"{kind} {objects.namespace(pod)}/{reference['name']}"
            raise ConfigError(f"couldn't find key {reference['key']} in {where}")
        return text.decode(errors="replace")
    raise ConfigError("invalid valueFrom")


def field_of(pod: Obj, path: str, *, pod_ip: str, host_ip: str) -> str:
    """A field of the downward API."""
    spec, meta = objects.spec(pod), objects.meta(pod)
    simple = {
        "metadata.name": meta.get("name"),
        "metadata.namespace": meta.get("namespace"),
        "metadata.uid": meta.get("uid"),
        "spec.nodeName": spec.get("nodeName"),
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.podIP": pod_ip,
        "status.podIPs": pod_ip,
        "status.hostIP": host_ip,
        "status.hostIPs": host_ip,
    }
    if path in simple:
        return str(simple[path] or "")
    for group in ("labels", "annotations"):
        if path == f"metadata.{group}":
            return "\n".join(f'{key}="{value}"' for key, value in sorted((meta.get(group) or {}).items()))
        if path.startswith(f"metadata.{group}['"):
            return str((meta.get(group) or {}).get(path[len(f"metadata.{group}['") : -2], ""))
    raise ConfigError(f"unsupported fieldPath: {path}")


def content(obj: Obj) -> dict[str, bytes]:
    """The keys of a ConfigMap or Secret."""
    if obj.get("kind") == "Secret":
        found = {key: base64.b64decode(text) for key, text in (obj.get("data") or {}).items()}
        return found | {key: str(text).encode() for key, text in (obj.get("stringData") or {}).items()}
    found = {key: str(text).encode() for key, text in (obj.get("data") or {}).items()}
    return found | {key: base64.b64decode(text) for key, text in (obj.get("binaryData") or {}).items()}


def volumes(site: Site, pod: Obj, member: Member, *, pod_ip: str, kept: dict[str, Mount]) -> dict[str, Mount]:
    """Every volume of the pod by name.

    `site`: the cluster. `pod`: the pod. `member`: its node. `pod_ip`: its address, for the downward API. `kept`:
    volumes that keep their content (emptyDir and the like), by volume name; filled here. Raises MountError: something
    that a volume needs is missing.
    """
    found: dict[str, Mount] = {}
    for volume in objects.spec(pod).get("volumes") or []:
        name = str(volume["name"])
        if "secret" in volume or "configMap" in volume or "projected" in volume or "downwardAPI" in volume:
            found[name] = _sourced(site, pod, volume, pod_ip)
        elif "persistentVolumeClaim" in volume:
            found[name] = _claimed(site, pod, str(volume["persistentVolumeClaim"]["claimName"]), member)
        elif "hostPath" in volume:
            found[name] = _host_path(volume["hostPath"], member)
        else:
            found[name] = kept.setdefault(name, Mount())
    return found


def _sourced(site: Site, pod: Obj, volume: Obj, pod_ip: str) -> Mount:
    mount = Mount()
    for kind in ("secret", "configMap", "downwardAPI"):
        if kind in volume:
            _project(
                site,
                pod,
                {kind: volume[kind]},
                int(volume[kind].get("defaultMode") or 0o644),
                mount,
                pod_ip,
                str(volume["name"]),
            )
    if "projected" in volume:
        mode = int(volume["projected"].get("defaultMode") or 0o644)
        for source in volume["projected"].get("sources") or []:
            _project(site, pod, source, mode, mount, pod_ip, str(volume["name"]))
    return mount


def _project(site: Site, pod: Obj, source: Obj, mode: int, mount: Mount, pod_ip: str, volume: str) -> None:
    space = objects.namespace(pod)
    if "serviceAccountToken" in source:
        path = str(source["serviceAccountToken"]["path"])
        wanted_by = str(source["serviceAccountToken"].get("audience") or "")
        mount.files[path], mount.modes[path] = token(site, pod, audience=wanted_by), mode
        return
    if "downwardAPI" in source:
        for item in source["downwardAPI"].get("items") or []:
            if "fieldRef" in item:
                text = field_of(pod, item["fieldRef"]["fieldPath"], pod_ip=pod_ip, host_ip="")
                mount.files[item["path"]] = text.encode()
                mount.modes[item["path"]] = int(item.get("mode") or mode)
        return
    for key, kind, named in (("secret", "Secret", ("secretName", "name")), ("configMap", "ConfigMap", ("name",))):
        if key not in source:
            continue
        wanted = source[key]
        reference = next(str(wanted[word]) for word in named if wanted.get(word))
        found = site.api.find(kind, space, reference)
        if found is None:
            if wanted.get("optional"):
                continue
            raise MountError(f'MountVolume.SetUp failed for volume "{volume}" : {kind.lower()} "{reference}" not found')
        entries = content(found)
        items = wanted.get("items")
        if not items:
            items = [{"key": name, "path": name} for name in entries]
        for item in items:
            if item["key"] not in entries:
                if wanted.get("optional"):
                    continue
                raise MountError(
                    f'MountVolume.SetUp failed for volume "{volume}" : references non-existent {kind.lower()} key: '
                    f"{item['key']}"
                )
            mount.files[item["path"]] = entries[item["key"]]
            mount.modes[item["path"]] = int(item.get("mode") or mode)


def _claimed(site: Site, pod: Obj, claim_name: str, member: Member) -> Mount:
    claim = site.api.find("PersistentVolumeClaim", objects.namespace(pod), claim_name)
    bound = objects.spec(claim).get("volumeName") if claim else None
    volume = site.api.find("PersistentVolume", None, str(bound)) if bound else None
    if volume is None:
        raise MountError(f'MountVolume.SetUp failed: PersistentVolumeClaim "{claim_name}" is not bound')
    local = objects.spec(volume).get("local")
    if local is not None and not is_folder(member.machine, str(local["path"])):
        raise MountError(
            f'MountVolume.NewMounter initialization failed for volume "{bound}" : path "{local["path"]}" does not exist'
        )
    return Mount()


def _host_path(source: Obj, member: Member) -> Mount:
    """A folder or file of the node: what its operating system holds there now."""
    mount = Mount()
    path = str(source["path"]).rstrip("/")
    single = find_file(member.machine, path)
    if single is not None:
        mount.files[""] = single
    else:
        for where, data in list_files(member.machine, path).items():
            mount.files[where[len(path) + 1 :]] = data
    if not mount.files and source.get("type") in ("File", "Socket", "CharDevice", "BlockDevice"):
        raise MountError(f"MountVolume.SetUp failed : hostPath type check failed: {path} is not a file")
    return mount


def token(site: Site, pod: Obj, *, audience: str = "") -> bytes:
    """A token of the pod's service account, for the API or another audience; kept for a day.

    Source: `pkg/kubelet/token/token_manager.go` (a token is asked for anew after 80 % of its life or 24 hours).
    """
    name = str(objects.spec(pod).get("serviceAccountName") or "default")
    account = objects.uid(site.api.find("ServiceAccount", objects.namespace(pod), name) or {})
    key, now = (objects.uid(pod), account, audience), site.now()
    issued_at, kept = site.tokens.get(key, (-math.inf, b""))
    if now - issued_at < _TOKEN_KEPT_S:
        return kept
    signed = site.cluster.authority.service_account_token(
        objects.namespace(pod), name, account, now=now, lifetime_s=_TOKEN_S, audiences=[audience] if audience else []
    ).encode()
    site.tokens = {k: held for k, held in site.tokens.items() if now - held[0] < _TOKEN_KEPT_S} | {key: (now, signed)}
    return signed


def place(container: Obj, mounts: dict[str, Mount]) -> tuple[dict[str, bytes], dict[str, int]]:
    """Return the volumes' files as a container sees them: absolute path -> content, and -> mode."""
    files: dict[str, bytes] = {}
    modes: dict[str, int] = {}
    for wanted in container.get("volumeMounts") or []:
        mount = mounts.get(wanted["name"])
        if mount is None:
            continue
        base, sub = str(wanted["mountPath"]).rstrip("/"), str(wanted.get("subPath") or "")
        for path, data in mount.files.items():
            if sub and path != sub and not path.startswith(sub + "/"):
                continue
            inner = path[len(sub) :].lstrip("/") if sub else path
            where = f"{base}/{inner}" if inner else base
            files[where] = data
            if path in mount.modes:
                modes[where] = mount.modes[path]
    return files, modes


def refresh(pod: Obj, container: Container, mounts: dict[str, Mount]) -> None:
    """Bring changed Secrets and ConfigMaps into a running container; mounts with `subPath` never change."""
    sourced = {
        entry["name"]
        for entry in objects.spec(pod).get("volumes") or []
        if any(kind in entry for kind in ("secret", "configMap", "projected", "downwardAPI"))
    }
    wanted = container.spec.get("volumeMounts") or []
    moving = [entry for entry in wanted if entry["name"] in sourced and not entry.get("subPath")]
    bases = sorted((str(entry["mountPath"]).rstrip("/") for entry in wanted), key=len, reverse=True)
    live = {str(entry["mountPath"]).rstrip("/") for entry in moving}
    files, modes = place({"volumeMounts": moving}, mounts)
    for path in list(container.files):
        base = next((each for each in bases if path == each or path.startswith(each + "/")), None)
        if base in live and path not in files:
            del container.files[path]
    container.files.update(files)
    container.modes.update(modes)


def system_files(site: Site, pod: Obj, *, pod_ip: str, node_name: str) -> dict[str, bytes]:
    """Return the files that the kubelet itself adds: hosts, host name, resolver, service account."""
    spec = objects.spec(pod)
    name = hostname(pod, node_name)
    space = objects.namespace(pod)
    domain = site.cluster.config.get("cluster-domain", "cluster.local")
    full = f"{name}.{spec['subdomain']}.{space}.svc.{domain}" if spec.get("subdomain") else ""
    lines = [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        f"{pod_ip}\t{full + chr(9) if full else ''}{name}",
    ]
    for alias in spec.get("hostAliases") or []:
        words = "\t".join(alias.get("hostnames") or [])
        lines.append(f"{alias['ip']}\t{words}")
    files = {"/etc/hosts": ("\n".join(lines) + "\n").encode(), "/etc/hostname": f"{name}\n".encode()}
    policy = spec.get("dnsPolicy", "ClusterFirst")
    if policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not spec.get("hostNetwork")):
        search = f"{space}.svc.{domain} svc.{domain} {domain}"
        server = str(site.cluster.config.get("cluster-dns", "10.43.0.10")).split(",")[0]
        files["/etc/resolv.conf"] = f"search {search}\nnameserver {server}\noptions ndots:5\n".encode()
    else:
        files["/etc/resolv.conf"] = b"nameserver 168.63.129.16\n"
    if _mounts_token(site, pod):
        files[f"{_ACCOUNT}/token"] = token(site, pod)
        files[f"{_ACCOUNT}/namespace"] = space.encode()
        files[f"{_ACCOUNT}/ca.crt"] = site.cluster.authority.ca_pem.encode()
    return files


def _mounts_token(site: Site, pod: Obj) -> bool:
    chosen = objects.spec(pod).get("automountServiceAccountToken")
    if chosen is not None:
        return bool(chosen)
    name = objects.spec(pod).get("serviceAccountName") or "default"
    account = site.api.find("ServiceAccount", objects.namespace(pod), name)
    return account is None or account.get("automountServiceAccountToken") is not False
