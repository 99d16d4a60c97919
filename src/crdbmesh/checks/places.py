"""Checks of regions, machine sizes, zones and the image."""

import difflib
from collections.abc import Iterator

from crdbmesh.checks.base import Found, Remark, refusal, warning
from crdbmesh.checks.facts import Facts, is_region
from crdbmesh.checks.offers import Offer, Wish, nearest
from crdbmesh.desired import hardening
from crdbmesh.errors import CrdbmeshError
from crdbmesh.spec.mesh import Region

_ARM64 = "arm64"


def regions(facts: Facts) -> Iterator[Remark]:
    """Check that each region is a region that the subscription can use."""
    known = facts.locations()
    physical = {name: location for name, location in known.items() if is_region(location)}
    for index, region in enumerate(facts.mesh.regions):
        location = known.get(region.name)
        if region.name in physical:
            yield Found(f"{region.name} ({physical[region.name].get('displayName', region.name)})")
            continue
        reason = "is not a region of this subscription"
        if location is not None:
            reason = "is a geography, not a region"
        yield refusal(f"regions[{index}]", region.name, reason, _meant(region.name, sorted(physical)))


def policies(facts: Facts) -> Iterator[Remark]:
    """Check that every policy on locations allows each region.

    Azure keeps some kinds of subscription to a few regions by `sys.regionrestriction`; the built-in policy "Allowed
    locations" has the same parameter.
    """
    scope = f"/subscriptions/{facts.session.subscription_id}".lower()
    ours = f"{scope}/resourcegroups/{facts.mesh.group_name.lower()}"
    binding: list[str] = []
    for policy in facts.policies():
        properties = policy.get("properties") or {}
        given = {name.lower(): (one or {}).get("value") for name, one in (properties.get("parameters") or {}).items()}
        allowed = {
            _short(str(one)) for one in given.get("listofallowedlocations") or given.get("allowedlocations") or ()
        }
        at, left_out = str(properties.get("scope", "")).lower(), map(str.lower, properties.get("notScopes") or ())
        elsewhere = f"{scope}/resourcegroups/" in at and at != ours
        idle = properties.get("enforcementMode") == "DoNotEnforce" or given.get("effect") in ("Audit", "Disabled")
        if not allowed or elsewhere or idle or {scope, ours} & set(left_out):
            continue
        title = f"{properties.get('displayName') or 'a policy'} ({policy.get('name')})"
        binding.append(title)
        for index, region in enumerate(facts.mesh.regions):
            if region.name not in allowed:
                reason = f"the policy {title} allows resources only in {', '.join(sorted(allowed))}"
                remedy = "choose among these regions, or ask who looks after the policy (Azure's support for its own)"
                yield refusal(f"regions[{index}]", region.name, reason, remedy)
    yield Found(", ".join(binding) or "none")


def _short(name: str) -> str:
    return "".join(name.lower().split())


def _meant(name: str, physical: list[str]) -> str:
    inside = [one for one in physical if len(name) > 3 and (name in one or one in name)]
    short = _short(name)
    best = difflib.get_close_matches(short, physical, n=3)
    likeness = [difflib.SequenceMatcher(None, one, short).ratio() for one in best]
    close = [one for one, like in zip(best, likeness, strict=True) if like == likeness[0]] or inside[:1]
    return f"did you mean {' or '.join(sorted(close))}" if close else "see `az account list-locations` for the names"


def sizes(facts: Facts) -> Iterator[Remark]:
    """Check that each region offers the machines' size to this subscription, in the zones asked for."""

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
                yield refusal(field, value, small, remedy)
            return
        if missing_machines(facts, region):
            yield refusal(field, value, why, propose(facts, size, wish))
            return
        remedy = "existing machines keep running, but a lost one could not be replaced"
        yield warning(field, value, why, remedy)

    yield from facts.each(facts.places(), look)


