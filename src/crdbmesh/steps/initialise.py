"""Initialises the database, once, on one node, ever; and proves that it is one cluster.

Two initialisations of nodes that do not see each other make two clusters, and nothing joins them again
(cockroachdb/cockroach#75975). What keeps that from happening, whatever dies when:

- Nothing is initialised unless every pod of every region waits for it; a pod that does not say is waited for.
- The target is claimed first, in every region, by a marker that names it. Each run applies its claim under a name of
  its own, so the API server refuses a claim for another target (409): two runs with different specs cannot both go on.
  Who comes after a claim uses its target, whichever region its own spec lists first.
- Told twice, the target answers that it is initialised already.
- The cluster's id is kept in every marker and in the local folder. Where one is, nothing is ever initialised: a lost
  marker is written again, lost volumes are an error.
"""

import functools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from crdbmesh.clients import database
from crdbmesh.clients.kube.client import Kube
from crdbmesh.clients.waiting import Say
from crdbmesh.desired import cockroach
from crdbmesh.engine.step import Gap
from crdbmesh.errors import CrdbmeshError, KubeError, RefusedError
from crdbmesh.local import contents
from crdbmesh.observe import database as observed
from crdbmesh.observe import locations
from crdbmesh.run.world import World
from crdbmesh.spec import documents, names
from crdbmesh.spec.mesh import Region
from crdbmesh.steps.base import AwaitedStep, MeshStep

JOIN_DEADLINE_S = 600.0
_AT_BIRTH = (
    # A node that ends is unready for as long first: Kubernetes needs two looks, 5 s apart, to send nobody there.
    "SET CLUSTER SETTING server.shutdown.initial_wait = '10s'",
    # Who uses the rights of admin is in the log of sensitive accesses.
    "SET CLUSTER SETTING sql.log.admin_audit.enabled = true",
)
"""Settings that are made once, when the cluster is born; who sets otherwise later is left so (docs v26.2)."""
ID, TARGET = "cluster-id", "target"
"""The keys of a marker."""

CONFLICT = 409

