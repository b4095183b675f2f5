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
"""What one peer of the protocol asks for and is told: its transactions, its watches, its rights."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable
from typing import Final

from xapikit.host.xenstore.node import LONGEST_RELATIVE, XenstoreError, check_path, parse_perms, perms_texts
from xapikit.host.xenstore.store import INTRODUCED, RELEASED, Edit, Watch, XenStore, home_of
from xapikit.host.xenstore.wire import LARGEST_PAYLOAD, Kind, Message

MOST_TRANSACTIONS: Final = 10
MOST_WATCHES: Final = 128
"""Limits for guests; dom0 has none."""
_OK: Final = b"OK\0"
_TOOLSTACK: Final = (Kind.INTRODUCE, Kind.RELEASE, Kind.RESUME, Kind.SET_TARGET)


class PeerSession:
    """``send`` takes encoded messages: replies from the thread that calls ``handle``, watch events from any."""

    def __init__(self, store: XenStore, send: Callable[[bytes], None], domid: int = 0) -> None:
        self._store = store
        self._send = send
        self._domid = domid
        self._transactions: dict[int, Edit] = {}
        self._numbers = itertools.count(1)
        self._watches: dict[tuple[str, str], Watch] = {}

    def handle(self, message: Message) -> None:
        """Answer one message."""
        try:
            kind = Kind(message.kind)
            answer = self._answer(kind, message.transaction, message.payload)
            if len(answer) > LARGEST_PAYLOAD:
                raise XenstoreError("E2BIG")
        except XenstoreError as error:
            kind, answer = Kind.ERROR, error.name.encode() + b"\0"
        except ValueError:  # an unknown type of message, numbers and texts that are none
            kind, answer = Kind.ERROR, b"EINVAL\0"
        self._send(Message(kind, message.request, message.transaction, answer).encode())
        if kind is Kind.WATCH:
            path, token = _texts(message.payload)[:2]
            self._event(token, path)  # a new watch is told once, so that its peer looks

    def close(self) -> None:
        """The peer is gone."""
        self._reset()

    # requests ----------------------------------------------------------------------------------------------------

    def _answer(self, kind: Kind, transaction: int, payload: bytes) -> bytes:
        if kind in _TOOLSTACK:
            raise XenstoreError("EACCES" if self._domid else "ENOSYS")
        match kind:
            case Kind.TRANSACTION_START:
                return self._begin()
            case Kind.TRANSACTION_END:
                return self._end(transaction, payload)
            case Kind.WATCH:
                return self._watch(payload)
            case Kind.UNWATCH:
                return self._unwatch(payload)
            case Kind.RESET_WATCHES:
                self._reset()
                return _OK
            case Kind.GET_DOMAIN_PATH:
                return home_of(int(_texts(payload)[0])).encode() + b"\0"
            case Kind.IS_DOMAIN_INTRODUCED:
                return b"T\0" if self._store.find(home_of(int(_texts(payload)[0]))) is not None else b"F\0"
            case Kind.RESTRICT:
                return self._restrict(int(_texts(payload)[0]))
            case Kind.CONTROL if not self._domid and _texts(payload)[:1] == ["check"]:
                return _OK
            case Kind.CONTROL | Kind.WATCH_EVENT | Kind.ERROR:
                raise XenstoreError("EINVAL")
        if transaction:
            return self._access(self._transaction(transaction), kind, payload)
        with self._store.edit(self._domid) as edit:
            return self._access(edit, kind, payload)

    def _access(self, edit: Edit, kind: Kind, payload: bytes) -> bytes:
        head, _, rest = payload.partition(b"\0")
        path = self._path(head.decode("ascii"))
        match kind:
            case Kind.DIRECTORY:
                return b"".join(name.encode() + b"\0" for name in edit.directory(path))
            case Kind.DIRECTORY_PART:
                return _part(edit.directory(path), int(rest.rstrip(b"\0")))
            case Kind.READ:
                return edit.read(path)
            case Kind.GET_PERMS:
                return b"".join(text.encode() + b"\0" for text in perms_texts(edit.perms(path)))
            case Kind.WRITE:
                edit.write(path, rest)
            case Kind.MKDIR:
                edit.mkdir(path)
            case Kind.RM:
                edit.rm(path)
            case Kind.SET_PERMS:
                edit.set_perms(path, parse_perms(_texts(rest)))
            case _:
                raise XenstoreError("ENOSYS")
        return _OK

    def _path(self, path: str) -> str:
        if path.startswith("/"):
            return check_path(path)
        if not path or len(path) > LONGEST_RELATIVE:
            raise XenstoreError("EINVAL", path)
        return check_path(f"{home_of(self._domid)}/{path}")

    # transactions ------------------------------------------------------------------------------------------------

    def _begin(self) -> bytes:
        if self._domid and len(self._transactions) >= MOST_TRANSACTIONS:
            raise XenstoreError("ENOSPC")
        number = next(self._numbers)
        self._transactions[number] = self._store.begin(self._domid)
        return b"%d\0" % number

    def _transaction(self, number: int) -> Edit:
        found = self._transactions.get(number)
        if found is None:
            raise XenstoreError("ENOENT")
        return found

    def _end(self, number: int, payload: bytes) -> bytes:
        edit = self._transaction(number)
        if payload not in (b"T\0", b"F\0"):
            raise XenstoreError("EINVAL")
        del self._transactions[number]
        if payload == b"T\0":
            self._store.commit(edit)
        return _OK

    # watches -----------------------------------------------------------------------------------------------------

    def _watch(self, payload: bytes) -> bytes:
        given, token = _texts(payload)[:2]
        if (given, token) in self._watches:
            raise XenstoreError("EEXIST")
        if self._domid and len(self._watches) >= MOST_WATCHES:
            raise XenstoreError("ENOSPC")
        special = given in (INTRODUCED, RELEASED)
        path = given if special else self._path(given)
        relative_to = "" if special or given.startswith("/") else home_of(self._domid)
        self._watches[given, token] = self._store.watch(
            path, lambda changed: self._event(token, changed), relative_to=relative_to
        )
        return _OK

    def _unwatch(self, payload: bytes) -> bytes:
        given, token = _texts(payload)[:2]
        watch = self._watches.pop((given, token), None)
        if watch is None:
            raise XenstoreError("ENOENT")
        self._store.unwatch(watch)
        return _OK

    def _event(self, token: str, path: str) -> None:
        self._send(Message(Kind.WATCH_EVENT, 0, 0, f"{path}\0{token}\0".encode()).encode())

    def _reset(self) -> None:
        self._transactions.clear()
        for watch in self._watches.values():
            self._store.unwatch(watch)
        self._watches.clear()

    def _restrict(self, domid: int) -> bytes:
        if self._domid or not 0 < domid < 0x7FF0:
            raise XenstoreError("EACCES" if self._domid else "EINVAL")
        self._reset()
        self._domid = domid
        return _OK


def _texts(payload: bytes) -> list[str]:
    """Texts that end with a zero each. Raises ValueError when there is none, or the last one does not end."""
    *texts, rest = payload.decode("utf-8").split("\0")
    if not texts or rest:
        raise ValueError("not a list of texts")
    return texts


def _part(names: list[str], offset: int) -> bytes:
    """A piece of a long listing: a number that changes with the listing, names, and an empty name at the end."""
    whole = b"".join(name.encode() + b"\0" for name in names)
    head = b"%d\0" % zlib.crc32(whole)
    room = LARGEST_PAYLOAD - len(head) - 1
    piece = whole[offset : offset + room]
    if offset + len(piece) < len(whole):
        return head + piece[: piece.rfind(b"\0") + 1]  # whole names
    return head + piece + b"\0"
