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
"""What happened in a recording and is no step of it: left by files recorded earlier, done by another client, or shown
in answers that were cut.

Each module here tells it for one subject as ``BEFORE``: ``(group,)`` for the start of a file or ``(group, scenario,
step)`` for the moment before a step, and a function of the replayer that makes it so, with calls where that is
possible, or binds symbols to what an answer showed. To add some, add to a module, or add a module: they are all found.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from observed.replayer import Replayer

Moment = tuple[str] | tuple[str, str, int]
Action = Callable[["Replayer"], None]


def unseen() -> dict[Moment, Action]:
    """All actions of this package by their moment."""
    found: dict[Moment, Action] = {}
    for module in pkgutil.iter_modules(__path__):
        actions: dict[Moment, Action] = importlib.import_module(f"{__name__}.{module.name}").BEFORE
        twice = found.keys() & actions.keys()
        assert not twice, f"told twice: {sorted(twice)}"
        found |= actions
    return found
