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
"""Where the reference data is, for the tests that compare with it; they skip where it is absent."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def reference_directory() -> Path | None:
    """The directory with ``xenapi-datamodel.json`` and ``observed/``, or None."""
    given = os.environ.get("NOVA_XAPI_REFERENCE")
    candidates = [Path(given)] if given else [ROOT.parent / "shared/reference", ROOT.parents[1] / "shared/reference"]
    return next((path for path in candidates if (path / "xenapi-datamodel.json").exists()), None)


def load_reference(name: str) -> Any:
    """Parse one JSON file of the reference data; skips the calling test where it is absent."""
    directory = reference_directory()
    if directory is None:
        pytest.skip("the reference data is not on this machine (set NOVA_XAPI_REFERENCE to its directory)")
    return json.loads((directory / name).read_text())
