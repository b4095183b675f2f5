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
"""Class ``event``; how events are found is :mod:`xapikit.host.events`."""

from __future__ import annotations

from xapikit.host.context import Context
from xapikit.host.registry import implements
from xapikit.host.server.records import EventBatch


@implements("event.from")
def from_(ctx: Context, classes: list[str], token: str, timeout: float) -> EventBatch:
    return ctx.pool.events.wait_for(ctx.session, classes, token, timeout)


@implements("event.inject")
def inject(ctx: Context, class_name: str, ref: str) -> str:
    return ctx.pool.events.inject(class_name, ref)


@implements("event.register")
def register(ctx: Context, classes: list[str]) -> None:
    ctx.pool.events.register(ctx.session, classes)


@implements("event.unregister")
def unregister(ctx: Context, classes: list[str]) -> None:
    ctx.pool.events.unregister(ctx.session, classes)


@implements("event.next")
def next_(ctx: Context) -> EventBatch:
    return ctx.pool.events.next(ctx.session)


@implements("event.get_current_id")
def get_current_id(ctx: Context) -> int:
    return ctx.store.generation
