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
"""What a pool finds in its database at the very first start: the rows of a freshly installed host.

Each part contributes a function to this registry in its own module, run in the order of ranks in one transaction::

    @contributes(rank=30)
    def local_storage(tx: Transaction, fresh: Fresh) -> None: ...

Rows only: files and processes are made by the ``start()`` of storage and domains, which run at every start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from xapikit.host.settings import HostSettings
from xapikit.host.store import Transaction


@dataclass
class FreshHost:
    """One host being set up. References are filled in by the contributions that make the rows."""

    name: str
    address: str
    ref: str = ""
    dom0: str = ""
    local_sr: str = ""


@dataclass
class Fresh:
    """The pool being set up. ``hosts[0]`` is the coordinator. Made by: pool and hosts rank 10, dom0 20,
    networks and PIFs 30, SM rows and SRs 40, templates 50."""

    settings: HostSettings
    hosts: list[FreshHost]
    pool: str = ""
    scratch: dict[str, str] = field(default_factory=dict)
    """References that later contributions need, by a name of the contributor's choice."""


Contribution: TypeAlias = Callable[[Transaction, Fresh], None]

_CONTRIBUTIONS: list[tuple[int, Contribution]] = []


def contributes(*, rank: int) -> Callable[[Contribution], Contribution]:
    """Register a function that adds rows to a fresh pool; lower ranks run first."""

    def register(function: Contribution) -> Contribution:
        _CONTRIBUTIONS.append((rank, function))
        return function

    return register


def install(tx: Transaction, fresh: Fresh) -> None:
    """Make all rows of a fresh pool."""
    for _, contribution in sorted(_CONTRIBUTIONS, key=lambda item: item[0]):
        contribution(tx, fresh)
