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
"""Who is logged in: passwords, sessions as rows, sessions of one host, what a session may do, waking what it blocks."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from xapikit.host.errors import ApiError
from xapikit.host.server.passwords import ChangedPasswords, fits, hashed
from xapikit.host.store import Commit, Row, Store
from xapikit.model import MODEL, MessageSpec
from xapikit.wire import DateTime

IDLE_SECONDS = 24 * 3600
"""A session unused for that long is collected."""
MAX_PER_ORIGINATOR = 500
MAX_WITHOUT_ORIGINATOR = 400
LAST_ACTIVE_GRANULARITY_SECONDS = 600


@dataclass(frozen=True)
class Account:
    """Somebody who may log in. ``role`` is a role of the data model; superusers pass every check."""

    password: str = field(repr=False)
    role: str = "pool-admin"
    superuser: bool = True

    def matches(self, password: str) -> bool:
        return hmac.compare_digest(self.password.encode(), password.encode("utf-8", "replace"))


@dataclass(frozen=True)
class HashedAccount(Account):
    """An account of which only a hash of the password is known: what a member keeps of its pool's."""

    password: str = field(default="", repr=False)
    hash: str = field(default="", repr=False)

    def matches(self, password: str) -> bool:
        return fits(password, self.hash)


class Sessions:
    """The sessions of a pool. Those of ``slave_local_login*`` live in memory only, as on a host."""

    def __init__(
        self,
        store: Store,
        accounts: Mapping[str, Account],
        *,
        refusal_seconds: float = 0.0,
        changed: ChangedPasswords | None = None,
    ) -> None:
        """``changed`` keeps what ``change_password`` did over restarts; without it a change lasts until the end."""
        self._store = store
        self._accounts = dict(accounts)
        self._given = {user: account.password for user, account in accounts.items()}
        self._changed = changed
        self._unverified: set[str] = set()
        """Accounts of whose password only the hash is known yet."""
        if changed is not None:
            for user, given in self._given.items():
                changed.drop_outdated(user, given)
                if changed.has(user):
                    self._unverified.add(user)
        self._refusal_seconds = refusal_seconds
        self._lock = threading.Lock()
        self._local: dict[str, str] = {}
        self._roles: dict[str, str] = {}
        self._noted: dict[str, float] = {}
        self._blocked: dict[str, list[Callable[[], None]]] = {}
        self._closed = threading.Event()
        store.on_commit(self._on_commit)

    # log-in ------------------------------------------------------------------------------------------------------

    def authenticate(self, user: str, password: str) -> Account:
        """The account. Raises SESSION_AUTHENTICATION_FAILED, after the delay that a host imposes."""
        account = self._accounts.get(user)
        if account is not None and self._is_password(user, account, password):
            return account
        self._closed.wait(self._refusal_seconds)
        reason = "Authentication failure" if account else "User not known to the underlying authentication module"
        raise ApiError("SESSION_AUTHENTICATION_FAILED", user, reason)

    def _is_password(self, user: str, account: Account, password: str) -> bool:
        if user not in self._unverified or self._changed is None:
            return account.matches(password)
        if not self._changed.check(user, password):
            return False
        # from now on it is compared without the price of a hash
        self._accounts[user] = replace(account, password=password)
        self._unverified.discard(user)
        return True

    def set_account(self, user: str, account: Account) -> None:
        """Let somebody log in."""
        self._accounts[user] = account

    def hashed_accounts(self) -> dict[str, str]:
        """What a member keeps, to know passwords again while its pool cannot be reached."""
        return {
            user: self._changed.hash_of(user)
            if user in self._unverified and self._changed is not None
            else hashed(account.password)
            for user, account in self._accounts.items()
            if account.superuser
        }

    def change_password(self, user: str, password: str) -> None:
        """Raises OSError when the change cannot be kept; nothing has changed then."""
        if self._changed is not None:
            self._changed.change(user, self._given[user], password)
        self._accounts[user] = replace(self._accounts[user], password=password)
        self._unverified.discard(user)

    def login(self, user: str, password: str, originator: str, host: str) -> str:
        """Open a session and return its reference. Raises SESSION_AUTHENTICATION_FAILED."""
        account = self.authenticate(user, password)
        now = DateTime.now()
        self._collect(user, originator, account)
        with self._store.transaction() as tx:
            ref = tx.create(
                "session",
                {
                    "this_host": host,
                    "auth_user_name": user,
                    "is_local_superuser": account.superuser,
                    "originator": originator,
                    "last_active": now,
                    "validation_time": now,
                    "rbac_permissions": [] if account.superuser else permissions(account.role),
                },
            )
        if not account.superuser:
            self._roles[ref] = account.role
        return ref

    def login_locally(self, user: str, password: str, host: str) -> str:
        """Open a session that only the addressed host knows (``slave_local_login_with_password``)."""
        self.authenticate(user, password)
        ref = self._store.new_ref()
        with self._lock:
            self._local[ref] = host
        return ref

    # use ---------------------------------------------------------------------------------------------------------

    def is_local(self, ref: str, host: str | None = None) -> bool:
        """Whether a session is one of a single host (of that one, if it is given)."""
        known = self._local.get(ref)
        return known is not None and host in (None, known)

    def check(self, ref: str) -> None:
        """Raises SESSION_INVALID unless the session lives; keeps ``last_active`` roughly right."""
        row = self._store.peek("session", ref)
        if row is None:
            if ref in self._local:
                return
            raise ApiError("SESSION_INVALID", ref)
        now = time.monotonic()
        if now - self._noted.get(ref, now - LAST_ACTIVE_GRANULARITY_SECONDS) < LAST_ACTIVE_GRANULARITY_SECONDS:
            return
        self._noted[ref] = now
        if _age(row) > LAST_ACTIVE_GRANULARITY_SECONDS:
            with self._store.transaction() as tx:
                if tx.peek("session", ref) is not None:
                    tx.update("session", ref, last_active=DateTime.now())

    def require(self, ref: str, permission: str, role: str) -> None:
        """Raises RBAC_PERMISSION_DENIED when the session's role is lower than ``role``."""
        own = self._roles.get(ref)
        if own is None:  # a superuser, or a session of this host alone
            return
        if role not in MODEL.roles or MODEL.roles.index(own) < MODEL.roles.index(role):
            allowed = MODEL.roles[MODEL.roles.index(role) :] if role in MODEL.roles else ()
            raise ApiError(
                "RBAC_PERMISSION_DENIED",
                permission.lower(),
                f"No permission in user session. (Roles with this permission: {', '.join(allowed)})",
            )

    def originator(self, ref: str) -> str:
        row = self._store.peek("session", ref)
        return row["originator"] if row is not None else ""

    def user(self, ref: str) -> str:
        row = self._store.peek("session", ref)
        return row["auth_user_name"] if row is not None else ""

    # end ---------------------------------------------------------------------------------------------------------

    def logout(self, ref: str) -> None:
        """End a session; what it blocks wakes with SESSION_INVALID. Raises SESSION_INVALID."""
        with self._store.transaction() as tx:
            if tx.peek("session", ref) is None:
                raise ApiError("SESSION_INVALID", ref)
            tx.delete("session", ref)

    def logout_locally(self, ref: str) -> None:
        with self._lock:
            if ref not in self._local:
                raise ApiError("SESSION_INVALID", ref)
            del self._local[ref]
        self._wake(ref)

    def close(self) -> None:
        """Wake everything that blocks, for the end of the server."""
        self._closed.set()
        with self._lock:
            wakers = [wake for blocked in self._blocked.values() for wake in blocked]
        for wake in wakers:
            wake()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    @contextmanager
    def wakes(self, ref: str, wake: Callable[[], None]) -> Iterator[None]:
        """Have ``wake`` called when the session ends while the block runs."""
        with self._lock:
            self._blocked.setdefault(ref, []).append(wake)
        try:
            yield
        finally:
            with self._lock:
                left = self._blocked[ref]
                left.remove(wake)
                if not left:
                    del self._blocked[ref]

    def collect_idle(self) -> int:
        """End the sessions that nobody used for a day; returns how many."""
        idle = [
            ref for ref, row in self._store.all("session").items() if _age(row) > IDLE_SECONDS and not self._busy(row)
        ]
        self._end(idle)
        return len(idle)

    # inside ------------------------------------------------------------------------------------------------------

    def _collect(self, user: str, originator: str, account: Account) -> None:
        """Make room for one more: the oldest sessions of the same origin go first, those with a pending task stay."""
        if account.superuser:
            rows = self._store.find("session", originator=originator)
            limit = MAX_PER_ORIGINATOR if originator else MAX_WITHOUT_ORIGINATOR
        else:
            rows = self._store.find("session", auth_user_name=user)
            limit = MAX_PER_ORIGINATOR
        surplus = len(rows) - limit + 1
        if surplus > 0:
            oldest_first = sorted(rows, key=lambda ref: rows[ref]["last_active"])
            self._end([ref for ref in oldest_first if not self._busy(rows[ref])][:surplus])

    def _busy(self, row: Row) -> bool:
        tasks = (self._store.peek("task", task) for task in row["tasks"])
        return any(task is not None and task["status"] == "pending" for task in tasks)

    def _end(self, refs: list[str]) -> None:
        if refs:
            with self._store.transaction() as tx:
                for ref in refs:
                    if tx.peek("session", ref) is not None:
                        tx.delete("session", ref)

    def _on_commit(self, commit: Commit) -> None:
        for change in commit.changes:
            if change.class_name == "session" and change.after is None:
                self._roles.pop(change.ref, None)
                self._noted.pop(change.ref, None)
                self._wake(change.ref)

    def _wake(self, ref: str) -> None:
        with self._lock:
            wakers = list(self._blocked.get(ref, ()))
        for wake in wakers:
            wake()


def permissions(role: str) -> list[str]:
    """The calls that a role may make, as in ``session.rbac_permissions``."""
    level = MODEL.roles.index(role)
    return sorted(
        f"{spec.name}.{message.name}".lower()
        for spec in MODEL.classes.values()
        for message in spec.messages.values()
        if _level(message) <= level
    )


def _level(message: MessageSpec) -> int:
    return MODEL.roles.index(message.role) if message.role in MODEL.roles else len(MODEL.roles)


def _age(row: Row) -> float:
    last: Any = row["last_active"]
    return time.time() - DateTime(last).to_datetime().timestamp()
