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
"""Releases, oldest first; every numbered one is later than every named one."""

from xapikit.model.schema import Release

API_VERSION = (2, 23)

RELEASES: tuple[Release, ...] = (
    Release("rio", "1.1", "XenServer 4.0"),
    Release("miami", "1.2", "XenServer 4.1"),
    Release("symc", "1.2", "XenServer 4.1.1"),
    Release("orlando", "1.3", "XenServer 5.0"),
    Release("orlando-update-1", "1.3", "XenServer 5.0 Update 1"),
    Release("", "1.4", "Unreleased"),
    Release("", "1.5", "XenServer 5.0 update 3"),
    Release("george", "1.6", "XenServer 5.5"),
    Release("midnight-ride", "1.7", "XenServer 5.6"),
    Release("cowley", "1.8", "XenServer 5.6 FP1"),
    Release("boston", "1.9", "XenServer 6.0"),
    Release("tampa", "1.10", "XenServer 6.1"),
    Release("clearwater", "2.0", "XenServer 6.2"),
    Release("vgpu-tech-preview", "2.0", "XenServer 6.2 SP1 Tech-Preview"),
    Release("vgpu-productisation", "2.1", "XenServer 6.2 SP1"),
    Release("clearwater-felton", "2.2", "XenServer 6.2 SP1 Hotfix 4"),
    Release("clearwater-whetstone", "2.2", "XenServer 6.2 SP1 Hotfix 11"),
    Release("creedence", "2.3", "XenServer 6.5"),
    Release("cream", "2.4", "XenServer 6.5 SP1"),
    Release("indigo", "2.4", "XenServer 6.5 SP1 Hotfix 31"),
    Release("dundee", "2.5", "XenServer 7.0"),
    Release("ely", "2.6", "XenServer 7.1"),
    Release("falcon", "2.7", "XenServer 7.2"),
    Release("inverness", "2.8", "XenServer 7.3"),
    Release("jura", "2.9", "XenServer 7.4"),
    Release("kolkata", "2.10", "XenServer 7.5"),
    Release("lima", "2.11", "XenServer 7.6"),
    Release("naples", "2.12", "Citrix Hypervisor 8.0"),
    Release("oslo", "2.13", "Unreleased"),
    Release("quebec", "2.14", "Citrix Hypervisor 8.1"),
    Release("stockholm", "2.15", "Citrix Hypervisor 8.2"),
    Release("stockholm_psr", "2.15", "Citrix Hypervisor 8.2 Hotfix 2"),
    Release("nile-preview", "2.20", "XenServer 8 Preview"),
    Release("nile", "2.21", "XenServer 8"),
    Release("orinoco", "2.23", "XenServer 9"),
)
