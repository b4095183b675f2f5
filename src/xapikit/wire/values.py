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
"""Native values of XenAPI that Python has no type of its own for.

Strings, integers, floats, booleans, lists and dicts are Python's. Enum words, secrets and references are ``str``.
Dates stay the text they are on the wire, in :class:`DateTime`, so that they compare and sort as they are stored.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import Any, Final

from xapikit.model.schema import NULL_REF

__all__ = ["EPOCH", "NULL_REF", "DateTime", "Int32", "Raw", "new_ref"]

Raw = Any
"""A value as it arrived, before its declared type is known: ``str`` (text, tagged or not), ``int``, ``float``,
``bool``, :class:`DateTime` (tagged, unchecked text), ``list``, ``dict``, ``None`` (nil), ``bytes`` (base64)."""

_FORM: Final = re.compile(
    r"(\d{4})(-?)(\d\d)\2(\d\d)T(\d\d):?(\d\d):?(\d\d)(?:[.,](\d+))?(Z|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)


class DateTime(str):
    """A point in time as XenAPI writes it: ``YYYYMMDDThh:mm:ssZ``. The epoch means "never".

    Equal and ordered as text, which for this form is order in time.
    """

    __slots__ = ()

    @classmethod
    def now(cls) -> DateTime:
        return cls.from_datetime(dt.datetime.now(dt.timezone.utc))

    @classmethod
    def from_datetime(cls, moment: dt.datetime) -> DateTime:
        """From an aware datetime (a naive one is taken as UTC); fractions of a second are dropped."""
        if moment.tzinfo is not None:
            moment = moment.astimezone(dt.timezone.utc)
        # strftime("%Y") does not pad years before 1000 everywhere
        return cls(f"{moment.year:04d}{moment:%m%dT%H:%M:%S}Z")

    @classmethod
    def from_timestamp(cls, seconds: float) -> DateTime:
        return cls.from_datetime(dt.datetime.fromtimestamp(seconds, dt.timezone.utc))

    @classmethod
    def parse(cls, text: str) -> DateTime:
        """Read any form that XAPI reads: hyphens, fractions and ``+hh:mm`` allowed, no zone means UTC.

        A date alone or Unix seconds raise ValueError.
        """
        found = _FORM.fullmatch(text)
        if not found:
            raise ValueError(f"not a date and time: {text[:64]!r}")
        year, _, month, day, hour, minute, second, _, zone = found.groups()
        moment = dt.datetime(int(year), int(month), int(day), int(hour), int(minute), int(second))
        if zone and zone != "Z":
            digits = zone[1:].replace(":", "").ljust(4, "0")
            offset = dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
            try:
                moment = moment - offset if zone[0] == "+" else moment + offset
            except OverflowError as error:
                raise ValueError(f"date and time out of range: {text[:64]!r}") from error
        return cls.from_datetime(moment)

    def to_datetime(self) -> dt.datetime:
        """As an aware datetime in UTC. Raises ValueError for a text that is no date."""
        text = DateTime.parse(self)
        return dt.datetime(
            int(text[:4]), int(text[4:6]), int(text[6:8]), int(text[9:11]), int(text[12:14]), int(text[15:17]),
            tzinfo=dt.timezone.utc,
        )  # fmt: skip

    @property
    def never(self) -> bool:
        return self == EPOCH


EPOCH: Final = DateTime("19700101T00:00:00Z")


class Int32(int):
    """A 32-bit counter, ``<i4>`` in XML-RPC: only ``valid_ref_counts`` of ``event.from`` has them."""

    __slots__ = ()


def new_ref() -> str:
    """A fresh reference: ``OpaqueRef:`` and a random UUID."""
    return f"OpaqueRef:{uuid.uuid4()}"
