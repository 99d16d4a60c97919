"""Checks of where the mesh is kept: resource group and locks, local folder and login key; and of the clock."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from crdbmesh.checks.base import Found, Refused, Remark, refusal, warning
from crdbmesh.checks.facts import Facts
from crdbmesh.errors import ConfigError, UnsafeError
from crdbmesh.local import guard, licenses, pki
from crdbmesh.local.contents import LOGIN_KEY
from crdbmesh.local.folder import SPEC
from crdbmesh.observe import belongings, network
from crdbmesh.observe import machines as observed
from crdbmesh.spec import load as config
from crdbmesh.spec import names

SKEW_S = 300.0
"""Beyond this, certificates made here may not be valid yet on a machine, or a token may seem expired."""

_ROOM_MIB = 20
_SHOWN = 5
_MIB = 2**20


def group(facts: Facts) -> Iterator[Remark]:
    """Check that the resource group is absent, or this mesh's, or named in the spec, and not being deleted."""
    mesh = facts.mesh
    found = facts.group()
    if found is None:
        yield Found(f"{mesh.group_name} will be created")
    else:
        ownership = belongings.of(facts.world)
        whose = network.foreign_group(ownership, mesh, found)
        state = (found.get("properties") or {}).get("provisioningState")
        if whose is None and mesh.group is None and not ownership.is_proven and state != "Deleting":
            whose = f"{facts.folder.path} does not record that it is this mesh's"
        yield Found(f"{mesh.group_name} exists" + (" and belongs to this mesh" if ownership.is_own(found) else ""))
        if whose is not None:
            reason = f"a resource group of that name exists and {whose}"
            remedy = "choose another name, restore its mesh's local folder, or share it by the spec's `group` field"
            yield refusal("name", mesh.name, reason, remedy)
        if state == "Deleting":
            field, value = ("group", mesh.group) if mesh.group else ("name", mesh.name)
            yield refusal(field, value, f"its resource group is {state}", "wait until it is gone")


def locks(facts: Facts) -> Iterator[Remark]:
    """Check that no lock prevents `up` from writing or `down` from deleting."""
    subscription = f"/subscriptions/{facts.session.subscription_id}".lower()
    ours = f"{subscription}/resourcegroups/{facts.mesh.group_name}".lower()
    mine = 0
    for lock in facts.locks():
        scope = str(lock.get("id", "")).lower().partition("/providers/microsoft.authorization/locks/")[0]
        if scope not in {subscription, ours} and not scope.startswith(f"{ours}/"):
            continue
        mine += 1
        where = "the subscription" if scope == subscription else f"the resource group {facts.mesh.group_name}"
        if scope.startswith(f"{ours}/"):
            where = f"{scope.rpartition('/')[2]}, in {where}"
        remedy = f"remove it (az lock delete --ids {lock.get('id')}), or choose another name"
        if (lock.get("properties") or {}).get("level") == "ReadOnly":
            reason = f"the lock {lock.get('name')} makes {where} read-only"
            yield refusal("group", facts.mesh.group_name, reason, remedy)
        else:
            reason = f"the lock {lock.get('name')} forbids deletions in {where}"
            reason = f"{reason}: `down` will fail, and so will replacing a machine"
            yield warning("group", facts.mesh.group_name, reason, remedy)
    if not mine:
        yield Found("none")


def folder(facts: Facts) -> Iterator[Remark]:
    """Check that the mesh's local folder is writable, private and has room."""
    path = facts.folder.path
    try:
        unsafe = [*guard.problems_above(path.parent), *guard.problems_within(path)]
        yield from _folder(path)
        yield from map(Refused, unsafe)
        if path.is_dir() and not unsafe:
            yield from _contents(path)
            yield from _spec(facts)
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
        yield refusal("folder", str(error.filename or path), reason, "make it yours, or set CRDBMESH_HOME")


def _folder(path: Path) -> Iterator[Remark]:
    nearest = next(one for one in (path, *path.parents) if one.exists())
    yield Found(f"{path}{'' if nearest == path else ' (will be created)'}")
    if not nearest.is_dir():
        remedy = "move it away, or set CRDBMESH_HOME to another folder"
        yield refusal("folder", str(nearest), "is a file, but must be a folder", remedy)
        return
    if not os.access(nearest, os.W_OK | os.X_OK):
        yield refusal("folder", str(nearest), "you cannot write there", "make it yours, or set CRDBMESH_HOME")
    free_mib = shutil.disk_usage(nearest).free // _MIB
    if free_mib < _ROOM_MIB:
        reason = f"{free_mib} MiB are free on its file system; keys and journals need up to {_ROOM_MIB}"
        yield refusal("folder", str(nearest), reason, "make room, or set CRDBMESH_HOME to a folder elsewhere")


