"""Where the machines go: regions, their sizes and zones, the image."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator

from crdbmesh.checks.base import Caution, Remark
from crdbmesh.checks.facts import Facts, is_region
from crdbmesh.checks.offers import Offer, Wish, nearest
from crdbmesh.errors import CrdbmeshError, Finding
from crdbmesh.spec.mesh import Region

_ARM64 = "arm64"


def regions(facts: Facts) -> Iterator[Remark]:
    """Each region is one, and is the subscription's."""
    known = facts.locations()
    physical = {name: location for name, location in known.items() if is_region(location)}
    for index, region in enumerate(facts.mesh.regions):
        location = known.get(region.name)
        if region.name in physical:
            yield f"{region.name} ({physical[region.name].get('displayName', region.name)})"
            continue
        reason = "is not a region of this subscription"
        if location is not None:
            reason = "is not one region but a name for several"
        yield Finding(f"regions[{index}]", region.name, reason, _meant(region.name, sorted(physical)))


def _meant(name: str, physical: list[str]) -> str:
    inside = [one for one in physical if len(name) > 3 and (name in one or one in name)]
    short = "".join(name.lower().split())
    best = difflib.get_close_matches(short, physical, n=3)
    likeness = [difflib.SequenceMatcher(None, one, short).ratio() for one in best]
    close = [one for one, like in zip(best, likeness, strict=True) if like == likeness[0]] or inside[:1]
    return f"did you mean {' or '.join(sorted(close))}" if close else "see `az account list-locations` for the names"


def sizes(facts: Facts) -> Iterator[Remark]:
    """The size of each region's machines is offered there, to this subscription, in the zones asked for."""

    def look(region: Region) -> Iterator[Remark]:
        size = size_of(region)
        offer = facts.offers(region.name).get(size.lower())
        wish = wish_of(facts, region)
        field, value = field_of(facts, region), f"{size} in {region.name}"
        why = wish.missing(offer) if offer else "is not offered there"
        if offer is not None and not why:
            yield from _zones(region, offer)
            if small := wish.too_small(offer):
                remedy = f"{propose(facts, size, wish)}; or lower cockroach.cpu and cockroach.memory_gib"
                yield Finding(field, value, small, remedy)
            return
        if missing_machines(facts, region):
            yield Finding(field, value, why, propose(facts, size, wish))
            return
        remedy = "the machines that are there keep running, but a lost one could not be replaced"
        yield Caution(Finding(field, value, why, remedy))

    yield from facts.each(facts.places(), look)


def _zones(region: Region, offer: Offer) -> Iterator[Remark]:
    listed = f"zones {', '.join(offer.zones)}" if offer.zones else "no zones"
    yield f"{offer.name} in {region.name}: {listed}"
    for zone in dict.fromkeys(machine.zone for machine in region.machines):
        if zone is not None and zone not in offer.zones:
            yield Finding(
                "regions.zones",
                f"{zone} in {region.name}",
                f"{offer.name} is not offered in that zone",
                f"choose from {', '.join(offer.zones)}" if offer.zones else "leave `zones` empty there",
            )
            return


def image(facts: Facts) -> Iterator[Remark]:
    """The image is to be had in each region."""
    text = facts.mesh.machines.image

    def look(region: Region) -> Iterator[Remark]:
        found = facts.image(region.name)
        if found is None:
            remedy = "see `az vm image list-skus` for what is, or leave `machines.image` out"
            yield Finding("machines.image", f"{text} in {region.name}", "is not offered there", remedy)
            return
        yield f"{text}, {_architecture(facts, region)}"

    yield from facts.each(facts.places(), look)


def propose(facts: Facts, size: str, wish: Wish) -> str:
    """What to do about a size that some region cannot give: a name that was meant, or a size that every region can.

    Args:
        facts: what Azure says.
        size: what was asked.
        wish: what another size must be able to do.
    """
    places = [region for region in facts.places() if size_of(region).lower() == size.lower()]
    listed = [facts.offers(region.name) for region in places]
    common = set.intersection(*(set(offers) for offers in listed)) if listed else set()
    usable = {
        name
        for name in common
        if all(
            not wish.missing(offers[name]) and not wish.too_small(offers[name]) and _zones_fit(region, offers[name])
            for region, offers in zip(places, listed, strict=True)
        )
    }
    asked = next((offers[size.lower()] for offers in listed if size.lower() in offers), None)
    if asked is None:
        close = difflib.get_close_matches(size.lower(), sorted(usable), n=1)
        return f"did you mean {listed[0][close[0]].name}" if close else "choose a size that is"
    roomy = [listed[0][name] for name in usable if _has_room(facts, places, listed, name)]
    better = nearest(asked, roomy)
    if better is None:
        return "choose another size or region, or ask Azure for access and quota"
    what = f"{better.name} ({better.vcpus} vCPUs, {better.memory_gib:g} GiB)"
    where = "every region offers" if len(places) > 1 else "the region offers"
    return f"take {what}, which {where}, with quota left: --machine-size {better.name}"


def missing_machines(facts: Facts, region: Region) -> int:
    """How many of a region's machines are not there yet."""
    return sum(facts.find_machine(region.name, machine.number) is None for machine in region.machines)


def size_of(region: Region) -> str:
    """The size of a region's machines: they are all of one."""
    return region.machines[0].size


def field_of(facts: Facts, region: Region) -> str:
    """The field of the spec that says the size of a region's machines."""
    for index, spec in enumerate(facts.mesh.regions):
        if spec.name == region.name and spec.size is not None:
            return f"regions[{index}].size"
    return "machines.size"


def wish_of(facts: Facts, region: Region) -> Wish:
    """What the spec's image, disk and database ask of a size."""
    database = facts.mesh.cockroach
    return Wish(
        architecture=_architecture(facts, region),
        generation=str(_image_properties(facts, region).get("hyperVGeneration") or "V2"),
        premium=facts.mesh.machines.disk_type.startswith("Premium"),
        pods=math.ceil(region.replicas / len(region.machines)),
        cpu=database.cpu,
        memory_gib=database.memory_gib,
    )


def _architecture(facts: Facts, region: Region) -> str:
    """The image's, as Azure says, or as its name does."""
    told = _image_properties(facts, region).get("architecture")
    if told:
        return str(told)
    return "Arm64" if _ARM64 in facts.mesh.machines.image.lower() else "x64"


def _image_properties(facts: Facts, region: Region) -> dict[str, object]:
    try:
        properties: dict[str, object] = (facts.image(region.name) or {}).get("properties") or {}
    except CrdbmeshError:
        # Another check says so.
        return {}
    return properties


def _zones_fit(region: Region, offer: Offer) -> bool:
    return all(machine.zone is None or machine.zone in offer.zones for machine in region.machines)


def _has_room(facts: Facts, places: list[Region], listed: list[dict[str, Offer]], name: str) -> bool:
    for region, offers in zip(places, listed, strict=True):
        offer = offers[name]
        needed = offer.vcpus * missing_machines(facts, region)
        try:
            cores = facts.cores(region.name)
        except CrdbmeshError:
            continue
        for quota in ("cores", offer.family.lower()):
            used, limit = cores.get(quota, (0, needed))
            if limit - used < needed:
                return False
    return True
