"""The API server as the controllers use it: objects by kind, read through a cache that follows the store.

The cache holds one private copy of each object and changes only when the store's history moves, so that reading is
free. What `find` and `list` return must not be changed in place: use `copy`.
"""

from __future__ import annotations

import collections
import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from crdbmesh.simulator.kube.controllers import objects
from crdbmesh.simulator.kube.controllers.objects import Obj

if TYPE_CHECKING:
    from crdbmesh.simulator.kube.store import Store
