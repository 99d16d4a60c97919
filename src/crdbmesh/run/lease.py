"""One run at a time, from whatever machine: a lease in the world.

The lease is the tags of a network security group of its own, which has no rules and is on no network: Microsoft.Network
compares etags (`If-Match`, 412 PreconditionFailed with PreconditionFailedEtagMismatch), which resource groups do not.
It is taken before the first write, renewed while the run goes on, and given back at its end. A holder that died loses
it by time; one that died in this very local folder loses it at once, since it no longer holds the folder's lock.
"""

import contextlib
import datetime as dt
import getpass
import hashlib
import os
import platform
import re
import secrets
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Self

from crdbmesh.clients.azure import kinds
from crdbmesh.clients.azure.session import Session
from crdbmesh.desired import Body
from crdbmesh.errors import PRECONDITION_FAILED, CloudError, CrdbmeshError, Finding, HeldError, RefusedError
from crdbmesh.spec import names

LASTS_S = 300.0
"""The time that a lease lasts unless it is renewed."""
LONGEST_S = 900.0
"""No run of ours writes a lease that ends later than this by Azure's clock, so that none is believed that does."""
_RENEWALS = 4
"""The number of renewals in that time."""
_TAKE_S = 120.0
_READABLE_S = 60.0
_TRIES = 3
_LONGEST_NAME = 200
_ID = re.compile(r"[\w-]{1,32}")
_HOLDER = f"{names.TAG}-lease-"
"""Tags of this prefix name the holder."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a lease.

    Attributes:
        id: of the run.
        name: for people: `up by alice on laptop, process 4711`.
        origin: the id of its machine, boot and local folder; that folder's lock tells whether the run still lives.
        since: when the run took it.
        until: when it ends unless it is renewed.
    """

    id: str
    name: str
    origin: str
    since: dt.datetime
    until: dt.datetime

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> Self | None:
        """The holder that tags name, which anyone may have written; None when no run of ours can have."""
        holder = tags.get(names.TAG_LEASE_HOLDER, "somebody")[:_LONGEST_NAME]
        try:
            if not _ID.fullmatch(tags[names.TAG_LEASE_ID]):
                return None
            return cls(
                tags[names.TAG_LEASE_ID],
                "".join(character if character.isprintable() else "?" for character in holder),
                tags.get(names.TAG_LEASE_ORIGIN, ""),
                _time(tags[names.TAG_LEASE_SINCE]),
                _time(tags[names.TAG_LEASE_UNTIL]),
            )
        except (KeyError, ValueError):
            return None

    def tags(self) -> dict[str, str]:
        """The tags that name it."""
        return {
            names.TAG_LEASE_ID: self.id,
            names.TAG_LEASE_HOLDER: self.name,
            names.TAG_LEASE_ORIGIN: self.origin,
            names.TAG_LEASE_SINCE: _text(self.since),
            names.TAG_LEASE_UNTIL: _text(self.until),
        }


