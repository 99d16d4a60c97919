"""Starts a whole simulated world, says where its doors are, and stops it.

    Simulator
    ├── ARM door        https://127.0.0.1:<port>                 arm/
    ├── report door     https://127.0.0.1:<port>/                what was asked of the world (writes, unknown requests)
    ├── address door    https://127.0.0.1:<port>/                "what is my address", as public services answer it
    ├── SSH door        <public ip of each machine>:<its port>   hosts/
    ├── Kubernetes door https://<public ip of each server>:6443  kube/
    └── controllers     one thread                               kube/controllers/
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import secrets
import socket
import ssl
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from crdbmesh.simulator import tls
from crdbmesh.simulator.arm import address, door
from crdbmesh.simulator.arm.state import Subscription
from crdbmesh.simulator.clock import Clock
from crdbmesh.simulator.hosts.server import Hosts
from crdbmesh.simulator.kube.controllers import Controllers
from crdbmesh.simulator.kube.door import KubeDoors
from crdbmesh.simulator.network import Network
from crdbmesh.simulator.world import World

SSH_PORT = 2222
"""Where the cloud file says that machines answer SSH: a port that needs no privilege to listen on."""

_STOP_DEADLINE_S = 20.0
