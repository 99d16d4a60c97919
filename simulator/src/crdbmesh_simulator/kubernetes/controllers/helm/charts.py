"""The charts of this world, and where a job finds their archives.

Known are Cilium's chart 1.20.0 and 1.19.6, and the two for Traefik that k3s carries itself.
"""

from __future__ import annotations

import base64
import io
import re
import tarfile
from dataclasses import dataclass

import yaml

from crdbmesh_simulator.kubernetes.controllers import disk, objects
from crdbmesh_simulator.kubernetes.controllers.cilium import defaults, rendering
from crdbmesh_simulator.kubernetes.controllers.helm import chart_values
from crdbmesh_simulator.kubernetes.controllers.helm.release import ReleaseError
from crdbmesh_simulator.kubernetes.controllers.objects import Obj
from crdbmesh_simulator.kubernetes.controllers.site import Site
from crdbmesh_simulator.kubernetes.programs import Container
from crdbmesh_simulator.machines import internet

_STATIC = "/var/lib/rancher/k3s/server/static/"
_CILIUM_REPO = "https://helm.cilium.io"
_CILIUM = ("1.20.0", "1.19.6")
_DIGESTS = {"c5f013912360d1a334f44ef25f36da59ba3414cdb48f466ee12d0c4fdff27883": ("cilium", "1.20.0")}
_FILE = re.compile(r"^([a-z][a-z0-9-]*?)-v?(\d+\.\d+\.\d+\S*)\.tgz$")
_STAND_IN = re.compile(rb"simulated archive: (\S+)")


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart that has been found."""

    name: str
    version: str


def find_chart(site: Site, container: Container) -> Chart:
    """The chart that a job's environment and files name.

    Raises:
        ReleaseError: it cannot be had, in helm's words.
    """
    env = container.env
    embedded = [
        data for path, data in container.files.items() if path.startswith("/chart/") and path.endswith(".base64")
    ]
    if embedded:
        try:
            return _identify(base64.b64decode(embedded[0]), "chart.tgz")
        except ValueError as error:
            raise ReleaseError(f"failed to decode chart content: {error}") from error
    where, repo, version = env.get("CHART", ""), env.get("REPO", ""), env.get("VERSION", "")
    host = f"{env.get('KUBERNETES_SERVICE_HOST', '')}:{env.get('KUBERNETES_SERVICE_PORT', '')}"
    url = where.replace("%{KUBERNETES_API}%", host)
    if where != url:
        return _static(site, container, url)
    if repo:
        _need_internet(site, container, f"{repo}/index.yaml")
        name = where.split("/", 1)[1]
        if repo.rstrip("/") != _CILIUM_REPO or name != "cilium":
            raise ReleaseError(f'chart "{name}" matching {version or "latest"} not found in {repo} index')
        return _version(version, repo)
    if url.startswith(("https://", "http://")):
        _need_internet(site, container, url)
        if not url.startswith(f"{_CILIUM_REPO}/cilium-"):
            raise ReleaseError(f"failed to fetch {url} : 404 Not Found")
        found = _FILE.match(url.rsplit("/", 1)[1])
        return _version(found[2] if found else "", _CILIUM_REPO)
    if url.startswith("oci://"):
        _need_internet(site, container, url)
        if url.startswith("oci://quay.io/cilium/charts/cilium"):
            return _version(version, "quay.io/cilium/charts")
        raise ReleaseError(f'failed to perform "FetchReference" on source: {url}: not found')
    raise ReleaseError(f'path "{url}" not found')


def _version(version: str, repo: str) -> Chart:
    plain = version.removeprefix("v")
    if not plain:
        return Chart("cilium", _CILIUM[0])
    if plain not in _CILIUM:
        raise ReleaseError(f'chart "cilium" version "{version}" not found in {repo} repository')
    return Chart("cilium", plain)


def _need_internet(site: Site, container: Container, url: str) -> None:
    host = re.sub(r"^\w+://", "", url).split("/", 1)[0]
    if not site.world.network.has_egress(container.node.machine):
        raise ReleaseError(f'Get "{url}": dial tcp: lookup {host}: i/o timeout')
    if not objects.spec(container.pod).get("hostNetwork"):
        servers = site.api.list("Pod", "kube-system", {"k8s-app": "kube-dns"})
        resolver = container.files.get("/etc/resolv.conf", b"")
        if b"168.63.129.16" not in resolver and not any(objects.pod_ready(pod) for pod in servers):
            raise ReleaseError(f'Get "{url}": dial tcp: lookup {host}: i/o timeout')


def _static(site: Site, container: Container, url: str) -> Chart:
    """An archive that the k3s server serves from its own disk: the one whose API the job talks to."""
    host = container.env.get("KUBERNETES_SERVICE_HOST", "")
    member = container.node
    if host not in ("127.0.0.1", "localhost") or member.role != "server":
        member = next((each for each in site.cluster.servers() if site.alive(each)), member)
    found = re.match(r"^https?://[^/]+/static/(\S+)$", url)
    if found is None:
        raise ReleaseError(f"failed to fetch {url} : 404 Not Found")
    bundled = _FILE.match(found[1].rsplit("/", 1)[-1])
    if bundled is not None and bundled[1] in ("traefik", "traefik-crd"):
        return Chart(bundled[1], bundled[2])
    content = disk.find_file(member.machine, _STATIC + found[1])
    if content is None:
        raise ReleaseError(f"failed to fetch {url} : 404 Not Found")
    return _identify(content, found[1].rsplit("/", 1)[-1])


def _identify(content: bytes, name: str) -> Chart:
    """Which chart an archive is: by what it says of itself, or by its published digest."""
    stand_in = _STAND_IN.search(content)
    if stand_in is not None:
        found = _FILE.match(stand_in[1].decode())
        if found is not None:
            return Chart(found[1], found[2])
    digest = internet.sha256(content)
    if digest in _DIGESTS:
        return Chart(*_DIGESTS[digest])
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for entry in archive:
                if entry.name.count("/") == 1 and entry.name.endswith("/Chart.yaml"):
                    held = archive.extractfile(entry)
                    about = yaml.safe_load(held.read()) if held is not None else {}
                    return Chart(str(about["name"]), str(about["version"]).removeprefix("v"))
    except (tarfile.TarError, OSError, EOFError, KeyError, yaml.YAMLError) as error:
        text = f"file '{name}' does not appear to be a gzipped archive; got 'application/octet-stream'"
        raise ReleaseError(text) from error
    raise ReleaseError("Chart.yaml file is missing")


def render(site: Site, chart: Chart, given: Obj) -> list[Obj]:
    """The chart's objects for the user's values.

    Raises:
        ReleaseError: the values do not fit the chart.
    """
    if chart.name == "cilium" and chart.version in _CILIUM:
        for path in chart_values.unknown_paths(given):
            site.world.not_known("helm", f"value {path} is none of chart cilium {chart.version}")
        faults = chart_values.schema_errors(given)
        if faults:
            raise ReleaseError(
                "values don't meet the specifications of the schema(s) in the following chart(s):\ncilium:\n"
                + "\n".join(faults)
            )
        values = chart_values.merge(defaults.defaults(), given)
        for part in ("relay", "ui"):
            if values["hubble"]["enabled"] and values["hubble"][part]["enabled"]:
                site.world.not_known("helm", f"value hubble.{part}.enabled: its objects are not rendered here")
        secret = site.api.find("Secret", "kube-system", "cilium-ca")
        data = (secret or {}).get("data") or {}
        ca = (data["ca.crt"], data["ca.key"]) if "ca.crt" in data and "ca.key" in data else None
        try:
            return rendering.render(values, version=chart.version, ca=ca)
        except rendering.ChartError as error:
            raise ReleaseError(f"execution error at (cilium/templates/validate.yaml): {error}") from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ReleaseError(f"template: cilium: executing: {error!r}") from error
    if chart.name == "traefik-crd":
        return []
    if chart.name == "traefik":
        return _traefik()
    site.world.not_known("helm", f"chart {chart.name} {chart.version}")
    raise ReleaseError(f'chart "{chart.name}" version "{chart.version}" cannot be rendered')


def _traefik() -> list[Obj]:
    labels = {"app.kubernetes.io/name": "traefik", "app.kubernetes.io/instance": "traefik-kube-system"}
    ports = [("web", 80, 8000), ("websecure", 443, 8443)]
    container = {
        "name": "traefik",
        "image": "rancher/mirrored-library-traefik:3.6.12",
        "ports": [{"name": name, "containerPort": inner, "protocol": "TCP"} for name, _, inner in ports],
    }
    meta = {"name": "traefik", "namespace": "kube-system", "labels": labels}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels},
                         "spec": {"serviceAccountName": "traefik", "containers": [container]}}}},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {
            "type": "LoadBalancer", "selector": labels,
            "ports": [{"name": name, "port": outer, "targetPort": name} for name, outer, _ in ports]}},
    ]  # fmt: skip
