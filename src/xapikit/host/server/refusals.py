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
"""What calls answer that this host does not implement: exactly what a host answers that lacks the feature.

First the object is looked up (HANDLE_INVALID as always), then the feature is refused. Which error a feature gives is
data: the longest prefix of ``Class.method`` decides.
"""

from __future__ import annotations

from typing import Any

from xapikit.host.context import Context
from xapikit.host.errors import ApiError
from xapikit.host.registry import Implementation
from xapikit.model import MODEL, ClassSpec, Kind, MessageSpec

_REFUSALS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # features that need hardware, a licence or another service
    ("Cluster", ("NOT_IMPLEMENTED", "{method}")),
    ("DR_task", ("NOT_IMPLEMENTED", "{method}")),
    ("PVS_", ("NOT_IMPLEMENTED", "{method}")),
    ("pool.initialize_wlb", ("WLB_CONNECTION_REFUSED",)),
    ("pool.deconfigure_wlb", ("WLB_NOT_INITIALIZED",)),
    ("pool.retrieve_wlb", ("WLB_NOT_INITIALIZED",)),
    ("pool.send_wlb", ("WLB_NOT_INITIALIZED",)),
    ("host.retrieve_wlb", ("WLB_NOT_INITIALIZED",)),
    ("VM.retrieve_wlb", ("WLB_NOT_INITIALIZED",)),
    ("pool.detect_nonhomogeneous_external_auth", ("NOT_IMPLEMENTED", "{method}")),
    ("host.dmesg_clear", ("NOT_IMPLEMENTED", "dmesg_clear")),
    ("host.get_log", ("NOT_IMPLEMENTED", "get_log")),
    ("host.list_methods", ("NOT_IMPLEMENTED", "list_method")),
    ("pool.test_archive_target", ("MESSAGE_REMOVED",)),
    ("VM.import_convert", ("XENAPI_MISSING_PLUGIN", "conversion")),
    ("VMSS.snapshot_now", ("XENAPI_MISSING_PLUGIN", "vmss")),
    ("SR.make", ("MESSAGE_DEPRECATED",)),
    ("", ("NOT_IMPLEMENTED", "{method}")),
)


def refusal(spec: ClassSpec, message: MessageSpec) -> Implementation:
    """The function that refuses a call."""
    method = f"{spec.name}.{message.name}"
    template = max((item for item in _REFUSALS if method.startswith(item[0])), key=lambda item: len(item[0]))[1]
    error = [part.format(method=message.name if part == "{method}" else method) for part in template]
    first = message.params[0].type if message.params else None
    subject = first.name if first is not None and first.kind is Kind.REF else ""

    def refuse(ctx: Context, *arguments: Any) -> None:
        if subject and MODEL.classes[subject].in_db:
            ctx.store.get(subject, arguments[0])
        raise ApiError(*error)

    return refuse
