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
"""Arguments that a recording describes instead of writing them out.

Each module here holds the forms of one subject as ``FORMS``: a pattern that the whole text must match, and a function
of the match, the method and the complete record of the recorded ``VM.create``, which returns the argument with its
symbols still in it; and, where it has any, ``NOTES``: the note in a record that was cut, and a function of the method
and the rest of it. To teach the replayer a new form, add it to a module, or add a module: they are all found.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from typing import Any

Form = Callable[[re.Match[str], str, dict[str, Any]], Any]
Note = Callable[[str, dict[str, Any]], dict[str, Any]]


class Forms:
    """All forms of this package."""

    def __init__(self, minimal: dict[str, Any]) -> None:
        self._minimal = minimal
        self._forms: list[tuple[re.Pattern[str], Form]] = []
        self._notes: dict[str, Note] = {}
        for found in pkgutil.iter_modules(__path__):
            module = importlib.import_module(f"{__name__}.{found.name}")
            self._forms += [(re.compile(pattern, re.DOTALL), form) for pattern, form in module.FORMS.items()]
            self._notes |= getattr(module, "NOTES", {})

    def written_out(self, method: str, param: Any) -> Any:
        """The argument in full."""
        if isinstance(param, dict) and "note" in param:
            rest = {name: value for name, value in param.items() if name != "note"}
            return self._notes[param["note"]](method, rest)
        if not isinstance(param, str):
            return param
        for pattern, form in self._forms:
            if match := pattern.fullmatch(param):
                return form(match, method, self._minimal)
        return param
