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
"""Performance data as a host keeps it: data sources, round-robin archives, and how they are written out.

:mod:`.sources` reads current values, :mod:`.archive` keeps them, :mod:`.sampler` feeds it every five seconds,
:mod:`.formats` writes XML and JSON. Handlers and calls are in ``handlers/rrd.py`` and ``classes/data_source.py``.
"""
