"""Each secret is only where it is needed, and each pod may do only what it needs."""

from __future__ import annotations

import base64
import gzip
import io
import json
from pathlib import Path
from typing import Any

import paramiko
import pytest

from crdbmesh.spec.versions import NEWEST

pytestmark = pytest.mark.timeout(240)
REGIONS = ("eastus", "westus")
OWN = {"cockroachdb", "cockroachdb-client"}
"""The `app` labels of the pods that crdbmesh itself makes."""


def log_in(mesh: Any, machine: str) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy)
    address, port = mesh.ground.machine_addresses()[machine], mesh.ground.coordinates["ssh_port"]
    line = (mesh.ground.home / "host-keys" / f"{machine}.pub").read_text()
    shown = paramiko.Ed25519Key(data=base64.b64decode(line.split()[1]))
    client.get_host_keys().add(f"[{address}]:{port}", "ssh-ed25519", shown)
    key = (mesh.ground.home / "login.key").read_text()
    client.connect(
        address,
        port,
        "crdbmesh",
        pkey=paramiko.Ed25519Key.from_private_key(io.StringIO(key)),
        allow_agent=False,
        look_for_keys=False,
    )
    return client


def root(client: paramiko.SSHClient, command: str) -> str:
    _, stdout, _ = client.exec_command(f"sudo -n sh -c '{command}'", timeout=60)
    return stdout.read().decode()


def key_lines(mesh: Any, name: str) -> list[str]:
    """Lines from the middle of the keys that are called so."""
    found = [text.splitlines()[2] for secret, text in mesh.ground.planted().items() if name in secret]
    assert found, name
    return found


def secrets_with(mesh: Any, region: str, needle: str) -> set[str]:
    """The Secrets of a cluster whose data holds a text, compressed Helm releases looked into."""
    found = set()
    for secret in mesh.ground.kube(region, "/api/v1/secrets")["items"]:
        for data in (secret.get("data") or {}).values():
            plain = base64.b64decode(data)
            if secret["type"] == "helm.sh/release.v1":
                plain = gzip.decompress(base64.b64decode(plain))
            texts = [plain.decode("utf-8", "replace")]
            # A values file and a release hold PEM in base64 once more.
            texts += [
                base64.b64decode(f"{word}===").decode("utf-8", "replace")
                for word in texts[0].split()
                if _is_base64(word)
            ]
            if any(needle in text for text in texts) or base64.b64encode(needle.encode()).decode()[4:-4] in texts[0]:
                found.add(f"{secret['metadata']['namespace']}/{secret['metadata']['name']}")
    return found


def _is_base64(word: str) -> bool:
    return len(word) > 100 and set(word) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")


def test_the_cockroachdb_ca_key_is_in_no_cluster_on_no_machine_and_in_no_request(mesh: Any) -> None:
    (line,) = key_lines(mesh, "ca/cockroach")
    for region in REGIONS:
        assert secrets_with(mesh, region, line) == set()
        with log_in(mesh, f"{region}-1") as client:
            assert root(client, f"grep -rlF {line} / 2>/dev/null") == ""
    bodies = {repr(request): request.body.decode() for request in mesh.ground.recorder.requests}
    assert len(bodies) > 20
    ca = {name: text for name, text in mesh.ground.secrets().items() if name.startswith("ca/")}
    assert mesh.ground.leaks(bodies, ca) == []


def test_the_cilium_ca_key_is_only_in_the_secrets_from_which_the_chart_issues(mesh: Any) -> None:
    (line,) = key_lines(mesh, "ca/cilium")
    for region in REGIONS:
        places = secrets_with(mesh, region, line)
        assert {"kube-system/crdbmesh-cilium-values", "kube-system/cilium-ca"} <= places
        assert {place for place in places if "sh.helm.release" not in place} <= {
            "kube-system/crdbmesh-cilium-values",
            "kube-system/cilium-ca",
            "kube-system/chart-values-cilium",
        }


def test_the_root_client_key_is_in_the_first_two_regions_and_only_their_client_pods_mount_it(mesh: Any) -> None:
    for region in REGIONS:
        (line,) = key_lines(mesh, f"{region}/client.root.key")
        assert secrets_with(mesh, region, line) == {f"{region}/cockroachdb.client.root"}
        assert not any(secrets_with(mesh, other, line) for other in REGIONS if other != region)
    holders = set()
    for region in REGIONS:
        for pod in mesh.ground.kube(region, "/api/v1/pods")["items"]:
            if "cockroachdb.client.root" in json.dumps(pod["spec"]):
                holders.add((region, pod["metadata"]["labels"]["app"]))
    assert holders == {(region, "cockroachdb-client") for region in REGIONS}