Markers = Mapping[str, Mapping[str, str]]
"""The markers' data by region; empty where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialised(MeshStep):
    """The cluster has been initialised, and every region's marker says so."""

    def check(self) -> Gap | None:
        """Look for the markers with the cluster's id."""
        markers = read_markers(self.world)
        if known_id(markers) is None:
            return Gap("CockroachDB is not initialised")
        unmarked = [region for region, marker in markers.items() if not marker.get(ID)]
        return Gap(f"the cluster's id is not kept in {', '.join(unmarked)}") if unmarked else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Initialise if, and only if, it is safe; then keep the cluster's id."""
        markers = read_markers(self.world)
        found = known_id(markers)
        target = self._target(markers)
        if found is None:
            members = self._members(say)
            if not members:
                self._refuse_lost()
                self._claim(target, markers)
                say(f"running `cockroach init` on {target}")
                order = functools.partial(database.initialise, target=target, cluster_name=self.world.mesh.name)
                observed.through_client(self.world, order)
            found = self._read_id(members or [target], say)
            if self.world.mesh.layout > 1:
                observed.through_client(self.world, functools.partial(_run, _AT_BIRTH, target))
            kept = self.world.folder.read(contents.CLUSTER_ID)
            if kept is not None and kept.strip() != found:
                raise _several({"the pods": found, "the local folder": kept.strip()})
        self.world.folder.write(contents.CLUSTER_ID, found)
        for region in self.world.mesh.all_regions():
            # A claim of another region's, which it was told of too late, gives way to what the cluster is.
            self.world.kube(region.name).apply(cockroach.marker(region, {TARGET: target, ID: found}), force=True)
        self._locate(target, say)

    def _locate(self, target: str, say: Say) -> None:
        """Give the regions the coordinates that Azure tells, for the map of the DB Console."""
        try:
            places = locations.find_places(self.world)
            # From v26.1 on, system tables are closed to sessions that do not ask for them.
            statements = ["SET allow_unsafe_internals = true"] + [
                f"UPSERT INTO system.locations VALUES ('region', '{region}', {latitude}, {longitude})"
                for region, (latitude, longitude) in places.items()
            ]
            order = functools.partial(database.query, host=target)
            observed.through_client(self.world, lambda kube, region: order(kube, region, *statements))
        except CrdbmeshError as error:
            # The map is for people: nothing depends on it.
            say(f"the DB Console's map has no coordinates: {error}")

    def _target(self, markers: Markers) -> str:
        """Return the node to initialise: the one that is claimed, or the first region's first."""
        claimed = {marker[TARGET]: region for region, marker in markers.items() if marker.get(TARGET)}
        if not claimed:
            return cockroach.init_target(self.world.mesh)
        known = {observed.address_of(region, ordinal) for region, ordinal in observed.every_pod(self.world)}
        if known_id(markers) is None and (len(claimed) > 1 or not set(claimed) <= known):
            where = "; ".join(f"{target} (marked in {region})" for target, region in claimed.items())
            raise RefusedError(
                f"the initialisation was begun on {where}, which is not one node of this spec",
                hint="run `up` with the spec that began it; or, when no pod anywhere is initialised, delete the "
                f"ConfigMap {names.INIT_MARKER} there",
            )
        return next(iter(claimed))

    def _members(self, say: Say) -> list[str]:
        """List the nodes that are part of an initialised cluster; when none is, every one of them waits for it.

        A pod that does not answer could be either, so this waits until one says yes or all say no.
        """

        def probe() -> tuple[list[str] | None, str]:
            states = observed.read_states(self.world)
            members = [address for address, state in states.items() if state is None]
            unclear = [
                f"{address}: {state}" for address, state in states.items() if state and observed.WAITING not in state
            ]
            return (None, "; ".join(unclear[:3])) if unclear and not members else (members, "")

        return self.world.wait_until(
            probe, awaited="every CockroachDB pod to wait for its initialisation", deadline_s=JOIN_DEADLINE_S, say=say
        )

    def _refuse_lost(self) -> None:
        kept = self.world.folder.read(contents.CLUSTER_ID)
        if kept is not None:
            raise _lost_volumes(self.world, kept.strip())

    def _claim(self, target: str, markers: Markers) -> None:
        """Claim the target in every region, in one order everywhere, so that the first region decides between two runs.

        A KubeError says that another run claims another target; it may pass, for that one will be used.
        """
        manager = f"crdbmesh-init-{secrets.token_hex(4)}"
        claimed: list[Region] = []
        for region in sorted(self.world.mesh.all_regions(), key=lambda region: region.name):
            try:
                self.world.kube(region.name, manager=manager).apply(cockroach.marker(region, {TARGET: target}))
            except KubeError as error:
                if error.status != CONFLICT:
                    raise
                for mine in claimed:
                    if not markers[mine.name]:
                        kube = self.world.kube(mine.name)
                        kube.delete("v1", "ConfigMap", names.INIT_MARKER, mine.name, wait=False)
                raise KubeError(
                    f"another run initialises another node, by the marker of {region.name}"
                ).as_retryable() from None
            claimed.append(region)

    def _read_id(self, addresses: list[str], say: Say) -> str:
        """Return the id of the one cluster that these nodes are part of; raise RefusedError when there are several."""

        def ask() -> tuple[dict[str, str] | None, str]:
            try:
                return {address: observed.read_cluster_id(self.world, address) for address in addresses}, ""
            except CrdbmeshError as error:
                return None, str(error)

        found = self.world.wait_until(ask, awaited="the cluster's id", deadline_s=JOIN_DEADLINE_S, say=say)
        if len(set(found.values())) > 1:
            raise _several(found)
        return found[addresses[0]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof(AwaitedStep):
    """Every pod is ready, every node live with its locality, all of them one cluster: the one that was initialised."""

    def awaited(self) -> str:
        """Name what is waited for, for messages."""
        return "every CockroachDB node to be live"

    def missing(self) -> str | None:
        """Ask Kubernetes for the pods, then the database for its nodes."""
        if unready := self._unready():
            self._refuse_lost()
            return unready
        self._refuse_several()
        nodes = observed.read_nodes(self.world)
        for region in self.world.mesh.all_regions():
            for pod, why in observed.not_live(region, nodes).items():
                return f"{region.name}: pod {pod} {why}"
        return None

    def _unready(self) -> str | None:
        for region in self.world.mesh.all_regions():
            kube = self.world.kube(region.name)
            pods = kube.list("v1", "Pod", region.name, labels=observed.PODS)
            for pod, why in observed.unready(kube, region, pods).items():
                return f"{region.name}: pod {pod} {why}"
        return None

    def _refuse_lost(self) -> None:
        """Refuse to wait for a cluster whose every node waits to be initialised: it has lost its volumes."""
        states = observed.read_states(self.world)
        known = known_id(read_markers(self.world))
        if known is not None and all(state and observed.WAITING in state for state in states.values()):
            raise _lost_volumes(self.world, known)

    def _refuse_several(self) -> None:
        addresses = [observed.address_of(region.name, 0) for region in self.world.mesh.all_regions()]
        found = {address: observed.read_cluster_id(self.world, address) for address in addresses}
        known = known_id(read_markers(self.world))
        if set(found.values()) != {known}:
            raise _several(found, known)


def read_markers(world: World) -> dict[str, dict[str, str]]:
    """Read the markers of all regions: which region is the first may have changed in the spec.

    A region that cannot be read is a KubeError, because nobody knows.
    """
    found = {
        region.name: world.kube(region.name).find("v1", "ConfigMap", names.INIT_MARKER, region.name)
        for region in world.mesh.all_regions()
    }
    data = {region: (marker or {}).get("data") or {} for region, marker in found.items()}
    return {region: {key: documents.scalar(value) for key, value in told.items()} for region, told in data.items()}


def known_id(markers: Markers) -> str | None:
    """Return the cluster id that the markers tell, or None; raise RefusedError when they tell several."""
    ids = {f"the marker of {region}": marker[ID] for region, marker in markers.items() if marker.get(ID)}
    if len(set(ids.values())) > 1:
        raise _several(ids)
    return next(iter(ids.values()), None)


def _several(found: Mapping[str, str], known: str | None = None) -> RefusedError:
    listed = ", ".join(f"{where}: {cluster}" for where, cluster in found.items())
    return RefusedError(
        f"the regions are not one CockroachDB cluster{f' ({known})' if known else ''}: {listed}",
        hint="a node was initialised apart from the others: save its data if it has any, delete its pod and volume "
        "claim, and let it join the one cluster",
    )


def _lost_volumes(world: World, known: str) -> RefusedError:
    return RefusedError(
        f"the CockroachDB cluster {known} was initialised here, and now every pod waits as if it never was: the "
        "volumes are gone, and with them the data",
        hint="bring the machines with the volumes back. If they are lost for good: delete the ConfigMaps "
        f"{names.INIT_MARKER} and {world.folder.path / contents.CLUSTER_ID}, run `up`, which begins an empty cluster, "
        "and restore a backup",
    )


def _run(statements: tuple[str, ...], target: str, kube: Kube, region: str) -> None:
    for statement in statements:
        database.query(kube, region, statement, host=target)
