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
"""Figures: how fast and how frugal the system is, measured against what people would use otherwise.

``make bench`` runs all of them, ``python -m bench NAME...`` some. One JSON line per figure on standard output, with
``name``, ``value``, ``unit``; where there is a comparison also ``versus`` and ``ratio``: ours divided by theirs, in
seconds, both measured in this run, lower is better. A readable table ends the output. Each figure lives in a module
``fig_*.py`` of its own, which lists what it measures in ``FIGURES`` and measures it in ``run``.
"""
