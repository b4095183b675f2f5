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
"""Objects, events and tasks behind the small server, for what only a forgetful or broken server can show."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from client.small_server import Cut, SmallServer
from xapikit.client import TlsPolicy, XapiClient
from xapikit.wire import Failure, new_ref, xmlrpc

Row = dict[str, Any]


class SmallPool:
    """Rows with modification stamps, as ``event.from`` needs them."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.rows: dict[str, dict[str, tuple[int, int, Row]]] = {"VM": {}, "host": {}, "task": {}, "VBD": {}}
        self.deleted: list[tuple[int, int, str, str]] = []
        self.generation = 100
        self.told = 0
        """How many batches with events were handed out."""
        self.awake = True
        """False: ``event.from`` is cut instead of answered."""
        self.miscount = 0
        self.garbage = False
        self.server = SmallServer(self.answer)

    # ------------------------------------------------------------------------------------------- changes

    def put(self, cls: str, ref: str = "", **fields: Any) -> str:
        with self.condition:
            ref = ref or new_ref()
            self.generation += 1
            created, _, row = self.rows[cls].get(ref, (self.generation, 0, {"uuid": ref[-36:]}))
            self.rows[cls][ref] = (created, self.generation, {**row, **fields})
            self.condition.notify_all()
            return ref

    def delete(self, cls: str, ref: str, remembered: bool = True) -> None:
        with self.condition:
            self.generation += 1
            created, _, _ = self.rows[cls].pop(ref)
            if remembered:
                self.deleted.append((created, self.generation, cls, ref))
            self.condition.notify_all()

    def end(self, task: str, status: str = "success", result: Any = None, error: list[str] | None = None) -> None:
        text = "" if error else xmlrpc.encode_fragment(result)
        self.put("task", task, status=status, progress=1.0, result=text, error_info=error or [])

    # ------------------------------------------------------------------------------------------- answers

    def answer(self, method: str, params: list[Any]) -> Any:
        if method == "event.from":
            return self.event_from(*params)
        if method == "event.inject":
            with self.condition:
                before = self.token()
                self.put(*params)
                return before
        if method.startswith("Async."):
            return self.put("task", name_label=method, status="pending", progress=0.0, result="", error_info=[])
        cls, _, name = method.partition(".")
        if method == "task.create":
            return self.put("task", name_label=params[0], status="pending", progress=0.0, result="", error_info=[])
        if method == "task.get_by_name_label":
            return [ref for ref, (_, _, row) in self.rows["task"].items() if row["name_label"] == params[0]]
        if method == "task.destroy":
            if params[0] not in self.rows["task"]:
                raise Failure(["HANDLE_INVALID", "task", params[0]])
            self.delete("task", params[0])
            return ""
        if method == "task.set_status":
            self.put("task", params[0], status=params[1])
            return ""
        if name == "get_all_records":
            with self.condition:
                return {ref: row for ref, (_, _, row) in self.rows[cls].items()}
        if name == "get_record":
            if params[0] not in self.rows[cls]:
                raise Failure(["HANDLE_INVALID", cls, params[0]])
            return self.rows[cls][params[0]][2]
        return ""

    def token(self) -> str:
        return f"{self.generation:020d},{0:020d}"

    def event_from(self, classes: list[str], token: str, timeout: float) -> Any:
        since = int(token.split(",")[0]) if token else 0
        deadline = time.monotonic() + timeout
        session = set(self.server.sessions)
        with self.condition:
            while True:
                if not self.awake:
                    raise Cut
                if session - self.server.sessions:
                    raise Failure(["SESSION_INVALID", "OpaqueRef:gone"])
                events = self.events([cls for cls in self.rows if cls.lower() in {c.lower() for c in classes}], since)
                left = deadline - time.monotonic()
                if events or left <= 0:
                    self.told += bool(events)
                    self.condition.notify_all()
                    counts = {cls.lower(): len(rows) + self.miscount for cls, rows in self.rows.items()}
                    if self.garbage:
                        return {"events": [{"class": "vm"}], "valid_ref_counts": counts, "token": self.token()}
                    return {"events": events, "valid_ref_counts": counts, "token": self.token()}
                self.condition.wait(min(left, 0.2))

    def events(self, classes: list[str], since: int) -> list[Row]:
        found = []
        for cls in classes:
            for ref, (created, modified, row) in self.rows[cls].items():
                if modified > since:
                    operation = "add" if created > since else "mod"
                    found.append(self.event(modified, cls, operation, ref, {"snapshot": row}))
        found.sort(key=lambda event: str(event["operation"]))
        for created, at, cls, ref in self.deleted:
            if cls in classes and created <= since < at:
                found.append(self.event(at, cls, "del", ref, {}))
        return found

    def event(self, at: int, cls: str, operation: str, ref: str, more: Row) -> Row:
        return {"id": str(at), "timestamp": "0.0", "class": cls.lower(), "operation": operation, "ref": ref, **more}


@contextmanager
def running(
    certificate: Path | None = None, fingerprint: str = "", **settings: Any
) -> Iterator[tuple[SmallPool, XapiClient]]:
    pool = SmallPool()
    pool.put("host", address="127.0.0.1")
    if certificate is not None:
        pool.server = SmallServer(pool.answer, certificate)
    tls = TlsPolicy(fingerprint=fingerprint) if fingerprint else None
    with pool.server:
        given: dict[str, Any] = {"patience": 5.0, "call_timeout": 10.0, "cache_classes": ["host", "VM"], **settings}
        client = XapiClient(pool.server.url, username="root", password="right", originator="test", tls=tls, **given)
        with client:
            yield pool, client
