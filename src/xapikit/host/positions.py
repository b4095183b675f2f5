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
"""Positions of virtual disks: ``userdevice`` texts, the number behind them, ``xvda`` names (wire reference 3.7)."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

POSITIONS: Final = 255
"""0..254 are offered; the constructor checks no range."""
AUTODETECT: Final = "autodetect"
_NAMED: Final = re.compile(r"(?:xvd|hd|sd)([a-z]{1,2})\d*\Z")
_DECIMAL: Final = re.compile(r"-?\d+\Z")


def position_of(userdevice: str) -> int | None:
    """``"0"``, ``"xvdb"``, ``"hdc1"`` -> number; floppies and unknown words -> None."""
    if _DECIMAL.match(userdevice):
        return int(userdevice)
    named = _NAMED.match(userdevice)
    if named is None:
        return None
    number = 0
    for letter in named[1]:
        number = number * 26 + ord(letter) - ord("a") + 1
    return number - 1


def is_device(userdevice: str) -> bool:
    """Whether a host takes the text as it is."""
    return position_of(userdevice) is not None or userdevice in ("d0", "d1", "fd0", "fd1")


def device_name(position: int) -> str:
    """``xvda`` for 0, ``xvdaa`` for 26."""
    letters, number = "", position + 1
    while number > 0:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("a") + letter) + letters
    return "xvd" + letters


def free_positions(taken: Collection[int]) -> list[int]:
    """Positions that are still offered, lowest first."""
    return [number for number in range(POSITIONS) if number not in taken]
