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
"""Class ``message``: what a host has to tell about its objects. Parts that have something to tell call :func:`tell`."""

from __future__ import annotations

from typing import Any

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements
from xapikit.host.server.filter import compile_filter
from xapikit.host.server.records import RowRecord, RowRecords
from xapikit.host.store import Transaction
from xapikit.host.store.table import Entry
from xapikit.model import MODEL
from xapikit.wire import DateTime

CLASSES = {"Host": "host", "Pool": "pool"}
"""Classes that a message spells in its own way; the others are spelled as everywhere."""
DEFAULT_PRIORITY = 3
MESSAGES_KEPT = 10_000
"""The oldest go when there are more, as on a host."""


def tell(tx: Transaction, name: str, class_name: str, uuid: str, body: str, priority: int | None = None) -> str:
    """Leave a message about an object (``class_name`` as in the API); returns its reference.

    The priority defaults to that of the data model's table of alerts.
    """
    spelled = {own: word for word, own in CLASSES.items()}.get(class_name, class_name)
    priority = MODEL.alert_priorities.get(name, DEFAULT_PRIORITY) if priority is None else priority
    if tx.store.count("message") >= MESSAGES_KEPT:
        oldest = next(iter(tx.store.all("message")))
        if tx.peek("message", oldest) is not None:
            tx.delete("message", oldest)
    return tx.create(
        "message",
        {
            "name": name,
            "priority": priority,
            "cls": spelled,
            "obj_uuid": uuid,
            "timestamp": DateTime.now(),
            "body": body,
        },
    )


@implements("message.create")
def create(ctx: Context, name: str, priority: int, cls: str, obj_uuid: str, body: str) -> str:
    _check_object(ctx, cls, obj_uuid)
    with ctx.store.transaction() as tx:
        return tell(tx, name, CLASSES.get(cls, cls), obj_uuid, body, priority)


def _check_object(ctx: Context, cls: str, uuid: str) -> None:
    if ctx.store.by_uuid(CLASSES.get(cls, cls), uuid) is None:
        raise ApiError("UUID_INVALID", cls, uuid)


@implements("message.destroy")
def destroy(ctx: Context, message: str) -> None:
    with ctx.store.transaction() as tx:
        tx.delete("message", message)


@implements("message.destroy_many")
def destroy_many(ctx: Context, messages: list[str]) -> None:
    with ctx.store.transaction() as tx:
        for message in dict.fromkeys(messages):
            tx.delete("message", message)


@implements("message.destroy_all")
def destroy_all(ctx: Context, filters: dict[str, str]) -> None:
    """``filters`` may hold ``priority``, ``before`` and ``after`` (dates)."""
    try:
        priority = int(filters["priority"]) if "priority" in filters else None
        before = DateTime.parse(filters["before"]) if "before" in filters else None
        after = DateTime.parse(filters["after"]) if "after" in filters else None
    except ValueError as error:
        raise ApiError("INVALID_VALUE", "filters", str(error)) from None
    with ctx.store.transaction() as tx:
        for ref, row in tx.all("message").items():
            if (
                (priority is None or row["priority"] == priority)
                and (before is None or row["timestamp"] < before)
                and (after is None or row["timestamp"] > after)
            ):
                tx.delete("message", ref)


@implements("message.get")
def get(ctx: Context, cls: str, obj_uuid: str, since: DateTime) -> RowRecords:
    if ctx.store.by_uuid(CLASSES.get(cls, cls), obj_uuid) is None:
        raise ApiError("UUID_INVALID")
    return _select(ctx, lambda row: row["cls"] == cls and row["obj_uuid"] == obj_uuid and row["timestamp"] > since)


@implements("message.get_since")
def get_since(ctx: Context, since: DateTime) -> RowRecords:
    return _select(ctx, lambda row: row["timestamp"] > since)


@implements("message.get_all")
def get_all(ctx: Context) -> list[str]:
    return list(ctx.store.all("message"))


@implements("message.get_all_records")
def get_all_records(ctx: Context) -> RowRecords:
    return _select(ctx, lambda row: True)


@implements("message.get_all_records_where")
def get_all_records_where(ctx: Context, expression: str) -> RowRecords:
    return _select(ctx, compile_filter("message", expression))


@implements("message.get_record")
def get_record(ctx: Context, message: str) -> RowRecord:
    entry = ctx.store.entry("message", message)
    if entry is None:
        raise ApiError("HANDLE_INVALID", "message", message)
    return RowRecord("message", entry)


@implements("message.get_by_uuid")
def get_by_uuid(ctx: Context, uuid: str) -> str:
    ref = ctx.store.by_uuid("message", uuid)
    if ref is None:
        raise ApiError("UUID_INVALID", "message", uuid)
    return ref


def _select(ctx: Context, wanted: Any) -> RowRecords:
    entries: list[tuple[str, Entry]] = ctx.store.entries("message")
    return RowRecords("message", [(ref, entry) for ref, entry in entries if wanted(entry.row)])