def _zones(region: Region, offer: Offer) -> Iterator[Remark]:
    listed = f"zones {', '.join(offer.zones)}" if offer.zones else "no zones"
    yield Found(f"{offer.name} in {region.name}: {listed}")
    for zone in dict.fromkeys(machine.zone for machine in region.machines):
        if zone is not None and zone not in offer.zones:
            remedy = f"choose from {', '.join(offer.zones)}" if offer.zones else "leave `zones` empty there"
            reason = f"{offer.name} is not offered in that zone"
            yield refusal("regions.zones", f"{zone} in {region.name}", reason, remedy)
            return


def image(facts: Facts) -> Iterator[Remark]:
    """Check that the image is available in each region."""
    text = facts.mesh.machines.image

    def look(region: Region) -> Iterator[Remark]:
        found = facts.image(region.name)
        if found is None:
            remedy = "see `az vm image list-skus` for available ones, or remove `machines.image`"
            yield refusal("machines.image", f"{text} in {region.name}", "is not offered there", remedy)
            return
        yield Found(f"{text}, {_architecture(facts, region)}")

    yield from facts.each(facts.places(), look)


def propose(facts: Facts, size: str, wish: Wish) -> str:
    """Propose a remedy for a size that some region does not offer: a similar name, or one that every region offers."""
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
        return f"did you mean {listed[0][close[0]].name}" if close else "choose another size"
    roomy = [listed[0][name] for name in usable if _has_room(facts, places, listed, name)]
    better = nearest(asked, roomy)
    if better is None:
        return "choose another size or region, or ask Azure for access and quota"
    what = f"{better.name} ({better.vcpus} vCPUs, {better.memory_gib:g} GiB)"
    where = "every region offers" if len(places) > 1 else "the region offers"
    return f"take {what}, which {where}, with quota available: --machine-size {better.name}"


def missing_machines(facts: Facts, region: Region) -> int:
    """Return the number of a region's machines that do not exist yet."""
    return sum(facts.find_machine(region.name, machine.number) is None for machine in region.machines)


def size_of(region: Region) -> str:
    """Return the size of a region's machines, which all have the same."""
    return region.machines[0].size


def field_of(facts: Facts, region: Region) -> str:
    """Return the spec's field that sets the size of a region's machines."""
    for index, spec in enumerate(facts.mesh.regions):
        if spec.name == region.name and spec.size is not None:
            return f"regions[{index}].size"
    return "machines.size"


def wish_of(facts: Facts, region: Region) -> Wish:
    """Return the requirements of the spec's image, disk and database on a size."""
    database = facts.mesh.cockroach
    return Wish(
        architecture=_architecture(facts, region),
        generation=str(_image_properties(facts, region).get("hyperVGeneration") or "V2"),
        premium=facts.mesh.machines.disk_type.startswith("Premium"),
        pods=region.pods_a_machine,
        cpu=database.cpu,
        memory_gib=database.memory_gib,
        reserved=(hardening.RESERVED_CPU, hardening.RESERVED_GIB) if facts.mesh.layout > 1 else (0, 0),
    )


def _architecture(facts: Facts, region: Region) -> str:
    """Return the image's architecture, from Azure or else from its name."""
    told = _image_properties(facts, region).get("architecture")
    if told:
        return str(told)
    return "Arm64" if _ARM64 in facts.mesh.machines.image.lower() else "x64"


def _image_properties(facts: Facts, region: Region) -> dict[str, object]:
    try:
        properties: dict[str, object] = (facts.image(region.name) or {}).get("properties") or {}
    except CrdbmeshError:
        # The check of the image reports it.
        return {}
    return properties


def _zones_fit(region: Region, offer: Offer) -> bool:
    return all(machine.zone is None or machine.zone in offer.zones for machine in region.machines)


def _has_room(facts: Facts, places: list[Region], listed: list[dict[str, Offer]], name: str) -> bool:
    for region, offers in zip(places, listed, strict=True):
        offer = offers[name]
        needed = offer.vcpus * missing_machines(facts, region)
        try:
            free = facts.cores(region.name)
        except CrdbmeshError:
            continue
        if any(free.get(quota, needed) < needed for quota in ("cores", offer.family.lower())):
            return False
    return True
