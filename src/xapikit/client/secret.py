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
"""Keeping passwords and session references out of logs, reprs and exceptions."""

from __future__ import annotations

import logging
import re
from typing import Final

LOG: Final = logging.getLogger("xapikit.client")
"""The one logger of the client: a filter on a logger does not reach its children."""

HIDDEN: Final = "***"
_SESSION_ID: Final = re.compile(r"(session_id=)[^&\s;'\"]+")


class Secret:
    """A password that does not show itself."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Secret('{HIDDEN}')"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not serialized")


class Redactor(logging.Filter):
    """Replaces what it was told to hide. Works on texts and, as a filter, on log records."""

    def __init__(self) -> None:
        super().__init__()
        self._hidden: frozenset[str] = frozenset()

    def hide(self, *texts: str) -> None:
        # one- and two-letter passwords would blank out half of each line and protect nothing
        self._hidden |= {text for text in texts if len(text) > 2}

    def redact(self, text: str) -> str:
        for hidden in self._hidden:
            if hidden in text:
                text = text.replace(hidden, HIDDEN)
        return _SESSION_ID.sub(rf"\1{HIDDEN}", text)

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        clean = self.redact(message)
        if clean != message:
            record.msg, record.args = clean, None
        if record.exc_info:
            # another client's filter may have been here first, hiding its own secrets only
            text = record.exc_text or logging.Formatter().formatException(record.exc_info)
            record.exc_text = self.redact(text)
        return True