def _contents(path: Path) -> Iterator[Remark]:
    own = path.stat()
    if stat.S_IMODE(own.st_mode) & 0o077:
        reason = f"others can open it (mode {stat.S_IMODE(own.st_mode):o}), and it holds keys"
        yield warning("folder", str(path), reason, f"run chmod 700 {path}; `up` does so too")
    readable = [
        entry
        for entry in sorted(path.rglob("*"))
        if stat.S_ISREG(mode := entry.lstat().st_mode) and stat.S_IMODE(mode) & 0o077
    ]
    if readable:
        remedy = f"run chmod -R go= {path}; if others may have read the keys, start afresh"
        yield refusal("folder", str(path), f"others can read {guard.listed(path, readable)}", remedy)


def _spec(facts: Facts) -> Iterator[Remark]:
    """Check that the kept spec can be read; `status`, and `up` without options, use it."""
    if not facts.folder.exists():
        return
    try:
        config.mesh(config.read_kept(facts.folder.path / SPEC))
    except ConfigError as error:
        reason = f"the kept spec is invalid: {error.findings[0].reason}"
        remedy = "run `up` with --config, which replaces it"
        yield warning("folder", str(facts.folder.path / SPEC), reason, remedy)


def keys(facts: Facts) -> Iterator[Remark]:
    """Check that existing machines accept the login key in the local folder; `existing` reports a lost one."""
    ours = {names.machine(facts.mesh.name, one.region, one.number).lower() for one in facts.mesh.all_machines()}
    machines = {name: vm for name, vm in facts.machines().items() if name in ours}
    path = facts.folder.path / LOGIN_KEY
    try:
        if (text := facts.folder.read(LOGIN_KEY)) is None:
            yield Found("none yet" if not machines else "not here")
            return
        public = pki.read_ssh_key(text, facts.mesh.name).public
    except UnsafeError:
        if not any(isinstance(remark, Refused) for remark in folder(facts)):
            raise
        yield Found("not looked at, since the local folder is refused")
        return
    except ValueError:
        reason = "is not an unencrypted OpenSSH private key"
        yield refusal("folder", str(path), reason, "restore it from a backup")
        return
    strange = sorted(name for name, vm in machines.items() if not observed.accepts_key(vm, public))
    if strange:
        reason = f"{', '.join(strange[:_SHOWN])} {'accepts' if len(strange) == 1 else 'accept'} a different key"
        remedy = "use the local folder they were made with, or run `crdbmesh down` and start again"
        yield refusal("folder", str(path), reason, remedy)
    if machines and not strange:
        many = "1 machine accepts" if len(machines) == 1 else f"{len(machines)} machines accept"
        yield Found(f"a login key is here, and {many} it")
    else:
        yield Found("a login key is here")


def license_key(facts: Facts) -> Iterator[Remark]:
    """Check that the spec's license file holds a key; of a mesh that is there, one that is set stays without it."""
    path = facts.mesh.license_file
    if path is None:
        yield Found("none in the spec")
    elif facts.folder.exists() and not path.exists():
        yield Found(f"{path} is gone; one that is set stays")
    else:
        try:
            licenses.read_key(path)
        except ConfigError as error:
            yield from map(Refused, error.findings)
        else:
            yield Found(f"a key is in {path}")


def clock(facts: Facts) -> Iterator[Remark]:
    """Check that this computer's clock agrees with Azure's."""
    ahead_s = facts.session.ahead_s
    if ahead_s is None:
        yield Found("Azure does not say what time it is")
        return
    if abs(ahead_s) <= SKEW_S:
        yield Found("agrees with Azure")
        return
    value = f"{abs(ahead_s) / 60:.0f} min {'behind' if ahead_s > 0 else 'ahead of'} Azure"
    yield Found(value)
    reason = "certificates made here may not be valid yet on the machines, and tokens may seem to have expired"
    yield warning("clock", value, reason, "set this computer's clock (timedatectl set-ntp true)")
