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
"""Passwords that were changed by a call (``session.change_password``) and hold over restarts, as hashes.

The operator gives each account its password at every start. A change counts as long as that is the one that it
replaced: who writes another password into the password file has that one from then on.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import threading
from pathlib import Path

_COST = {"n": 1 << 14, "r": 8, "p": 1, "maxmem": 1 << 26}
_SALT_BYTES = 16


def hashed(password: str) -> str:
    """``salt$hash`` of a password, by scrypt."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"{base64.b64encode(salt).decode()}${base64.b64encode(_scrypt(password, salt)).decode()}"


def fits(password: str, known: str) -> bool:
    """Whether a password is the one that ``known`` is the hash of."""
    salt, _, digest = known.partition("$")
    return hmac.compare_digest(_scrypt(password, base64.b64decode(salt)), base64.b64decode(digest))


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "replace"), salt=salt, **_COST)


class ChangedPasswords:
    """The changes of one pool, in a file that its owner alone may read."""

    def __init__(self, path: Path) -> None:
        """Raises OSError and ValueError for a file that cannot be read."""
        self._path = path
        self._lock = threading.Lock()
        self._changes: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.exists() else {}

    def drop_outdated(self, user: str, given: str) -> None:
        """Forget the change of an account whose password the operator has changed since."""
        change = self._changes.get(user)
        if change is not None and not fits(given, change["instead_of"]):
            with self._lock:
                self._save({name: kept for name, kept in self._changes.items() if name != user})

    def change(self, user: str, given: str, password: str) -> None:
        """Note a change, on disk when this returns; ``given`` is what the operator set. Raises OSError."""
        with self._lock:
            self._save({**self._changes, user: {"hash": hashed(password), "instead_of": hashed(given)}})

    def has(self, user: str) -> bool:
        """Whether the password of an account was changed."""
        return user in self._changes

    def hash_of(self, user: str) -> str:
        """The hash of a changed password. Raises KeyError."""
        return self._changes[user]["hash"]

    def check(self, user: str, password: str) -> bool:
        """Whether it is the changed password of an account."""
        change = self._changes.get(user)
        return change is not None and fits(password, change["hash"])

    def _save(self, changes: dict[str, dict[str, str]]) -> None:
        temporary = self._path.with_name(f".{self._path.name}.new")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(changes, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        self._changes = changes
