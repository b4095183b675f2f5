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
"""Replays recorded exchanges of a real XAPI against the embedded host and lists where the two differ.

``PYTHONPATH=src:tests python -m observed [GROUP...]`` prints what differs and a line per group with its totals;
``tests/host/test_observed.py`` holds the host to it. Each step is played as it was recorded. What a recording only
abbreviates or leaves out has its own place, one module per subject, so that it is easily extended:

* ``forms``: arguments that are described instead of written out ("<minimal record of ... with name_label=x>");
* ``unseen``: what happened before the first step or between two steps and is no step itself;
* ``remarks``: what a recording says in words of an answer that is no step;
* ``symbols`` and ``matching``: what ``$vm`` stands for, and when two values are the same;
* ``tests/host/observed/GROUP.json``: the steps that differ here, each with its reason (``deviations``).
"""

from observed.deviations import Deviation, deviations
from observed.replayer import Difference, Replayer
from observed.running import RECORDED_POOL, GroupResult, groups, replay

__all__ = ["RECORDED_POOL", "Deviation", "Difference", "GroupResult", "Replayer", "deviations", "groups", "replay"]
