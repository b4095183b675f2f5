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
"""Arguments of plug-ins that are too long to be written out."""

from __future__ import annotations

import re
from typing import Any


def one_long_argument(match: re.Match[str], method: str, minimal: dict[str, Any]) -> dict[str, str]:
    return {match[1]: "x" * int(match[2])}


FORMS = {r"\{(\w+): (\d+) characters\}": one_long_argument}
