"""Sets, by SQL, the license of the one cluster, and makes a database over all regions.

What others set stays: regions are added to a database and never dropped, and a primary region is moved only when the
spec names it. SQL: CockroachDB docs v26.2, `alter-database` and `multiregion-survival-goals`.
"""

import datetime as dt
import re
from dataclasses import dataclass

from crdbmesh.clients import database
from crdbmesh.clients.database import Row
from crdbmesh.clients.waiting import Say
from crdbmesh.engine.step import Gap
from crdbmesh.errors import RefusedError
from crdbmesh.local import licenses
from crdbmesh.observe import database as observed
from crdbmesh.spec.mesh import DatabaseSpec
from crdbmesh.steps.base import MeshStep

_SETTING = "enterprise.license"
_HIDDEN = "<redacted>"
"""The value of a sensitive setting where `server.redact_sensitive_settings.enabled` is set."""
_CLOSE = dt.timedelta(hours=1)
"""Ends as close as this are the same: nodes tell the time that is left once in a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _SqlStep(MeshStep):
    def _query(self, statement: str) -> list[Row]:
        return observed.through_client(self.world, lambda kube, region: database.query(kube, region, statement))


@dataclass(frozen=True, slots=True, kw_only=True)
class License(_SqlStep):
    """The cluster has the license key of the spec's file; one that is set stays while the file is gone."""

    def check(self) -> Gap | None:
        """Compare the key with the one that is set, if it can be seen."""
        is_set = self._read()
        path = self.world.mesh.license_file
        if is_set == _HIDDEN or (is_set and path is not None and not path.exists()) or is_set == self._key():
            return None
        return Gap("CockroachDB has another license" if is_set else "CockroachDB has no license")

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Set the key, and put back the one that was set when that ends later, which is a RefusedError."""
        is_set, key, before = self._read(), self._key(), observed.read_license(self.world).ends
        setting = f"SET CLUSTER SETTING {_SETTING} = "
        after = observed.read_license(self.world, f"{setting}'{key}'").ends
        if before and after and after < before - _CLOSE:
            self._query(f"{setting}'{is_set}'")
            said = f"holds a key that ends on {after:%Y-%m-%d}; the one that is set ends on {before:%Y-%m-%d} and stays"
            raise RefusedError(f"license_file {self.world.mesh.license_file} {said}", hint="save the later key in it")

    def _read(self) -> str:
        (row,) = self._query(f"SHOW CLUSTER SETTING {_SETTING}")
        return row[_SETTING]

    def _key(self) -> str:
        path = self.world.mesh.license_file
        return licenses.read_key(path) if path else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Database(_SqlStep):
    """The spec's database is there, over all regions, with its survival goal."""

    wanted: DatabaseSpec

    def check(self) -> Gap | None:
        """Compare what is there with the spec."""
        row = self._find()
        if row is None:
            return Gap(f"database {self.wanted.name} is absent", "create")
        missing = self._changes(row)
        return Gap(f"database {self.wanted.name} lacks {', '.join(missing)}") if missing else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Make the database, or change what it lacks."""
        row, name = self._find(), self.wanted.name
        if row is None:
            first, *others = sorted(self._regions(), key=lambda region: region != self.wanted.primary)
            more = f" REGIONS {', '.join(map(_quoted, others))}" if others else ""
            goal = f"SURVIVE {self.wanted.survive.upper()} FAILURE"
            self._query(f"CREATE DATABASE {_quoted(name)} PRIMARY REGION {_quoted(first)}{more} {goal}")
        else:
            for change in self._changes(row).values():
                self._query(f"ALTER DATABASE {_quoted(name)} {change}")

    def _changes(self, row: Row) -> dict[str, str]:
        """Return the changes that a database needs, in the order in which they work, by what is missing."""
        primary, there = row.get("primary_region"), re.findall(r"[\w-]+", row.get("regions", ""))
        wanted = self.wanted.primary or primary or self._regions()[0]
        changes = {}
        if not there:
            there = [wanted]
            changes[f"the primary region {wanted}"] = f"SET PRIMARY REGION {_quoted(wanted)}"
        for region in self._regions():
            if region not in there:
                changes[f"the region {region}"] = f"ADD REGION IF NOT EXISTS {_quoted(region)}"
        if primary and primary != wanted:
            changes[f"the primary region {wanted}"] = f"SET PRIMARY REGION {_quoted(wanted)}"
        if row.get("survival_goal") != self.wanted.survive:
            changes[f"the survival goal {self.wanted.survive}"] = f"SURVIVE {self.wanted.survive.upper()} FAILURE"
        return changes

    def _find(self) -> Row | None:
        """Return the database's row without the columns that are NULL, of which a database without regions has some."""
        for row in self._query("SHOW DATABASES"):
            if row["database_name"] == self.wanted.name:
                return {column: value for column, value in row.items() if value != "NULL"}
        return None

    def _regions(self) -> list[str]:
        return [region.name for region in self.world.mesh.all_regions()]


def _quoted(name: str) -> str:
    return f'"{name}"'
