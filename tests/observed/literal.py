# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Literal bytes of a recording: the request is sent as it was, but for what is different in every pool, and the reply
must be the same but for that, header by header and byte by byte.

References, uuids and dates of the recording stand for those of this pool: the first reference of a call is its
session, others are told by :mod:`observed.unseen` (:meth:`LiteralSteps.tell`) or seen in an earlier reply. Numbers of
events and counts of objects are not compared.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

SECONDS = 20
UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
NAMED = re.compile(f"OpaqueRef:{UUID}|{UUID}")
OF_THE_MOMENT = re.compile(r"20\d{6}T\d\d:\d\d:\d\dZ|\d{20},\d{20}")
TOKEN = re.compile(r"\d{20},\d{20}")
EVENT_NUMBER = re.compile(r'("id":"|<name>id</name><value>)\d+')
COUNTS = re.compile(r'valid_ref_counts(?:":\{.*?\}|</name><value><struct>.*?</struct>)')
COUNT = re.compile(r'"(\w+)":\d+|<name>(\w+)</name><value><i4>\d+</i4></value>')
LENGTH = re.compile(r"\r\ncontent-length: (\d+)")


class LiteralSteps:
    """Sends the literal requests of one file."""

    def __init__(self, url: str, password: str, session: Callable[[], str]) -> None:
        self._where = urlsplit(url)
        self._password = password
        self._session = session
        self._known: dict[str, str] = {}
        self._token = ""

    def tell(self, digits: str, ref: str) -> None:
        """The recorded reference with these first digits is that one here."""
        self._known[f"OpaqueRef:{digits}"] = ref

    def tell_token(self, token: str) -> None:
        """The token that recorded calls gave is that one here."""
        self._token = token

    def _here(self, recorded: str) -> str | None:
        return self._known.get(recorded) or self._known.get(recorded[:18])

    def play(self, step: dict[str, Any]) -> tuple[str, str] | None:
        """``(expected, found)``, the literal texts, or None when they are the same."""
        sent = step["wire_request"].replace("$password", self._password)
        head, _, body = sent.partition("\r\n\r\n")
        first = NAMED.search(body)
        if first is not None and self._here(first[0]) is None:
            self._known[first[0]] = self._session()
        body = NAMED.sub(lambda found: self._here(found[0]) or found[0], body)
        body = TOKEN.sub(self._token, body)
        head = re.sub(r"Content-Length: \d+", f"Content-Length: {len(body.encode())}", head)
        found = self._exchange(f"{head}\r\n\r\n{body}".encode())
        expected = step["wire_response"]
        length = LENGTH.search(found)
        whole = length is not None and int(length[1]) == len(found.partition("\r\n\r\n")[2].encode())
        return None if whole and self._same(_plain(expected), _plain(found)) else (expected, found)

    def _exchange(self, request: bytes) -> str:
        assert self._where.hostname and self._where.port
        with socket.create_connection((self._where.hostname, self._where.port), timeout=SECONDS) as connection:
            connection.sendall(request)
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(65536) or b"\r\n\r\n"
            head, _, body = received.partition(b"\r\n\r\n")
            length = LENGTH.search("\r\n" + head.decode().lower())
            while length is not None and len(body) < int(length[1]):
                chunk = connection.recv(65536)
                if not chunk:
                    break
                body += chunk
        return f"{head.decode()}\r\n\r\n{body.decode()}"

    def _same(self, wanted: str, got: str) -> bool:
        pattern, position, fresh = "", 0, []
        for found in NAMED.finditer(wanted):
            pattern += re.escape(wanted[position : found.start()])
            known = self._here(found[0])
            if known is not None:
                pattern += re.escape(known)
            elif found[0] in fresh:
                pattern += rf"\{fresh.index(found[0]) + 1}"
            else:
                fresh.append(found[0])
                pattern += f"({'OpaqueRef:' if found[0].startswith('O') else ''}{UUID})"
            position = found.end()
        matched = re.fullmatch(pattern + re.escape(wanted[position:]), got)
        if matched is not None:
            self._known |= dict(zip(fresh, matched.groups(), strict=True))
        return matched is not None


def _plain(text: str) -> str:
    """The text without what belongs to the moment."""
    text = LENGTH.sub("", text)
    text = COUNTS.sub(lambda found: ",".join(sorted("".join(names) for names in COUNT.findall(found[0]))), text)
    return EVENT_NUMBER.sub(r"\g<1>0", OF_THE_MOMENT.sub("now", text))