@dataclass(eq=False)
class Lease(AbstractContextManager["Lease", None]):
    """A mesh's lease, as one run takes, keeps and gives it back.

    The group must be there before the lease can be taken. `owns` tells whether a security group of the lease's name is
    the mesh's; `record` is called before one is made. `tags` are those of the mesh's resources, and the security group
    is made in `location`. `command` says what the run does, `up`; `origin` is the id of the local folder whose lock it
    holds. Unless renewed the lease lasts `lasts_s`. `lost` is called, in another thread, when somebody else has it, or
    when it ran out because Azure cannot be reached. `breaks` is the id of a lease that is taken although somebody has
    it; `warn` is told who that is.

    Times are those of Azure's clock, which all runs share.

    Attributes:
        held_by_other: why this run lost it, or None.
    """

    session: Session
    group: str
    mesh: str
    location: str
    tags: Mapping[str, str]
    command: InitVar[str]
    origin: InitVar[str | None]
    owns: Callable[[Body], bool] = lambda _found: True
    record: Callable[[], None] = lambda: None
    lasts_s: float = LASTS_S
    lost: Callable[[], None] = lambda: None
    breaks: str | None = None
    warn: Callable[[Finding], None] = lambda _finding: None
    held_by_other: HeldError | None = field(default=None, init=False)

    def __post_init__(self, command: str, origin: str | None) -> None:
        now = self._now()
        self._me = Holder(secrets.token_hex(8), name_of(command), origin or f"none-{secrets.token_hex(8)}", now, now)
        self._held: Body | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._renewer: threading.Thread | None = None

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def look(self) -> None:
        """Raise HeldError when somebody else holds it."""
        self._refuse(self._read()[0])

    def take(self) -> None:
        """Take it, unless this run has it; raise HeldError when somebody else has it, or has taken it from this run."""
        with self._lock:
            if self.held_by_other is not None:
                raise self.held_by_other
            if self._held is not None and self._now() < self._me.until:
                return
            # Not taken yet, or not renewed in time: this computer slept.
            holder, found = self._read()
            try:
                self._refuse(holder)
            except HeldError as error:
                self.held_by_other = error
                raise
            if holder is not None and holder.id == self.breaks:
                reason = f"had the lease since {_text(holder.since)}; it is broken, as you asked"
                remedy = "if it still runs, it stops once it sees that"
                self.warn(Finding("lease", holder.name, reason, remedy))
            self._held = self._write(self._renewed(since=self._now()), found)
            if self._renewer is None:
                self._renewer = threading.Thread(target=self._renew_until_ended, name="lease", daemon=True)
                self._renewer.start()

    def end(self) -> None:
        """Renew it no more, and leave it to run out, or to be deleted with the rest of the mesh."""
        self._ended.set()
        if self._renewer is not None:
            self._renewer.join()

    def give_back(self) -> None:
        """Give it back, if this run has it; a lease that cannot be given back runs out."""
        self.end()
        with self._lock:
            held, self._held = self._held, None
        if held is not None and self.held_by_other is None:
            with contextlib.suppress(CrdbmeshError):
                self._put({}, held)

    def _refuse(self, holder: Holder | None) -> None:
        now = self._now()
        if holder is None or holder.id in (self._me.id, self.breaks) or holder.origin == self._me.origin:
            return
        if not now <= holder.until <= now + dt.timedelta(seconds=LONGEST_S):
            return
        ends = f"its lease runs out at {_text(holder.until)}, or break it with --break-lease {holder.id}"
        reason = f"{self.mesh} is being worked on: {holder.name}, since {_text(holder.since)}"
        raise HeldError(reason, hint=f"wait until it ends; if it died, {ends}")

    def _read(self) -> tuple[Holder | None, Body | None]:
        found = kinds.NSG.find(self.session, self.group, names.lease(self.mesh))
        if found is None:
            return None, None
        if not self.owns(found):
            reason = f"network security group {names.lease(self.mesh)} exists in {self.group} and is not this mesh's"
            raise RefusedError(reason, hint="choose another --name or `group`")
        return Holder.of(found.get("tags") or {}), found

    def _write(self, holder: Holder, found: Body | None) -> Body:
        """Write the holder where nobody wrote in between; return the security group as it is then.

        It is read again afterwards: a request that was sent twice is refused the second time, and whether Azure
        honours `If-None-Match` is not documented.
        """
        for _ in range(_TRIES):
            try:
                self._put(holder.tags(), found)
            except CloudError as error:
                if error.status != PRECONDITION_FAILED:
                    raise
            awaited = f"the lease of {self.mesh} to be readable"
            there, found = self.session.wait_until(self._read_back, awaited=awaited, deadline_s=_READABLE_S)
            if there == holder:
                self._me = holder
                return found
            # Somebody else's, or still what it was: something that is no run of ours changed the security group.
            self._refuse(there)
        raise HeldError(f"the lease of {self.mesh} is being changed by somebody else", hint="wait a little, run again")

    def _read_back(self) -> tuple[tuple[Holder | None, Body] | None, str]:
        """Azure's reads lag behind its writes."""
        holder, found = self._read()
        return (None if found is None else (holder, found)), "404"

    def _put(self, holder: Mapping[str, str], found: Body | None) -> None:
        """Write these tags of a holder over whatever else is on the security group."""
        others = {key: value for key, value in ((found or {}).get("tags") or {}).items() if not key.startswith(_HOLDER)}
        body = {**(found or {"location": self.location, "properties": {}}), "tags": {**others, **self.tags, **holder}}
        if found is None:
            self.record()
        condition = kinds.unless_changed(found) or {"headers": {"If-None-Match": "*"}}
        name = names.lease(self.mesh)
        kinds.NSG.ensure(self.session, self.group, name, body=body, deadline_s=_TAKE_S, **condition)

    def _renewed(self, *, since: dt.datetime) -> Holder:
        until = self._now() + dt.timedelta(seconds=round(self.lasts_s))
        return Holder(self._me.id, self._me.name, self._me.origin, since, until)

    def _renew_until_ended(self) -> None:
        while not self._ended.wait(self.lasts_s / _RENEWALS):
            try:
                with self._lock:
                    self._held = self._write(self._renewed(since=self._me.since), self._held)
            except HeldError as error:
                self._lose(error)
                return
            except CrdbmeshError as error:
                if self._now() < self._me.until:
                    continue
                self._lose(HeldError(f"the lease of {self.mesh} ran out, for it could not be renewed: {error}"))
                return

    def _now(self) -> dt.datetime:
        """Azure's time, to the second, as it is written."""
        return (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.session.ahead_s or 0.0)).replace(microsecond=0)

    def _lose(self, error: HeldError) -> None:
        self.held_by_other = error
        self.lost()


def origin_id(folder: Path) -> str:
    """The opaque id of this machine, its boot, and the local folder."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    parts = (platform.node(), str(uuid.getnode()), boot.read_text() if boot.exists() else "", str(folder.resolve()))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def name_of(command: str) -> str:
    """Return the name of a run, for people: `up by alice on laptop, process 4711`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = "somebody"
    return f"{command} by {user} on {platform.node() or 'a machine'}, process {os.getpid()}"[:_LONGEST_NAME]


def _text(time: dt.datetime) -> str:
    return time.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(text: str) -> dt.datetime:
    return dt.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=dt.UTC)
