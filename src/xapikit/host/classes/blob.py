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
"""Class ``blob`` and the handlers that carry its bytes: files under ``STATE/blobs``, named by uuid."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import handler, implements
from xapikit.host.server.columns import column
from xapikit.host.server.http import CHUNK_BYTES, HttpConnection, HttpError, HttpRequest, unauthorised
from xapikit.model import MODEL, NULL_REF
from xapikit.wire import DateTime

OWNERS = tuple(name for name, spec in MODEL.classes.items() if "create_new_blob" in spec.messages)
MAX_BYTES = 256 << 20
"""Blobs are notes and icons; a larger one is a mistake."""


def _path(ctx: Context, uuid: str) -> Path:
    directory = ctx.pool.state / "blobs"
    directory.mkdir(exist_ok=True, mode=0o700)
    return directory / uuid


@implements("blob.create")
def create(ctx: Context, mime_type: str, public: bool) -> str:
    with ctx.store.transaction() as tx:
        return tx.create("blob", {"mime_type": mime_type or "application/octet-stream", "public": public})


@implements("blob.destroy")
def destroy(ctx: Context, blob: str) -> None:
    with ctx.store.transaction() as tx:
        uuid = tx.get("blob", blob)["uuid"]
        tx.delete("blob", blob)
        for class_name in OWNERS:
            for ref, row in tx.all(class_name).items():
                if blob in row["blobs"].values():
                    tx.update(class_name, ref, blobs={k: v for k, v in row["blobs"].items() if v != blob})
    _path(ctx, uuid).unlink(missing_ok=True)


def _create_new_blob(class_name: str) -> Callable[..., str]:
    def create_new_blob(ctx: Context, ref: str, name: str, mime_type: str, public: bool) -> str:
        with ctx.store.transaction() as tx:
            blobs = tx.get(class_name, ref)["blobs"]
            if name in blobs:
                raise ApiError("MAP_DUPLICATE_KEY", class_name, column(class_name, "blobs"), ref, name)
            blob = create(ctx, mime_type, public)
            tx.update(class_name, ref, blobs={name: blob, **blobs})
            return blob

    return create_new_blob


for _class_name in OWNERS:
    implements(f"{_class_name}.create_new_blob")(_create_new_blob(_class_name))


@handler("get_blob", public=True)
def get_blob(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    row = _requested(request, ctx)
    if ctx.session == NULL_REF and not row["public"]:
        raise unauthorised("Blob handler")
    path = _path(ctx, row["uuid"])
    if not path.exists():
        raise HttpError("404 Not Found", "")
    data = path.read_bytes()
    connection.reply("200 OK", [("connection", "close"), ("content-type", row["mime_type"])], data)


@handler("put_blob")
def put_blob(request: HttpRequest, connection: HttpConnection, ctx: Context) -> None:
    row = _requested(request, ctx)
    length = request.content_length
    if length is None or length > MAX_BYTES:
        raise HttpError("400 Bad Request", "")
    path = _path(ctx, row["uuid"])
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        left = length
        while left:
            data = connection.recv(min(left, CHUNK_BYTES))
            if not data:
                temporary.unlink()
                raise ApiError("INTERNAL_ERROR", "the body ended early")
            file.write(data)
            left -= len(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    with ctx.store.transaction() as tx:
        ref = tx.store.by_uuid("blob", row["uuid"])
        if ref is not None:
            tx.update("blob", ref, size=length, last_updated=DateTime.now())
    connection.reply("200 OK", [("connection", "keep-alive")])
    connection.keep = True


def _requested(request: HttpRequest, ctx: Context) -> Any:
    """The row that the arguments name."""
    uuid, ref = request.argument("uuid"), request.argument("ref")
    if uuid is None and ref is None:
        raise HttpError("400 Bad Request", "")
    if ref is None:
        ref = ctx.store.by_uuid("blob", uuid or "")
    row = ctx.store.peek("blob", ref) if ref is not None else None
    if row is None:
        raise HttpError("404 Not Found", "Unknown reference\n")
    return row
