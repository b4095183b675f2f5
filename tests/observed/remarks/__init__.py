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
"""What a recording only says in words: remarks between the steps, checked with calls.

Each module here checks those of one subject as ``CHECKS``: ``(group, scenario, step)`` and a function of the replayer
and the step, which returns what the remark says and what is so here. To check more, add to a module, or add a module:
they are all found. A remark without a check counts as a step that cannot be played.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from observed.replayer import Replayer

Check = Callable[["Replayer", dict[str, Any]], tuple[Any, Any]]


def remarks() -> dict[tuple[str, str, int], Check]:
    """All checks of this package by the place of their remark."""
    found: dict[tuple[str, str, int], Check] = {}
    for module in pkgutil.iter_modules(__path__):
        found |= importlib.import_module(f"{__name__}.{module.name}").CHECKS
    return found
