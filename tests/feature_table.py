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
"""Write docs/features.rst from the outcomes that ``pytest --feature-outcomes`` collected."""

import json
import sys
from collections import defaultdict
from pathlib import Path

import tomllib


def state(outcomes: set[str]) -> str:
    """What the outcomes of all tests of one feature say together."""
    if not outcomes:
        return "not yet"
    if "failed" in outcomes:
        return "fails"
    return "works" if "passed" in outcomes else "not tested here"


def main(outcomes_file: str, page: str) -> None:
    features: dict[str, str] = tomllib.loads((Path(__file__).parent / "features.toml").read_text())["features"]
    tests: dict[str, dict[str, str]] = defaultdict(dict)
    for line in Path(outcomes_file).read_text().splitlines():
        entry = json.loads(line)
        for key in entry["features"]:
            tests[key][entry["test"].rpartition("::")[2].partition("[")[0]] = entry["outcome"]
    lines = ["..", "   Written by make features from the outcomes of tests; not edited by hand.", ""]
    lines += ["Features", "========", "", ".. list-table::", "   :header-rows: 1", "   :widths: 36 14 50", ""]
    lines += ["   * - Feature", "     - State", "     - Proven by"]
    for key, title in features.items():
        proofs = ", ".join(f"``{name}``" for name in sorted(tests[key])) or "-"
        lines += [f"   * - {title}", f"     - {state(set(tests[key].values()))}", f"     - {proofs}"]
    Path(page).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
