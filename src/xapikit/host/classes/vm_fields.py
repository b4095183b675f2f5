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
"""Setters of ``VM`` that check their value and no more, and questions with a short answer."""

from __future__ import annotations

from collections.abc import Callable

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import implements

_RESTART_PRIORITIES = ("", "restart", "best-effort")


def _non_negative(field: str) -> Callable[[Context, str, int], None]:
    def setter(ctx: Context, vm: str, value: int) -> None:
        ctx.store.get("VM", vm)
        if value < 0:
            raise ApiError("INVALID_VALUE", f"{field} must be non-negative", value)
        with ctx.store.transaction() as tx:
            tx.update("VM", vm, **{field: value})

    return setter


for _field in ("order", "start_delay", "shutdown_delay"):
    implements(f"VM.set_{_field}")(_non_negative(_field))


@implements("VM.set_ha_restart_priority")
def set_ha_restart_priority(ctx: Context, vm: str, value: str) -> None:
    ctx.store.get("VM", vm)
    if value not in _RESTART_PRIORITIES:
        raise ApiError("INVALID_VALUE", "ha_restart_priority", value)
    with ctx.store.transaction() as tx:
        tx.update("VM", vm, ha_restart_priority=value)


@implements("VM.set_ha_always_run")
def set_ha_always_run(ctx: Context, vm: str, value: bool) -> None:
    """Deprecated: accepted, and without an effect (observed)."""
    ctx.store.get("VM", vm)


@implements("VM.set_groups")
def set_groups(ctx: Context, vm: str, value: list[str]) -> None:
    ctx.store.get("VM", vm)
    if len(value) > 1:
        raise ApiError("TOO_MANY_GROUPS")
    for group in value:
        ctx.store.get("VM_group", group)
    with ctx.store.transaction() as tx:
        tx.update("VM", vm, groups=value)


@implements("VM.get_cooperative")
def get_cooperative(ctx: Context, vm: str) -> bool:
    """Deprecated: whether the balloon driver obeys; guests of this host do."""
    ctx.store.get("VM", vm)
    return True


@implements("VM.query_services")
def query_services(ctx: Context, vm: str) -> dict[str, str]:
    ctx.store.get("VM", vm)
    raise ApiError("NOT_SYSTEM_DOMAIN", vm)


@implements("VM.get_SRs_required_for_recovery")
def get_srs_required_for_recovery(ctx: Context, vm: str, session_to: str) -> list[str]:
    ctx.store.get("VM", vm)
    return []


@implements("VM.assert_can_be_recovered")
def assert_can_be_recovered(ctx: Context, vm: str, session_to: str) -> None:
    ctx.store.get("VM", vm)
