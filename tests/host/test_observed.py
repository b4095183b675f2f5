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
"""Recorded exchanges of a real XAPI are answered the same; every difference stands in a list with its reason."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from observed import Replayer, scenarios
from reference import reference_directory
from xapikit.host import EmbeddedHost

# the groups whose calls are in classes of this directory's part; storage and networks have tests of their own
GROUPS = ("login", "database", "events", "tasks", "pool", "misc", "rrd", "http")
DEVIATIONS = json.loads((Path(__file__).parent / "observed_deviations.json").read_text())


@pytest.mark.parametrize("group", GROUPS)
def test_recorded_scenarios_agree(group: str, xapi_factory: Callable[..., EmbeddedHost]) -> None:
    reference = reference_directory()
    if reference is None:
        pytest.skip("the reference data is not on this machine (set NOVA_XAPI_REFERENCE to its directory)")
    replayer = Replayer(xapi_factory(hosts=2), reference / "observed")
    replayer.prepare(group)
    unexpected, missing = [], []
    for scenario in scenarios(reference / "observed", group):
        name = f"{group}/{scenario['name']}"
        steps = DEVIATIONS.get(name, {}).get("steps", ())
        if steps == "all":
            continue
        allowed = set(steps)
        found = replayer.play(scenario)
        unexpected += [str(difference) for difference in found if difference.step not in allowed]
        missing += [f"{name}[{step}] agrees by now" for step in allowed - {difference.step for difference in found}]
    assert not unexpected, "\n".join(unexpected)
    assert not missing, "take these from observed_deviations.json: " + ", ".join(missing)


def test_each_deviation_has_a_reason() -> None:
    assert all(entry["reason"] and entry["steps"] for entry in DEVIATIONS.values())
