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
"""Whatever call fails, nothing is left behind. ``make sweep`` runs all of it; this is the part that takes seconds."""

from collections.abc import Iterator

import pytest
from sweep.run import OPERATIONS, Attempt, Kind, Operation, Stage, attempt, sweep

from driver_rig import Rig

NAMED = {operation.name: operation for operation in OPERATIONS}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Rig() as rig:
        yield Stage.set_up(rig)


@pytest.mark.parametrize("kind", ["error", "cut_after"])
@pytest.mark.parametrize("name", ["spawn, image cached", "destroy"])
def test_nothing_is_left_whichever_call_fails(stage: Stage, name: str, kind: Kind) -> None:
    outcomes = list(sweep(stage, NAMED[name], kind))
    assert len(outcomes) >= 5
    assert [outcome for outcome in outcomes if not outcome.clean] == []
    if kind == "cut_after":
        # what was done is recognized: the operation goes on
        assert [outcome.failed for outcome in outcomes if outcome.failed] == []


@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_call_that_did_not_arrive_is_sent_again(stage: Stage, k: int) -> None:
    outcome = attempt(stage, NAMED["spawn, image cached"], "cut_before", k)
    assert outcome.fired and outcome.clean and not outcome.failed


@pytest.mark.parametrize("k", [3, 8, 14])
def test_an_import_that_fails_leaves_nothing(stage: Stage, k: int) -> None:
    outcome = attempt(stage, NAMED["spawn, image not cached"], "error", k)
    assert outcome.fired and outcome.clean


def test_the_sweep_itself_sees_what_is_left(stage: Stage) -> None:
    """A check that cannot fail proves nothing: a disk that is made on the side is found."""
    sr = next(ref for ref, row in stage.rig.rows("SR").items() if row["type"] == "ext")
    record = {
        "name_label": "left behind", "SR": sr, "virtual_size": 4 << 20, "type": "user", "sharable": False,
        "read_only": False, "other_config": {},
    }  # fmt: skip

    def litter(here: Stage) -> Attempt:
        prepared = NAMED["spawn, image cached"].prepare(here)
        made.append(here.rig.client.call("VDI.create", record))
        return prepared

    made: list[str] = []
    stage.settling = 0.2
    try:
        outcome = attempt(stage, Operation("litter", litter), "error", 1)
    finally:
        stage.settling = 10.0
        stage.rig.client.call("VDI.destroy", made[0])
    assert outcome.left == {"VDI": 1, "file": 1}
