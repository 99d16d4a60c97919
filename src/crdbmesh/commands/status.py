"""`crdbmesh status`: how each layer of each region is doing."""

from __future__ import annotations

from crdbmesh import home as homes
from crdbmesh import probes
from crdbmesh.access import Access
from crdbmesh.clients import cloud as clouds
from crdbmesh.health import Health
from crdbmesh.topology.mesh import Mesh


def run_status(mesh: Mesh, cloud: clouds.Cloud, home: homes.Home) -> Health:
    """Read every layer.

    Raises:
        CrdbmeshError: Azure cannot be reached at all.
    """
    with Access.open(mesh, cloud, home) as access:
        return probes.read(access)
