"""What the API fills in, and what it does not let pass."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from typing import Any

import pytest

Obj = dict[str, Any]
DEFAULT = "/api/v1/namespaces/default"
APPS = "/apis/apps/v1/namespaces/default"


def service(*ports: Obj, **spec: Any) -> Obj:
    return {
        "metadata": {"name": "s"},
        "spec": {"ports": list(ports) or [{"port": 80}], "selector": {"app": "x"}, **spec},
    }


def stateful_set(**spec: Any) -> Obj:
    labels = {"app": "db"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "db:1"}]}}
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    return {"metadata": {"name": "db"}, "spec": {"serviceName": "db", "selector": {"matchLabels": labels},
            "template": template, "volumeClaimTemplates": [claim], **spec}}  # fmt: skip


def test_a_pod_gets_its_defaults(api: Any, make_pod: Any) -> None:
    body = make_pod("p")
    body["spec"]["containers"][0]["readinessProbe"] = {"httpGet": {"port": 80}}
    spec = api.make(f"{DEFAULT}/pods", body)["spec"]
    defaults = {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
                "schedulerName": "default-scheduler", "enableServiceLinks": True, "serviceAccountName": "default",
                "priority": 0}  # fmt: skip
    assert {key: spec[key] for key in defaults} == defaults
    container = spec["containers"][0]
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["ports"][0]["protocol"] == "TCP"
    assert container["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
    }  # fmt: skip
    assert container["volumeMounts"][0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert [each["tolerationSeconds"] for each in spec["tolerations"]] == [300, 300]


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("app", "Always"),
        ("app:latest", "Always"),
        ("r:5000/app", "Always"),
        ("r:5000/app:1", "IfNotPresent"),
        ("app@sha256:0123", "IfNotPresent"),
    ],
)
def test_images_without_a_tag_are_always_pulled(api: Any, make_pod: Any, image: str, policy: str) -> None:
    body = make_pod("p")
    body["spec"]["containers"][0]["image"] = image
    assert api.make(f"{DEFAULT}/pods", body)["spec"]["containers"][0]["imagePullPolicy"] == policy


@pytest.mark.parametrize(
    ("resources", "quality"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
    ],
)
def test_the_quality_of_service_follows_from_resources(api: Any, make_pod: Any, resources: Obj, quality: str) -> None:
    body = make_pod("p")
    body["spec"]["containers"][0]["resources"] = resources
    assert api.make(f"{DEFAULT}/pods", body)["status"]["qosClass"] == quality


@pytest.mark.parametrize(
    ("given", "kept"),
    [("1000m", "1"), ("0.5", "500m"), (2, "2"), ("2000", "2k"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("1e3", "1e3")],
)
def test_quantities_are_kept_in_their_canonical_form(api: Any, make_pod: Any, given: Any, kept: str) -> None:
    body = make_pod("p")
    body["spec"]["containers"][0]["resources"] = {"requests": {"memory": given}}
    made = api.make(f"{DEFAULT}/pods", body)
    assert made["spec"]["containers"][0]["resources"]["requests"] == {"memory": kept}


def test_a_pod_needs_its_account(api: Any, make_pod: Any) -> None:
    answer = api.call("POST", f"{DEFAULT}/pods", make_pod("p", serviceAccountName="none"))
    assert answer.status_code == 403
    assert answer.json()["message"] == (
        'pods "p" is forbidden: error looking up service account default/none: serviceaccount "none" not found'
    )


def test_a_stateful_set_gets_its_defaults(api: Any) -> None:
    spec = api.make(f"{APPS}/statefulsets", stateful_set())["spec"]
    assert (spec["replicas"], spec["podManagementPolicy"], spec["revisionHistoryLimit"]) == (1, "OrderedReady", 10)
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    claim = spec["volumeClaimTemplates"][0]
    assert (claim["kind"], claim["spec"]["volumeMode"], claim["status"]["phase"]) == (
        "PersistentVolumeClaim", "Filesystem", "Pending")  # fmt: skip


# Services.


def test_a_service_gets_an_address_of_the_range_and_a_node_port(api: Any) -> None:
    made = api.make(f"{DEFAULT}/services", service(type="NodePort"))["spec"]
    assert made["clusterIP"].startswith("10.96.")
    assert made["clusterIPs"] == [made["clusterIP"]]
    assert (made["ports"][0]["targetPort"], made["ports"][0]["protocol"]) == (80, "TCP")
    assert 30000 <= made["ports"][0]["nodePort"] <= 32767
    assert (made["ipFamilies"], made["internalTrafficPolicy"], made["sessionAffinity"]) == (["IPv4"], "Cluster", "None")


def test_a_headless_service_keeps_none(api: Any) -> None:
    assert api.make(f"{DEFAULT}/services", service(clusterIP="None"))["spec"]["clusterIP"] == "None"


def test_one_node_port_serves_one_service_but_both_protocols(api: Any) -> None:
    udp = {"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053}
    tcp = {**udp, "name": "dns-tcp", "protocol": "TCP"}
    api.make(f"{DEFAULT}/services", service(udp, tcp, type="NodePort"))
    other = {**service({"port": 80, "nodePort": 30053}, type="NodePort"), "metadata": {"name": "t"}}
    answer = api.call("POST", f"{DEFAULT}/services", other)
    assert answer.status_code == 422
    assert answer.json()["message"] == (
        'Service "t" is invalid: spec.ports[0].nodePort: Invalid value: 30053: provided port is already allocated'
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            service({"port": 80, "nodePort": 80}, type="NodePort"),
            (
                "spec.ports[0].nodePort: Invalid value: 80: provided port "
                "is not in the valid range. The range of valid ports is 30000-32767"
            ),
        ),
        (service({"port": 0}), "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        (service({"port": 80}, {"port": 81}), "spec.ports[0].name: Required value"),
        (
            service(clusterIP="10.97.0.1"),
            ("the provided IP (10.97.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/16"),
        ),
        (
            service(type="Magic"),
            (
                'spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", '
                '"LoadBalancer", "NodePort"'
            ),
        ),
        ({**service(), "metadata": {"name": "1s"}}, "a DNS-1035 label must consist of lower case alphanumeric"),
        (service({"port": 80, "nodePort": 30000}), "may not be used when `type` is 'ClusterIP'"),
    ],
)
def test_services_that_make_no_sense_are_refused(api: Any, body: Obj, message: str) -> None:
    answer = api.call("POST", f"{DEFAULT}/services", body)
    assert answer.status_code == 422
    assert message in answer.json()["message"]


def test_a_replaced_service_keeps_its_address_and_ports(api: Any) -> None:
    made = api.make(f"{DEFAULT}/services", service(type="NodePort"))
    again = api.merge(f"{DEFAULT}/services/s", service(type="NodePort")).json()
    assert again["spec"] == made["spec"]
    answer = api.merge(f"{DEFAULT}/services/s", service(type="NodePort", clusterIP="10.96.99.99"))
    assert 'spec.clusterIPs[0]: Invalid value: ["10.96.99.99"]: may not change once set' in answer.json()["message"]


# What must not change.


def _scaled(body: Obj) -> None:
    body["spec"]["serviceName"] = "other"


def _selected(body: Obj) -> None:
    body["spec"]["selector"]["matchLabels"]["app"] = "other"
    body["spec"]["template"]["metadata"]["labels"]["app"] = "other"


def _templated(body: Obj) -> None:
    body["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"


JOB: Obj = {"metadata": {"name": "j"}, "spec": {"template": {"spec": {
    "restartPolicy": "Never", "containers": [{"name": "main", "image": "app:1"}]}}}}  # fmt: skip
DEPLOYMENT: Obj = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": {
    "metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "main", "image": "app:1"}]}}}}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "change", "message"),
    [
        (
            f"{APPS}/statefulsets",
            stateful_set(),
            _scaled,
            "updates to statefulset spec for fields other than 'replicas'",
        ),
        (f"{APPS}/deployments", DEPLOYMENT, _selected, "field is immutable"),
        ("/apis/batch/v1/namespaces/default/jobs", JOB, _templated, "field is immutable"),
    ],
)
def test_what_is_immutable_cannot_be_changed(
    api: Any, path: str, body: Obj, change: Callable[[Obj], None], message: str
) -> None:
    made = api.make(path, body)
    changed = copy.deepcopy(made)
    change(changed)
    answer = api.merge(f"{path}/{made['metadata']['name']}", changed)
    assert answer.status_code == 422
    assert message in answer.json()["message"]


def test_a_claim_is_immutable_but_for_its_size(api: Any) -> None:
    path = f"{DEFAULT}/persistentvolumeclaims"
    made = api.make(path, {"metadata": {"name": "c"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})  # fmt: skip
    made["spec"]["accessModes"] = ["ReadWriteMany"]
    answer = api.merge(f"{path}/c", made)
    assert "spec is immutable after creation except resources.requests" in answer.json()["message"]


def test_an_immutable_config_map_stays_as_it_is(api: Any) -> None:
    api.make(f"{DEFAULT}/configmaps", {"metadata": {"name": "a"}, "data": {"k": "v"}, "immutable": True})
    answer = api.call("PATCH", f"{DEFAULT}/configmaps/a", {"data": {"k": "w"}}, media="application/merge-patch+json")
    assert answer.json()["message"] == (
        'ConfigMap "a" is invalid: data: Forbidden: field is immutable when `immutable` is set'
    )


def test_a_pod_may_change_its_image_and_little_else(api: Any) -> None:
    made = api.run_pod("p")
    made["spec"]["containers"][0]["image"] = "app:2"
    assert api.merge(f"{DEFAULT}/pods/p", {"spec": made["spec"]}).status_code == 200
    refused = api.merge(f"{DEFAULT}/pods/p", {"spec": {"hostNetwork": True}})
    assert "pod updates may not change fields other than" in refused.json()["message"]


# What is refused.


def _deployment(**change: Any) -> Obj:
    body = copy.deepcopy(DEPLOYMENT)
    body["spec"].update(change)
    return body


def _container(**fields: Any) -> Obj:
    body = copy.deepcopy(DEPLOYMENT)
    body["spec"]["template"]["spec"]["containers"][0].update(fields)
    return body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            _deployment(selector={"matchLabels": {"app": "y"}}),
            ('spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`'),
        ),
        (_deployment(replicas=-1), "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        (_deployment(selector=None), "spec.selector: Required value"),
        (_container(image=None), "spec.template.spec.containers[0].image: Required value"),
        (_container(name="A"), 'spec.template.spec.containers[0].name: Invalid value: "A": a lowercase RFC 1123 label'),
        (_container(volumeMounts=[{"name": "v", "mountPath": "/v"}]), 'volumeMounts[0].name: Not found: "v"'),
        (
            _container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            "must be less than or equal to cpu limit of 1",
        ),
        (_container(resources={"requests": {"cpu": "lots"}}), "quantities must match the regular expression"),
        (_container(livenessProbe={}), "must specify a handler type"),
        (_container(ports=[{"containerPort": 70000}]), "must be between 1 and 65535, inclusive"),
        ({**DEPLOYMENT, "metadata": {"name": "d", "labels": {"a": "b c"}}}, "a valid label must be an empty string or"),
        (
            {**DEPLOYMENT, "metadata": {"name": "d", "annotations": {"a": "x" * 262144}}},
            ("metadata.annotations: Too long: may not be more than 262144 bytes"),
        ),
    ],
)
def test_invalid_workloads_are_refused_by_field(api: Any, body: Obj, message: str) -> None:
    answer = api.call("POST", f"{APPS}/deployments", body)
    assert answer.status_code == 422, answer.text
    assert message in answer.json()["message"]
    assert answer.json()["details"]["kind"] == "Deployment"


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        ("secrets", {"data": {"a b": ""}}, "a valid config key must consist of"),
        ("secrets", {"type": "kubernetes.io/tls"}, "data[tls.crt]: Required value"),
        ("configmaps", {"data": {"k": "x" * 1024 * 1025}}, "Too long: may not be more than 1048576 bytes"),
    ],
)
def test_invalid_data_is_refused(api: Any, kind: str, body: Obj, message: str) -> None:
    answer = api.call("POST", f"{DEFAULT}/{kind}", {"metadata": {"name": "a"}, **body})
    assert answer.status_code == 422
    assert message in answer.json()["message"]


def test_string_data_becomes_data(api: Any) -> None:
    made = api.make(f"{DEFAULT}/secrets", {"metadata": {"name": "a"}, "stringData": {"k": "v"}})
    assert (made["data"], made["type"], "stringData" in made) == (
        {"k": base64.b64encode(b"v").decode()},
        "Opaque",
        False,
    )


# Pod security.


GOOD = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"}}  # fmt: skip


def _secure(**change: Any) -> Obj:
    return {key: value for key, value in {**GOOD, **change}.items() if value is not None}


@pytest.mark.parametrize(
    ("level", "context", "pod", "violation"),
    [
        ("restricted", GOOD, {}, None),
        (
            "restricted",
            _secure(allowPrivilegeEscalation=None),
            {},
            (
                'allowPrivilegeEscalation != false (container "main" must '
                "set securityContext.allowPrivilegeEscalation=false)"
            ),
        ),
        (
            "restricted",
            _secure(capabilities=None),
            {},
            ('unrestricted capabilities (container "main" must set securityContext.capabilities.drop=["ALL"])'),
        ),
        (
            "restricted",
            _secure(runAsNonRoot=None),
            {},
            ('runAsNonRoot != true (pod or container "main" must set securityContext.runAsNonRoot=true)'),
        ),
        ("restricted", _secure(runAsNonRoot=None), {"securityContext": {"runAsNonRoot": True}}, None),
        (
            "restricted",
            _secure(seccompProfile=None),
            {},
            (
                'seccompProfile (pod or container "main" must set '
                'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
            ),
        ),
        (
            "restricted",
            GOOD,
            {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
            ('restricted volume types (volume "v" uses restricted volume type "hostPath")'),
        ),
        ("restricted", _secure(runAsUser=0), {}, 'runAsUser=0 (container "main" must not set runAsUser=0)'),
        ("baseline", {}, {}, None),
        (
            "baseline",
            {"privileged": True},
            {},
            'privileged (container "main" must not set securityContext.privileged=true)',
        ),
        ("baseline", {}, {"hostNetwork": True}, "host namespaces (hostNetwork=true), hostPort"),
        ("baseline", {}, {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, 'hostPath volumes (volume "v")'),
        (
            "baseline",
            {"capabilities": {"add": ["NET_ADMIN"]}},
            {},
            (
                'non-default capabilities (container "main" must not '
                'include "NET_ADMIN" in securityContext.capabilities.add)'
            ),
        ),
        ("privileged", {"privileged": True}, {"hostPID": True}, None),
    ],
)
def test_a_namespaces_profile_decides_which_pods_it_takes(
    api: Any, make_pod: Any, level: str, context: Obj, pod: Obj, violation: str | None
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": level}
    api.make("/api/v1/namespaces", {"metadata": {"name": "n", "labels": labels}})
    api.make("/api/v1/namespaces/n/serviceaccounts", {"metadata": {"name": "default"}})
    body = make_pod("p", **pod)
    body["spec"]["containers"][0]["securityContext"] = context
    answer = api.call("POST", "/api/v1/namespaces/n/pods", body)
    if violation is None:
        assert answer.status_code == 201, answer.text
        return
    assert answer.status_code == 403
    assert answer.json()["message"].startswith(f'pods "p" is forbidden: violates PodSecurity "{level}:latest": ')
    assert violation in answer.json()["message"]


def test_a_workload_is_only_warned_of_what_its_pods_would_violate(api: Any, make_deployment: Any) -> None:
    labels = {"pod-security.kubernetes.io/warn": "restricted", "pod-security.kubernetes.io/enforce": "restricted"}
    api.make("/api/v1/namespaces", {"metadata": {"name": "n", "labels": labels}})
    answer = api.call("POST", "/apis/apps/v1/namespaces/n/deployments", make_deployment("web"))
    assert answer.status_code == 201
    assert answer.headers["Warning"].startswith('299 - "would violate PodSecurity \\"restricted:latest\\": ')


@pytest.mark.parametrize(
    ("label", "value", "message"),
    [
        ("enforce", "strict", 'Invalid value: "strict": must be one of privileged, baseline, restricted'),
        ("warn-version", "1.36", 'Invalid value: "1.36": must be "latest" or "v1.x"'),
        ("enforce", "restricted", None),
        ("audit-version", "v1.36", None),
    ],
)
def test_levels_that_do_not_exist_are_refused(api: Any, label: str, value: str, message: str | None) -> None:
    key = f"pod-security.kubernetes.io/{label}"
    answer = api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "n", "labels": {key: value}}})
    assert answer.status_code == (422 if message else 201)
    if message:
        assert answer.json()["message"] == f'Namespace "n" is invalid: metadata.labels[{key}]: {message}'


@pytest.mark.parametrize(("warn", "warned"), [(None, True), ("privileged", False)])
def test_a_namespace_that_enforces_a_level_warns_of_workloads_below_it(
    api: Any, make_deployment: Any, warn: str | None, warned: bool
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    labels |= {"pod-security.kubernetes.io/warn": warn} if warn else {}
    api.make("/api/v1/namespaces", {"metadata": {"name": "n", "labels": labels}})
    answer = api.call("POST", "/apis/apps/v1/namespaces/n/deployments", make_deployment("web"))
    assert answer.status_code == 201
    assert ("would violate PodSecurity" in answer.headers.get("Warning", "")) == warned


# As a real cluster answered.


@pytest.mark.parametrize(
    ("spec", "code"), [({"minAvailable": 1}, 201), ({"maxUnavailable": 1, "minAvailable": 1}, 422)]
)
def test_a_budget_says_what_must_be_available_or_what_may_be_unavailable(api: Any, spec: Obj, code: int) -> None:
    body = {"metadata": {"name": "b"}, "spec": {"selector": {}, **spec}}
    answer = api.call("POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", body)
    assert answer.status_code == code
    assert ("minAvailable and maxUnavailable cannot be both set" in answer.text) == (code == 422)


@pytest.mark.parametrize(("kind", "field"), [("Secret", "data"), ("ConfigMap", "binaryData")])
def test_what_is_not_base64_cannot_be_read(api: Any, kind: str, field: str) -> None:
    path = f"{DEFAULT}/{kind.lower()}s"
    refused = api.call("POST", path, {"metadata": {"name": "a"}, field: {"k": "YWJj!"}})
    why = "illegal base64 data at input byte 4"
    assert (refused.status_code, refused.json()["reason"]) == (400, "BadRequest")
    assert refused.json()["message"] == f'{kind} in version "v1" cannot be handled as a {kind}: {why}'
    config = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "a"}, field: {"k": "YWJj!"}}
    applied = api.apply(f"{path}/a", config, "me")
    assert (applied.status_code, why in applied.json()["message"]) == (500, True)
    assert api.call("POST", path, {"metadata": {"name": "a"}, field: {"k": "YWJj"}}).status_code == 201


def test_the_identity_of_an_object_cannot_be_changed(api: Any) -> None:
    path = f"{DEFAULT}/configmaps/a"
    config: Obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}
    made = api.apply(path, config, "me").json()
    config["metadata"]["uid"] = "other"
    for refused in (api.apply(path, config, "me"), api.merge(path, {"metadata": {"uid": "other"}})):
        assert refused.status_code == 422
        assert refused.json()["message"].endswith('metadata.uid: Invalid value: "other": field is immutable')
    config["metadata"]["uid"] = made["metadata"]["uid"]
    assert api.apply(path, config, "me").status_code == 200


def test_an_object_is_valid_before_its_name_is_taken(api: Any) -> None:
    path = f"{DEFAULT}/services"
    api.make(path, service())
    assert api.call("POST", path, service({"port": 0})).status_code == 422
    assert api.call("POST", path, service()).status_code == 409


def test_the_finalizer_of_a_namespace_is_nobodys(api: Any) -> None:
    config = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {"a": "b"}}}
    made = api.apply("/api/v1/namespaces/n", config, "me").json()
    [entry] = made["metadata"]["managedFields"]
    assert entry["fieldsV1"] == {"f:metadata": {"f:labels": {"f:a": {}}}}
    assert made["spec"] == {"finalizers": ["kubernetes"]}
    other = api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "m"}}).json()
    assert "f:spec" not in other["metadata"]["managedFields"][0]["fieldsV1"]
