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
"""Class ``Certificate``."""

from xapikit.model.schema import ClassSpec, F, life

CERTIFICATE = ClassSpec(
    "Certificate",
    life("published@stockholm"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@stockholm"),
        F("name", "string", "DynamicRO", "published@1.294.0", default=""),
        F("type", "enum:certificate_type", "DynamicRO", "published@1.294.0", default="host"),
        F("host", "ref:host", "StaticRO", "published@stockholm", default="OpaqueRef:NULL"),
        F("not_before", "datetime", "StaticRO", "published@stockholm", default="19700101T00:00:00Z"),
        F("not_after", "datetime", "StaticRO", "published@stockholm", default="19700101T00:00:00Z"),
        F("fingerprint", "string", "StaticRO", "published@stockholm deprecated@24.19.0", default=""),
        F("fingerprint_sha256", "string", "StaticRO", "prototyped@24.20.0", default=""),
        F("fingerprint_sha1", "string", "StaticRO", "prototyped@24.20.0", default=""),
        F("purpose", "set(enum:certificate_purpose)", "StaticRO", "prototyped@26.13.0", default=[]),
    ),
)
