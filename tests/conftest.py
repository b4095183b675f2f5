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
"""Options and the feature table of the whole suite."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

# how long an example takes says something about the machine, not about the code
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

FEATURES: dict[str, str] = tomllib.loads((Path(__file__).parent / "features.toml").read_text())["features"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--feature-outcomes", metavar="FILE", help="append what tests prove, as JSON lines")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "feature(key, ...): this test proves these rows of tests/features.toml")
    if path := config.getoption("--feature-outcomes"):
        config.pluginmanager.register(FeatureOutcomes(Path(path)), "feature-outcomes")


def features_of(item: pytest.Item) -> Iterator[str]:
    for mark in item.iter_markers("feature"):
        yield from mark.args


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        unknown = set(features_of(item)) - set(FEATURES)
        if unknown:
            raise pytest.UsageError(f"{item.nodeid} proves {sorted(unknown)}, which tests/features.toml does not know")


class FeatureOutcomes:
    """Appends one JSON line per test that proves features; ``feature_table.py`` makes a page of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: dict[str, list[str]] = {}
        self.outcomes: dict[str, str] = {}

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        self.keys[item.nodeid] = list(features_of(item))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self.keys.get(report.nodeid) and (report.when == "call" or report.outcome != "passed"):
            self.outcomes[report.nodeid] = report.outcome

    def pytest_sessionfinish(self) -> None:
        with self.path.open("a") as file:
            for nodeid, outcome in self.outcomes.items():
                file.write(json.dumps({"test": nodeid, "outcome": outcome, "features": self.keys[nodeid]}) + "\n")
