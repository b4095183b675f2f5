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
"""The whole sweep, as a table. Ends with status 1 when anything was left behind."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from driver_rig import Rig
from sweep.run import KINDS, OPERATIONS, Outcome, Stage, sweep


def main() -> int:
    logging.disable(logging.CRITICAL)
    outcomes: list[Outcome] = []
    started = time.monotonic()
    with Rig(hosts=1) as rig:
        stage = Stage.set_up(rig)
        for operation in OPERATIONS:
            for kind in KINDS:
                found = list(sweep(stage, operation, kind))
                outcomes += found
                survived = sum(not one.failed for one in found)
                left = [one for one in found if not one.clean]
                print(
                    f"{operation.name:36} {kind:11} calls failed {len(found):3}  operation went on {survived:3}  "
                    f"gave up {len(found) - survived:3}  left behind {len(left):3}",
                    flush=True,
                )
                for one in left:
                    print(f"    call {one.k}: left {dict(one.left)}; {one.failed or 'succeeded'}", flush=True)
    left_behind = sum(not one.clean for one in outcomes)
    print(f"{len(outcomes)} faults in {time.monotonic() - started:.0f} s: {left_behind} left something behind")
    return 1 if left_behind or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
