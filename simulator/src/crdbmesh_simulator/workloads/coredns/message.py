"""DNS questions and answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

NOERROR, SERVFAIL, NXDOMAIN, REFUSED = "NOERROR", "SERVFAIL", "NXDOMAIN", "REFUSED"


@dataclass(frozen=True, slots=True)
class Record:
    """A resource record; `name` and host names in `data` end with a dot."""

    name: str
    type: str
    ttl: int
    data: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question on its way.

    `name`: lower case, with a final dot. `transport`: `UDP` or `TCP`. `hops`: how many servers have passed it on.
    `seen`: the servers that have, by `id`. `probe`: asked by the loop plugin to find out whether it comes back.
    """

    name: str
    type: str
    transport: str = "UDP"
    hops: int = 0
    seen: tuple[int, ...] = ()
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a question.

    `rcode`: `NOERROR`, `NXDOMAIN`, `SERVFAIL` or `REFUSED`; empty when no server answered in time. `records`: the
    answer section. `authority`: the authority section. `reason`: why it is not what was hoped for, for logs and errors.
    `elapsed_s`: simulated seconds it took. `server`: `address#port` of who answered.
    """

    rcode: str
    records: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    reason: str = ""
    elapsed_s: float = 0.0
    server: str = ""
    authoritative: bool = field(default=False, compare=False)

    @property
    def found(self) -> bool:
        """Return whether there is an answer of the wanted kind."""
        return self.rcode == NOERROR and bool(self.records)

    @property
    def addresses(self) -> list[str]:
        """The IPv4 addresses in the answer."""
        return [record.data for record in self.records if record.type == "A"]

    def later(self, elapsed_s: float) -> Answer:
        """The same, having taken that much longer."""
        return replace(self, elapsed_s=self.elapsed_s + elapsed_s)


def absolute(name: str) -> str:
    """A name in lower case with a final dot."""
    name = name.lower().rstrip(".")
    return f"{name}."


def under(name: str, zone: str) -> bool:
    """Return whether a name is a zone or lies below it."""
    return zone == "." or name == zone or name.endswith("." + zone)


def soa(zone: str, ttl: int, serial: int) -> Record:
    """The SOA record with which a negative answer says how long it may be kept."""
    host = "" if zone == "." else zone
    return Record(zone, "SOA", ttl, f"ns.dns.{host} hostmaster.{host} {serial} 7200 1800 86400 {ttl}")
