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

from collections.abc import Callable
from pathlib import Path

import pytest

from observed import RECORDED_POOL, deviations, groups, replay
from observed.deviations import DIRECTORY
from reference import reference_directory
from xapikit.host import EmbeddedHost

# all of them agree but for what tests/host/observed/GROUP.json lists
GROUPS = (
    "clone_copy",
    "database",
    "events",
    "http",
    "login",
    "misc",
    "network",
    "plugins",
    "pool",
    "rrd",
    "snapshot",
    "sr_pbd",
    "tasks",
    "vbd",
    "vdi",
    "vif",
    "vm_errors",
    "vm_lifecycle",
    "migration",
)


@pytest.fixture
def recordings() -> Path:
    reference = reference_directory()
    if reference is None:
        pytest.skip("the reference data is not on this machine (set NOVA_XAPI_REFERENCE to its directory)")
    return reference / "observed"


def test_every_recorded_group_is_played(recordings: Path) -> None:
    assert sorted(GROUPS) == groups(recordings)


@pytest.mark.parametrize("group", GROUPS)
def test_recorded_scenarios_agree(group: str, recordings: Path, xapi_factory: Callable[..., EmbeddedHost]) -> None:
    result = replay(xapi_factory(**RECORDED_POOL), recordings, group)
    assert not result.differences, "\n".join(map(str, result.differences))
    assert not result.outdated, f"these agree by now, take them from {group}.json: {result.outdated}"


def test_each_deviation_has_a_reason() -> None:
    listed = [entry for path in DIRECTORY.glob("*.json") for entry in deviations(path.stem).values()]
    assert listed
    assert all(entry.reason and entry.steps != frozenset() for entry in listed)
