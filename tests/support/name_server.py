"""A tiny DNS server on loopback (UDP): answers from a table that tests change while it runs."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset


class NameServer:
    """`put` replaces records, `failing` makes it answer SERVFAIL, `silent` nothing at all.

    With port 53 it takes an address of its own in 127.0.0.0/8, because resolv.conf names no ports.
    """

    def __init__(self, port: int = 0) -> None:
        self.failing = self.silent = False
        self.deaf: set[str] = set()  # names that are not answered
        self.questions: list[tuple[str, str]] = []
        self._records: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        chooser = random.SystemRandom()
        address = "127.0.0.1"
        if port:
            address = ".".join(["127", *(str(chooser.randint(2, 250)) for _ in range(3))])
        self._socket.bind((address, port))  # PermissionError: port 53 is not ours to take
        self._socket.settimeout(0.05)
        self.address: str = address
        self.port: int = self._socket.getsockname()[1]
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, name: str, kind: str, values: Sequence[str], ttl: int = 60) -> None:
        """Replace the records of a name and kind ("A", "AAAA", "CNAME"); none removes them."""
        self._records[name.lower(), kind] = (ttl, tuple(values))

    def resolv_conf(self, path: Path, *more: str) -> Path:
        path.write_text("\n".join([f"nameserver {self.address}", *more, ""]))
        return path

    def asked(self, name: str, kind: str = "A") -> int:
        return self.questions.count((name, kind))

    def stop(self) -> None:
        self._stopped = True
        self._thread.join(5)
        self._socket.close()

    def _run(self) -> None:
        while not self._stopped:
            try:
                data, peer = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            query = dns.message.from_wire(data)
            answer = self._answer(query)
            name = query.question[0].name.to_text(omit_final_dot=True).lower()
            if not self.silent and name not in self.deaf:
                self._socket.sendto(answer.to_wire(), peer)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        name = question.name.to_text(omit_final_dot=True).lower()
        self.questions.append((name, kind))
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if self.failing:
            answer.set_rcode(dns.rcode.SERVFAIL)
            return answer
        for _ in range(0 if kind == "CNAME" else 8):
            ttl, target = self._records.get((name, "CNAME"), (0, ()))
            if not target:
                break
            answer.answer.append(dns.rrset.from_text(name + ".", ttl, "IN", "CNAME", *target))
            name = target[0].removesuffix(".").lower()
        ttl, values = self._records.get((name, kind), (0, ()))
        if values:
            answer.answer.append(dns.rrset.from_text(name + ".", ttl, "IN", kind, *values))
        elif not any(known == name for known, _ in self._records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer
