"""Pods and workloads as rows of a table.

After `pkg/printers/internalversion/printers.go` of Kubernetes 1.36.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from crdbmesh_simulator.kubernetes.api import printing
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj


def _images(obj: Obj) -> list[str]:
    spec = (printing.spec_of(obj).get("template") or {}).get("spec") or {}
    containers = spec.get("containers") or []
    return [
        ",".join(str(each.get("name")) for each in containers),
        ",".join(str(each.get("image")) for each in containers),
    ]


def pod(obj: Obj, now: float) -> list[Any]:
    """The cells of a Pod."""
    spec, status = printing.spec_of(obj), printing.status_of(obj)
    statuses = status.get("containerStatuses") or []
    ready = sum(1 for each in statuses if each.get("ready"))
    restarts = sum(int(each.get("restartCount") or 0) for each in statuses)
    gates = spec.get("readinessGates") or []
    return [
        f"{ready}/{len(spec.get('containers') or [])}",
        _pod_reason(obj, statuses, ready),
        _restarts(restarts, statuses, now),
        printing.age(obj, now),
        status.get("podIP") or printing.NONE,
        spec.get("nodeName") or printing.NONE,
        status.get("nominatedNodeName") or printing.NONE,
        f"0/{len(gates)}" if gates else printing.NONE,
    ]


def _restarts(count: int, statuses: list[Obj], now: float) -> str:
    ended = [((each.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for each in statuses]
    latest = max((str(stamp) for stamp in ended if stamp), default=None)
    return f"{count} ({printing.since(latest, now)} ago)" if count and latest else str(count)


def _pod_reason(obj: Obj, statuses: list[Obj], ready: int) -> str:
    status = printing.status_of(obj)
    reason = str(status.get("reason") or status.get("phase") or "Unknown")
    init = status.get("initContainerStatuses") or []
    wanted = len(printing.spec_of(obj).get("initContainers") or [])
    for at, each in enumerate(init):
        state = each.get("state") or {}
        ended = state.get("terminated")
        if ended is not None and ended.get("exitCode") == 0:
            continue
        if ended is not None:
            reason = f"Init:{ended.get('reason') or 'ExitCode:' + str(ended.get('exitCode'))}"
        elif (state.get("waiting") or {}).get("reason") not in (None, "", "PodInitializing"):
            reason = f"Init:{state['waiting']['reason']}"
        else:
            reason = f"Init:{at}/{wanted}"
        break
    else:
        running = False
        for each in reversed(statuses):
            state = each.get("state") or {}
            if (state.get("waiting") or {}).get("reason"):
                reason = state["waiting"]["reason"]
            elif state.get("terminated") is not None:
                ended = state["terminated"]
                reason = ended.get("reason") or f"ExitCode:{ended.get('exitCode')}"
            elif each.get("ready") and state.get("running") is not None:
                running = True
        if reason == "Completed" and running:
            reason = "Running" if ready else "NotReady"
    if obj["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return reason


def deployment(obj: Obj, now: float) -> list[Any]:
    """The cells of a Deployment."""
    spec, status = printing.spec_of(obj), printing.status_of(obj)
    ready = f"{status.get('readyReplicas') or 0}/{spec.get('replicas', 0)}"
    return [
        ready,
        status.get("updatedReplicas") or 0,
        status.get("availableReplicas") or 0,
        printing.age(obj, now),
        *_images(obj),
        printing.selector_of(spec.get("selector")),
    ]


def replica_set(obj: Obj, now: float) -> list[Any]:
    """The cells of a ReplicaSet."""
    spec, status = printing.spec_of(obj), printing.status_of(obj)
    counts = [spec.get("replicas", 0), status.get("replicas") or 0, status.get("readyReplicas") or 0]
    return [*counts, printing.age(obj, now), *_images(obj), printing.selector_of(spec.get("selector"))]


def stateful_set(obj: Obj, now: float) -> list[Any]:
    """The cells of a StatefulSet."""
    ready = f"{printing.status_of(obj).get('readyReplicas') or 0}/{printing.spec_of(obj).get('replicas', 0)}"
    return [ready, printing.age(obj, now), *_images(obj)]


def daemon_set(obj: Obj, now: float) -> list[Any]:
    """The cells of a DaemonSet."""
    status = printing.status_of(obj)
    keys = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    template = (printing.spec_of(obj).get("template") or {}).get("spec") or {}
    return [
        *(status.get(key) or 0 for key in keys),
        printing.labels_of(template.get("nodeSelector")),
        printing.age(obj, now),
        *_images(obj),
        printing.selector_of(printing.spec_of(obj).get("selector")),
    ]


def job(obj: Obj, now: float) -> list[Any]:
    """The cells of a Job."""
    spec, status = printing.spec_of(obj), printing.status_of(obj)
    done = status.get("succeeded") or 0
    parallel = spec.get("parallelism") or 0
    wanted = f"{done}/{spec['completions']}" if spec.get("completions") else f"{done}/1 of {parallel}"
    conditions = {each["type"]: each for each in status.get("conditions") or [] if each.get("status") == "True"}
    word = "Running"
    for kind, shown in (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")):
        if kind in conditions:
            word = shown
            break
    took = ""
    if status.get("startTime"):
        end = status.get("completionTime")
        until = now if not end else dt.datetime.fromisoformat(str(end)).timestamp()
        took = printing.since(str(status["startTime"]), until)
    return [word, wanted, took, printing.age(obj, now), *_images(obj), printing.selector_of(spec.get("selector"))]


def cron_job(obj: Obj, now: float) -> list[Any]:
    """The cells of a CronJob."""
    spec, status = printing.spec_of(obj), printing.status_of(obj)
    last = status.get("lastScheduleTime")
    inner = (spec.get("jobTemplate") or {"spec": {}}).get("spec") or {}
    return [
        spec.get("schedule"),
        spec.get("timeZone") or printing.NONE,
        "True" if spec.get("suspend") else "False",
        len(status.get("active") or []),
        printing.since(str(last), now) if last else printing.NONE,
        printing.age(obj, now),
        *_images({"spec": inner}),
        printing.selector_of(inner.get("selector")),
    ]
