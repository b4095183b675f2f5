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
"""Class ``task`` (wire reference 1.7); how tasks of calls live and end is :mod:`xapikit.host.server.tasks`."""

from __future__ import annotations

from xapikit.host.context import Context
from xapikit.host.registry import implements


@implements("task.create")
def create(ctx: Context, label: str, description: str) -> str:
    session = "" if ctx.pool.sessions.is_local(ctx.session) else ctx.session
    return ctx.pool.tasks.create(label, description, host=ctx.pool.coordinator, session=session)


@implements("task.destroy")
def destroy(ctx: Context, task: str) -> None:
    ctx.pool.tasks.destroy(task)


@implements("task.cancel")
def cancel(ctx: Context, task: str) -> None:
    ctx.pool.tasks.cancel(task, f"DummyRef:|{ctx.store.new_uuid()}|task.cancel")


@implements("task.set_status")
def set_status(ctx: Context, task: str, value: str) -> None:
    _write(ctx, task, status=value)


@implements("task.set_progress")
def set_progress(ctx: Context, task: str, value: float) -> None:
    _write(ctx, task, progress=value)


@implements("task.set_result")
def set_result(ctx: Context, task: str, value: str) -> None:
    _write(ctx, task, result=value)


@implements("task.set_error_info")
def set_error_info(ctx: Context, task: str, value: list[str]) -> None:
    _write(ctx, task, error_info=value)


def _write(ctx: Context, task: str, **fields: object) -> None:
    """Plain writes, in any order and any number of times: the owner knows what it does."""
    with ctx.store.transaction() as tx:
        tx.update("task", task, **fields)
