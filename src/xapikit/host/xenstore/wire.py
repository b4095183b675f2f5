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
"""Messages of the XenStore protocol: a header of four 32-bit numbers in the machine's byte order, and a payload."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

LARGEST_PAYLOAD: Final = 4096
HEADER: Final = struct.Struct("=IIII")


class Kind(IntEnum):
    """Types of messages."""

    CONTROL = 0
    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    INTRODUCE = 8
    RELEASE = 9
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    IS_DOMAIN_INTRODUCED = 17
    RESUME = 18
    SET_TARGET = 19
    RESTRICT = 20
    RESET_WATCHES = 21
    DIRECTORY_PART = 22


@dataclass(frozen=True)
class Message:
    """One message either way."""

    kind: int
    request: int
    transaction: int
    payload: bytes

    def encode(self) -> bytes:
        return HEADER.pack(self.kind, self.request, self.transaction, len(self.payload)) + self.payload


class BadMessage(Exception):
    """A peer announced a payload above 4096 bytes: what follows cannot be understood."""


def take(buffer: bytearray) -> Message | None:
    """Cut the first whole message off the buffer; None when more bytes are needed. Raises BadMessage."""
    if len(buffer) < HEADER.size:
        return None
    kind, request, transaction, length = HEADER.unpack_from(buffer)
    if length > LARGEST_PAYLOAD:
        raise BadMessage
    end = HEADER.size + length
    if len(buffer) < end:
        return None
    payload = bytes(buffer[HEADER.size : end])
    del buffer[:end]
    return Message(kind, request, transaction, payload)
