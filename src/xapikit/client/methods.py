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
"""What the data model says about a method that matters to whoever sends it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final

from xapikit.model import MODEL, Type

_READS: Final = ("get_", "assert_", "is_", "has_", "list_", "query_", "compute_", "retrieve_", "probe")
_OTHER_READS: Final = frozenset(
    (
        "event.from",
        "VM.maximise_memory",
        "VM.wait_memory_target_live",
        "VDI.read_database_pool_uuid",
        "message.get",
        "system.listMethods",
    )
)
# writes with the same effect when they arrive twice; add_to_<map> is not among them (MAP_DUPLICATE_KEY)
_DERIVED_WRITES: Final = ("set_", "remove_", "add_")


@dataclass(frozen=True)
class MethodTraits:
    """``takes_session``: its first parameter is the session. ``repeatable``: sending it twice does what once does."""

    takes_session: bool
    repeatable: bool
    result: Type | None
    """Type of the result (of the task, for ``Async.``); None for void and for methods the model does not know."""


@functools.cache
def traits(method: str) -> MethodTraits:
    """Look a method up. ``Async.`` calls are never repeatable: each makes a task."""
    base = method.removeprefix("Async.")
    asynchronous = base != method
    name = base.partition(".")[2]
    known_read = base in _OTHER_READS or name.startswith(_READS)
    try:
        _, spec = MODEL.message(base)
    except KeyError:
        # an extension of the host, or a newer server than the model: nothing is known but its name
        return MethodTraits(base != "system.listMethods", known_read and not asynchronous, None)
    harmless = known_read or (spec.derived and name.startswith(_DERIVED_WRITES) and not name.startswith("add_to_"))
    return MethodTraits(not spec.no_session, harmless and not asynchronous, spec.result)
