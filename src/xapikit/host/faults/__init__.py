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
"""Faults and latency on request, and the counts of calls: what a test asks of the server, not what a host does.

Rules and scenarios are set in Python (``EmbeddedHost.faults``), on the command line or over HTTP under
``/_embedded/``. They live with the server process and survive a restart of the toolstack inside it.
"""

from xapikit.host.faults.faults import Faults
from xapikit.host.faults.matching import Match
from xapikit.host.faults.playing import Playing
from xapikit.host.faults.reading import ScenarioError
from xapikit.host.faults.rules import Kind, Rule, Verdict
from xapikit.host.faults.scenario import Event, Scenario, load_scenario, shipped_names

__all__ = [
    "Event",
    "Faults",
    "Kind",
    "Match",
    "Playing",
    "Rule",
    "Scenario",
    "ScenarioError",
    "Verdict",
    "load_scenario",
    "shipped_names",
]
