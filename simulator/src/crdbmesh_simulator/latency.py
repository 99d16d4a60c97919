"""The time that packets need between machines: by the distance between their regions.

An estimate, not a measurement: the great circle between the coordinates that Azure publishes for its regions, at two
thirds of the speed of light, times a factor of ours for cables that go round about. With it the coasts of North America
are 60 ms apart, where Microsoft measured at most 72 ms (`azure-network-latency`, October 2019). Within a region: times
of small messages over TCP as simonpainter.com/azure-latency-1 measured them, in one zone and between two.
"""

from __future__ import annotations

import functools
import math

from crdbmesh_simulator.azure import regions

_EARTH_KM = 6371.0
_KM_A_S = 200_000.0
_ROUND_ABOUT = 1.6
_REGION_S = 0.0009
_ZONE_S = 0.00065
"""What it takes there and back within a zone, and what another zone adds."""


@functools.lru_cache(maxsize=4096)
def between(one: str, other: str, *, same_zone: bool = True) -> float:
    """Return the seconds that a packet takes from one region to the other and back."""
    near_s = _REGION_S if same_zone else _REGION_S + _ZONE_S
    here, there = regions.find(one), regions.find(other)
    if here is None or there is None or here is there:
        return near_s
    angles = [math.radians(float(text)) for text in (here.latitude, there.latitude, here.longitude, there.longitude)]
    north, other_north, east, other_east = angles
    half = math.sin((other_north - north) / 2) ** 2
    half += math.cos(north) * math.cos(other_north) * math.sin((other_east - east) / 2) ** 2
    return near_s + 2 * 2 * _EARTH_KM * math.asin(math.sqrt(half)) / _KM_A_S * _ROUND_ABOUT
