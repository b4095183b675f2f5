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
"""The password exchange of OpenStack's guest agent, the guest's end of it.

Diffie-Hellman in a small group, then AES-128-CBC with key and IV derived by MD5. It keeps nobody out who reads the
exchange and works for an hour; it is here because agents speak it.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Final

PRIME: Final = 162259276829213363391578010288127
GENERATOR: Final = 5
_BLOCK: Final = 16


class KeyExchange:
    """``peer`` is the other end's public key, ``private`` one's own (None: a random one). Raises ValueError for a key
    that is none."""

    def __init__(self, peer: int, private: int | None = None) -> None:
        if not 1 < peer < PRIME:
            raise ValueError("a public key lies between 1 and the prime")
        own = private if private is not None else secrets.randbits(8 * _BLOCK)
        self.public = pow(GENERATOR, own, PRIME)
        self._secret = str(pow(peer, own, PRIME)).encode()

    def decrypt(self, text: str) -> str:
        """The password in a base64 text, without the newline that is sent with it. Raises ValueError."""
        # loading the library behind it takes long, and few guests need it
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        key = hashlib.md5(self._secret, usedforsecurity=False).digest()
        iv = hashlib.md5(key + self._secret, usedforsecurity=False).digest()
        data = base64.b64decode(text.strip(), validate=True)
        if not data or len(data) % _BLOCK:
            raise ValueError("not whole blocks")
        decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
        plain = decryptor.update(data) + decryptor.finalize()
        padding = plain[-1]
        if not 1 <= padding <= _BLOCK or plain[-padding:] != bytes([padding]) * padding:
            raise ValueError("wrong key")
        return plain[:-padding].decode().rstrip("\n")
