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
"""The demo: a real OpenStack on one machine, whose compute services drive an embedded pool of two hosts.

`nova-xapi demo` (nova_xapi.cli.demo) is its command line. Everything it makes lies in one state directory
(`layout`), everything it listens on is a loopback port (`layout.Ports`), everything it starts is recorded
(`processes`) and is stopped by that record alone. It uses the project's other parts only as a user would: `xapi-host`
as a process, the driver through Nova's configuration, the cloud through its public APIs.
"""
