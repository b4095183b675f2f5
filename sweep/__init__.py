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
"""Fault sweep: each call of an operation fails in turn, in each way that it can fail; what is left behind is counted.

``python -m sweep`` (``make sweep``) runs everything; the tests run a part of it. Nothing of the driver is replaced: the
faults are those of the embedded host.
"""
