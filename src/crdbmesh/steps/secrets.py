"""Makes the secrets that machines are made with, all of them at once and before the first machine.

A secret that is missing although a machine was made with it is lost, and never made anew.
"""

import functools
from datetime import UTC, datetime

from crdbmesh.errors import RefusedError
from crdbmesh.local import contents, pki
from crdbmesh.observe import inventory
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Mesh


def make(world: World) -> None:
    """Make every secret that is not in the local folder yet, once in a run; raise RefusedError when one is lost."""
    world.once("secrets", lambda: _make_missing(world))


def _make_missing(world: World) -> None:
    mesh, folder = world.mesh, world.folder
    missing = [secret for secret in contents.secrets(mesh) if folder.read(secret.file) is None]
    if not missing:
        return
    machines = inventory.list_machines(world)
    if lost := inventory.describe_lost_secrets(mesh, folder, machines):
        reason, remedy = lost
        raise RefusedError(f"in {folder.path}: {reason}", hint=remedy)
    for secret in missing:
        folder.find_or_make(secret.file, functools.partial(_new, secret, mesh))


def _new(secret: contents.Secret, mesh: Mesh) -> str:
    if secret.file == contents.LOGIN_KEY:
        return pki.make_login_key(f"crdbmesh-{mesh.name}").private
    if secret.number is not None:
        return pki.make_host_key(secret.of).private
    if secret.region is not None:
        return pki.make_token(32)
    make_ca = {contents.CILIUM_CA: pki.make_cilium_ca, contents.COCKROACH_CA: pki.make_cockroach_ca}[secret.file]
    pair = make_ca(now=datetime.now(UTC))
    return f"{pair.cert_pem}{pair.key_pem}"
