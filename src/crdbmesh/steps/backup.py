"""Backups: an identity of the machines, storage that it may write, and the schedule."""

from crdbmesh.clients.azure import compare
from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.waiting import Say
from crdbmesh.desired import backup as desired
from crdbmesh.engine.step import Gap
from crdbmesh.errors import CloudError
from crdbmesh.observe import backups
from crdbmesh.spec.mesh import BackupSpec
from crdbmesh.steps.base import MeshStep

_ASSIGN = "az role assignment create --role 'Storage Blob Data Contributor' --assignee-principal-type ServicePrincipal"


class Identity(MeshStep):
    """The managed identity of the machines, in the resource group of backups."""

    def check(self) -> Gap | None:
        """Look for it."""
        absent = backups.find_identity(self.world) is None
        return Gap(f"managed identity {desired.group(self.world.mesh)} is absent", "create") if absent else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Register the providers, and make the group and the identity."""
        mesh, session = self.world.mesh, self.world.session
        for namespace in desired.PROVIDERS:
            if (arm.find_provider(session, namespace) or {}).get("registrationState") != "Registered":
                arm.register_provider(session, namespace, say=say)
        arm.ensure_group(session, desired.group(mesh), **desired.placed(mesh))
        arm.ensure_by_id(session, *desired.identity(mesh, session.subscription_id), say=say)


class Storage(MeshStep):
    """The container of the backups, and the identity's role on it and on nothing else."""

    def check(self) -> Gap | None:
        """Compare the storage with the spec, then look for the role."""
        return next((Gap(said, "change" if had else "create") for said, _, had in backups.find_gaps(self.world)), None)

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Write what differs; a CloudError has the command for somebody who may assign the role."""
        for _, (at, version, body), found in backups.find_gaps(self.world):
            try:
                arm.ensure_by_id(self.world.session, at, version, compare.merge(found, body), say=say)
            except CloudError as error:
                scope, _, assigned = at.partition("/providers/Microsoft.Authorization/")
                if assigned and error.code.lower() == "authorizationfailed":
                    command = f"{_ASSIGN} --assignee-object-id {body['properties']['principalId']} --scope {scope}"
                    error.hint = f"have an owner of the container run: {command}; then run `up` again"
                raise


class Schedule(MeshStep):
    """The database backs itself up, as often as the spec says; schedules that others made stay."""

    def check(self) -> Gap | None:
        """Compare the schedules of our label with the spec; one that somebody paused stays so."""
        at = desired.uri(self.world.mesh, self.world.session.subscription_id).partition("?")[0]
        wanted, rows = self.world.mesh.backup or BackupSpec(), self._ours()
        found = {row["recurrence"] for row in rows if at in row["command"]}
        is_right = found == {wanted.full, wanted.incremental} and len(rows) == 2
        return None if is_right else Gap(f"the database has {'another' if rows else 'no'} schedule of backups")

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Make the schedule in the place of those that differ."""
        old = [f"DROP SCHEDULE {int(row['id'])}" for row in self._ours()]
        backups.query(self.world, *old, desired.schedule(self.world.mesh, self.world.session.subscription_id))

    def _ours(self) -> list[dict[str, str]]:
        rows = backups.query(self.world, "SHOW SCHEDULES FOR BACKUP")
        return [row for row in rows if row["label"] == desired.LABEL]
