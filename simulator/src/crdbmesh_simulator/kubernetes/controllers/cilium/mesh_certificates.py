"""The certificates of Cluster Mesh as the Cilium chart asks certgen for them.

After `templates/clustermesh-apiserver/tls-cronjob/` of Cilium 1.20.
"""

from __future__ import annotations

import copy

import yaml

from crdbmesh_simulator.kubernetes.controllers.cilium.common import (
    NAMESPACE,
    PART_OF,
    image,
)
from crdbmesh_simulator.kubernetes.controllers.objects import Obj

CERTGEN = "clustermesh-apiserver-generate-certs"


def leaves(values: Obj) -> list[Obj]:
    """The certificates that Cluster Mesh needs, in the form of certgen's configuration."""
    mesh = values["clustermesh"]
    tls = mesh["apiserver"]["tls"]
    name = values["cluster"]["name"]
    remote = f"remote-{name}" if tls["authMode"] == "cluster" else "remote"
    validity = f"{int(tls['auto']['certValidityDuration']) * 24}h"
    service = f"clustermesh-apiserver.{NAMESPACE}.svc"
    hosts = [service, f"*.{mesh['config']['domain']}", *tls["server"]["extraDnsNames"], "127.0.0.1", "::1",
             *tls["server"]["extraIpAddresses"]]  # fmt: skip
    server = ["signing", "key encipherment", "server auth"]
    client = ["signing", "key encipherment", "client auth"]

    def leaf(short: str, common_name: str, usage: list[str], **more: list[str]) -> Obj:
        return {
            "name": f"clustermesh-apiserver-{short}-cert",
            "namespace": NAMESPACE,
            "commonName": common_name,
            **more,
            "usage": usage,
            "validity": validity,
        }

    found = [
        leaf("server", service, server, hosts=hosts),
        leaf("admin", f"admin-{name}", client),
        leaf("remote", remote, client),
    ]
    if mesh["apiserver"]["kvstoremesh"]["enabled"]:
        found.append(leaf("local", f"local-{name}", client))
    return found


def certgen(values: Obj) -> list[Obj]:
    """Method `cronJob`: a Job that signs the certificates now, and a CronJob that renews them."""
    settings = values["certgen"]
    generate = "true" if settings["generateCA"] else "false"
    container = {
        "name": "certgen",
        "image": image(settings["image"], ""),
        "imagePullPolicy": settings["image"]["pullPolicy"],
        "securityContext": {"capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": False},
        "resources": settings["resources"],
        "command": ["/usr/bin/cilium-certgen"],
        "args": [f"--ca-generate={generate}", "--ca-reuse-secret", f"--ca-secret-namespace={NAMESPACE}",
                 "--ca-secret-name=cilium-ca", "--ca-common-name=Cilium CA"],
        "env": [{"name": "CILIUM_CERTGEN_CONFIG",
                 "value": yaml.dump({"certs": leaves(values)}, sort_keys=False, Dumper=yaml.CSafeDumper)}],
    }  # fmt: skip
    pod: Obj = {
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "hostNetwork": False,
        "serviceAccountName": CERTGEN,
        "automountServiceAccountToken": True,
        "restartPolicy": "OnFailure",
        "nodeSelector": settings["nodeSelector"],
        "tolerations": settings["tolerations"],
        "affinity": settings["affinity"],
    }
    spec: Obj = {"template": {"metadata": {"labels": {"k8s-app": CERTGEN}}, "spec": pod}}
    labels = {"k8s-app": CERTGEN, **PART_OF}
    meta = {"name": CERTGEN, "namespace": NAMESPACE, "labels": labels}
    hook = {"helm.sh/hook": "post-install,post-upgrade"}
    schedule = values["clustermesh"]["apiserver"]["tls"]["auto"]["schedule"]
    objects: list[Obj] = [
        {"apiVersion": "batch/v1", "kind": "Job",
         "metadata": {**meta, "annotations": {**hook, **settings["annotations"]["job"]}}, "spec": spec},
    ]  # fmt: skip
    if schedule:
        objects.insert(0, {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {**meta, "annotations": dict(settings["annotations"]["cronJob"])},
            "spec": {"schedule": schedule, "concurrencyPolicy": "Forbid", **settings["cronJob"],
                     "jobTemplate": {"spec": copy.deepcopy(spec)}},
        })  # fmt: skip
    return objects
