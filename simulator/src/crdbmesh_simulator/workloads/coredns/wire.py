"""DNS messages as they travel (RFC 1035, EDNS(0) of RFC 6891), read and written as a CoreDNS server does.

Which packets it ignores or refuses unread is `defaultMsgAcceptFunc` of the DNS library that CoreDNS is built on.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from crdbmesh_simulator.workloads.coredns.message import Answer, Record, absolute

_HEADER = struct.Struct(">6H")
_TCP_SIZE = 65535
_TRANSFERS = (dns.rdatatype.AXFR, dns.rdatatype.IXFR)


@dataclass(frozen=True, slots=True)
class Packet:
    """A question as it came.

    `query`: the message; without a question when it could not be read. `name`: as it was written, with a final dot.
    `type`: such as `A`, or `TYPE65280` for one that has no name. `fault`: the code with which it is refused whatever it
    asks, or None.
    """

    query: dns.message.Message
    name: str = "."
    type: str = ""
    fault: dns.rcode.Rcode | None = None


def read(data: bytes) -> Packet | None:
    """Read a packet; None for what is to be ignored."""
    if len(data) < _HEADER.size:
        return None
    number, flags, questions, answers, authorities, additional = _HEADER.unpack_from(data)
    if flags & dns.flags.QR:
        return None
    unread = dns.message.Message(number)
    unread.flags = dns.flags.Flag(flags)
    if dns.opcode.from_flags(flags) not in (dns.opcode.QUERY, dns.opcode.NOTIFY):
        return Packet(unread, fault=dns.rcode.NOTIMP)
    if questions != 1 or answers > 1 or authorities > 1 or additional > 2:
        return Packet(unread, fault=dns.rcode.FORMERR)
    try:
        query = dns.message.from_wire(data, ignore_trailing=True)
    except dns.exception.DNSException:
        return Packet(unread, fault=dns.rcode.FORMERR)
    asked = query.question[0]
    fault = None
    if query.edns > 0:
        fault = dns.rcode.BADVERS
    elif asked.rdclass != dns.rdataclass.IN or asked.rdtype in _TRANSFERS or query.opcode() != dns.opcode.QUERY:
        fault = dns.rcode.REFUSED
    return Packet(query, asked.name.to_text(), dns.rdatatype.to_text(asked.rdtype), fault)


def write(packet: Packet, answer: Answer, additional: tuple[Record, ...] = (), *, transport: str) -> bytes:
    """Write the answer to a packet, with as many records as the asker can take."""
    response = _response(packet, dns.rcode.from_text(answer.rcode))
    if answer.authoritative:
        response.flags |= dns.flags.AA
    elif response.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        response.flags |= dns.flags.RA
    # One set for each record, so that what does not fit is left out record by record.
    response.answer = [_record(packet, each) for each in answer.records]
    response.authority = [_record(packet, each) for each in answer.authority]
    response.additional = [_record(packet, each) for each in additional]
    size = _TCP_SIZE if transport == "TCP" else max(packet.query.payload, 512)
    return response.to_wire(max_size=size, prefer_truncation=True)


def refuse(packet: Packet, code: dns.rcode.Rcode) -> bytes:
    """Write an answer that is only a code."""
    return _response(packet, code).to_wire()


def _response(packet: Packet, code: dns.rcode.Rcode) -> dns.message.Message:
    query = packet.query
    response = dns.message.Message(query.id)
    response.question = list(query.question)
    response.flags = dns.flags.QR | (query.flags & (dns.flags.RD | dns.flags.CD))
    response.set_opcode(query.opcode())
    if query.edns >= 0:
        response.use_edns(0, query.ednsflags & dns.flags.DO, query.payload)
    response.set_rcode(code)
    return response


def _record(packet: Packet, record: Record) -> dns.rrset.RRset:
    # The letter case of the question is given back, which some resolvers check.
    owner = packet.name if record.name == absolute(packet.name) else record.name
    return dns.rrset.from_text(owner, record.ttl, dns.rdataclass.IN, record.type, record.data)
