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
"""Classes ``secret``, ``role``, ``subject`` and ``auth``: who may do what. External authentication is off."""

from __future__ import annotations

import uuid

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.inventory import Fresh, contributes
from xapikit.host.registry import implements
from xapikit.host.server.sessions import permissions
from xapikit.host.store import Transaction
from xapikit.model import MODEL

# the one role whose reference is part of the API: the default of ``subject.roles``
_POOL_ADMIN = "0165f154-ba3e-034e-6b27-5d271af109ba"
_DESCRIPTIONS = {
    "pool-admin": "The Pool Administrator role has full access to all features and settings",
    "pool-operator": "The Pool Operator role manages host- and pool-wide resources",
    "vm-power-admin": "The VM Power Administrator role has full access to VM and template management",
    "vm-admin": "The VM Administrator role can manage VMs and templates",
    "vm-operator": "The VM Operator role can use VMs and interact with VM consoles",
    "read-only": "The Read-Only role can log in with basic read-only access",
}


@contributes(rank=12)
def roles(tx: Transaction, fresh: Fresh) -> None:
    for name in reversed(MODEL.roles):
        id_ = _POOL_ADMIN if name == "pool-admin" else str(uuid.uuid5(uuid.UUID(_POOL_ADMIN), name))
        row = {"uuid": id_, "name_label": name, "name_description": _DESCRIPTIONS[name], "is_internal": False}
        tx.create("role", row, ref=f"OpaqueRef:{id_}")


@implements("role.get_permissions_name_label")
def get_permissions_name_label(ctx: Context, role: str) -> list[str]:
    return permissions(ctx.store.get("role", role)["name_label"])


@implements("role.get_permissions")
def get_permissions(ctx: Context, role: str) -> list[str]:
    ctx.store.get("role", role)
    return []  # permissions are names here, not rows


@implements("role.get_by_permission")
def get_by_permission(ctx: Context, permission: str) -> list[str]:
    ctx.store.get("role", permission)
    return []


@implements("role.get_by_permission_name_label")
def get_by_permission_name_label(ctx: Context, label: str) -> list[str]:
    return [ref for ref, row in ctx.store.all("role").items() if label in permissions(row["name_label"])]


@implements("subject.create")
def create_subject(ctx: Context, record: dict[str, object]) -> str:
    raise ApiError("AUTH_IS_DISABLED")


@implements("auth.get_subject_identifier", "auth.get_subject_information_from_identifier", "auth.get_group_membership")
def auth(ctx: Context, name: str) -> str:
    raise ApiError("AUTH_IS_DISABLED")


@implements("secret.introduce")
def introduce_secret(ctx: Context, uuid: str, value: str, other_config: dict[str, str]) -> str:
    with ctx.store.transaction() as tx:
        if tx.store.by_uuid("secret", uuid) is not None:
            raise ApiError("UUID_INVALID", "secret", uuid)
        return tx.create("secret", {"uuid": uuid, "value": value, "other_config": other_config})
