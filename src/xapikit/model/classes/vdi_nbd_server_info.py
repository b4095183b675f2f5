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
"""Class ``vdi_nbd_server_info``."""

from xapikit.model.schema import ClassSpec, F, life

VDI_NBD_SERVER_INFO = ClassSpec(
    "vdi_nbd_server_info",
    life("published@inverness"),
    declared_fields=(
        F("exportname", "string", "DynamicRO", "published@inverness"),
        F("address", "string", "DynamicRO", "published@inverness"),
        F("port", "int", "DynamicRO", "published@inverness"),
        F("cert", "string", "DynamicRO", "published@inverness"),
        F("subject", "string", "DynamicRO", "published@inverness"),
    ),
    in_db=False,
    events=False,
    persist=False,
    get_all=False,
)