def test_the_login_key_and_both_ca_keys_are_on_no_machine(mesh: Any) -> None:
    for name in ("login.key", "ca/cockroach", "ca/cilium"):
        (line,) = key_lines(mesh, name)
        with log_in(mesh, "eastus-1") as client:
            found = root(client, f"grep -rlF {line} / 2>/dev/null")
            assert found == "", name


def test_files_with_secrets_on_a_machine_are_for_root_alone(mesh: Any) -> None:
    for region in REGIONS:
        token = (mesh.ground.home / "tokens" / region).read_text().strip()
        host_key = key_lines(mesh, f"host-keys/{region}-1")[0]
        with log_in(mesh, f"{region}-1") as client:
            for needle in (token, host_key):
                files = root(
                    client, f"grep -rlF {needle} /etc /home /root /tmp /var /usr /opt /srv 2>/dev/null"
                ).split()
                assert files
                for path in files:
                    mode, owner = root(client, f'stat -c "%a %U" {path}').split()
                    assert (int(mode, 8) & 0o077, owner) == (0, "root"), path


@pytest.fixture
def own_pods(mesh: Any) -> list[dict[str, Any]]:
    """Every pod that crdbmesh itself makes."""
    pods = [pod for region in REGIONS for pod in mesh.ground.kube(region, f"/api/v1/namespaces/{region}/pods")["items"]]
    assert {pod["metadata"]["labels"]["app"] for pod in pods} == OWN
    return pods


def test_namespaces_of_our_pods_enforce_the_restricted_profile(mesh: Any) -> None:
    for region in REGIONS:
        labels = mesh.ground.kube(region, f"/api/v1/namespaces/{region}")["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_our_pods_meet_the_restricted_profile_and_more(own_pods: list[dict[str, Any]]) -> None:
    for pod in own_pods:
        spec = pod["spec"]
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
        assert all(
            set(volume) & {"secret", "configMap", "emptyDir", "persistentVolumeClaim"} for volume in spec["volumes"]
        )
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert not own.get("privileged")
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_our_pods_get_no_token_for_the_kubernetes_api(own_pods: list[dict[str, Any]]) -> None:
    for pod in own_pods:
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["serviceAccountName"] == "cockroachdb"
        assert "serviceAccountToken" not in json.dumps(pod["spec"])
        assert "/var/run/secrets/kubernetes.io" not in json.dumps(pod["spec"])


def test_secrets_are_mounted_read_only_and_not_for_everyone(own_pods: list[dict[str, Any]]) -> None:
    for pod in own_pods:
        volumes = {volume["name"]: volume["secret"] for volume in pod["spec"]["volumes"] if "secret" in volume}
        assert volumes
        for volume in volumes.values():
            assert volume["defaultMode"] & 0o007 == 0
        for mount in pod["spec"]["containers"][0]["volumeMounts"]:
            assert mount["name"] not in volumes or mount["readOnly"] is True


def test_our_pods_images_are_exact_tags(own_pods: list[dict[str, Any]]) -> None:
    images = {container["image"] for pod in own_pods for container in pod["spec"]["containers"]}
    assert images == {NEWEST.cockroachdb_image}
    for image in images:
        name, _, tag = image.rpartition(":")
        assert name.startswith("docker.io/")
        assert tag.startswith("v")
        assert tag.count(".") == 2


def test_a_kubeconfig_that_contexts_are_merged_into_and_its_backup_are_for_the_owner_alone(
    mesh: Any, tmp_path: Path
) -> None:
    path = tmp_path / "kube" / "config"
    path.parent.mkdir()
    path.write_text("apiVersion: v1\nkind: Config\nclusters: []\nusers: []\ncontexts: []\n")
    path.chmod(0o644)
    run = mesh.ground.run("kubeconfig", "--merge", "-o", "json", umask=0, more={"KUBECONFIG": str(path)})
    assert run.code == 0, run.stderr
    assert mesh.ground.leaks(mesh.ground.around(run)) == []
    assert path.stat().st_mode & 0o777 == 0o600
    assert Path(run.document()["backup"]).stat().st_mode & 0o777 == 0o600
