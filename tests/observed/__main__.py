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
"""``python -m observed [GROUP...]``: what differs from the recordings, and the totals."""

from __future__ import annotations

import sys
from pathlib import Path

# python tests/observed GROUP is understood as well
sys.path[0] = str(Path(__file__).parents[1])

from observed.running import RECORDED_POOL, groups, replay, total  # noqa: E402
from reference import reference_directory  # noqa: E402
from xapikit.host import EmbeddedHost  # noqa: E402


def main() -> int:
    reference = reference_directory()
    if reference is None:
        print("the reference data is not on this machine (set NOVA_XAPI_REFERENCE to its directory)")
        return 2
    directory = reference / "observed"
    results = []
    for group in sys.argv[1:] or groups(directory):
        with EmbeddedHost(**RECORDED_POOL) as xapi:
            result = replay(xapi, directory, group)
        for difference in result.differences:
            print(f"{group}/{difference}")
        for name in result.outdated:
            print(f"{group}/{name} is listed as a deviation and agrees")
        results.append(result)
    for result in results:
        print(result)
    print(total(results))
    return 1 if any(result.differences or result.outdated for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
