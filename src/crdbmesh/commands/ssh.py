"""`crdbmesh ssh`: a login to a machine with the mesh's key, which believes the mesh's host key alone."""

from crdbmesh.errors import ConfigError, UnreachableError
from crdbmesh.local import contents
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Machine, Mesh


def find_machine(mesh: Mesh, name: str) -> Machine:
    """Return the machine called `eastus/1`, `eastus-1` as its node, or as its VM; raise ConfigError if none is."""
    for one in mesh.all_machines():
        if name in {f"{one.region}/{one.number}", one.node, names.machine(mesh.name, one.region, one.number)}:
            return one
    there = ", ".join(f"{one.region}/{one.number}" for one in mesh.all_machines())
    raise ConfigError.of("machine", name, f"is no machine of {mesh.name}", f"choose from {there}")


def arguments(world: World, machine: Machine, command: str | None) -> list[str]:
    """Return the arguments of OpenSSH's `ssh` for a login, none of which is secret (ssh(1), ssh_config(5)).

    It reads no configuration and asks no agent, offers the mesh's key alone, and takes no host key but one by
    which the machine is known, which is written to the local folder for it. A machine without a public address is an
    UnreachableError; a host key or login key that is not in the local folder is a RefusedError.
    """
    world.login_key()
    known = contents.known_host(machine.node)
    lines = "".join(f"{machine.node} {key.strip()}\n" for key in world.host_keys(machine))
    world.folder.write(known, lines)
    if (address := world.public_address(machine)) is None:
        raise UnreachableError(f"{machine.node} has no public address", hint="run `crdbmesh status`")
    options = {
        "BatchMode": "yes",
        "ForwardAgent": "no",
        "GlobalKnownHostsFile": "none",
        "HostKeyAlias": machine.node,
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PreferredAuthentications": "publickey",
        "ServerAliveInterval": "15",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "UserKnownHostsFile": _quoted(world.folder.path / known),
    }
    ssh = world.mesh.ssh
    given = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    login = ["-i", str(world.folder.path / contents.LOGIN_KEY), "-l", ssh.user, "-p", str(ssh.port)]
    return ["-F", "none", *login, *given, "--", address, *([command] if command else [])]


def _quoted(path: object) -> str:
    """Return a path for ssh_config(5), in which `%` begins a token and quotes hold spaces together."""
    return '"' + str(path).replace("%", "%%") + '"'
