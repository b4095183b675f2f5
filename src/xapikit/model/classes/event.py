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
"""Class ``event``."""

from xapikit.model.schema import ClassSpec, F, M, life

EVENT = ClassSpec(
    "event",
    life("published@rio"),
    declared_fields=(
        F("id", "int", "StaticRO", "published@rio"),
        F("timestamp", "datetime", "StaticRO", "published@rio deprecated@boston"),
        F("class", "string", "StaticRO", "published@rio"),
        F("operation", "enum:event_operation", "StaticRO", "published@rio"),
        F("ref", "string", "StaticRO", "published@rio"),
        F("obj_uuid", "string", "StaticRO", "published@rio deprecated@boston"),
        F("snapshot", "record:*", "DynamicRO", "published@boston"),
    ),
    declared_messages=(
        M("register", "classes=set(string)", "", "published@rio deprecated@boston", "read-only", is_async=True),
        M("unregister", "classes=set(string)", "", "published@rio deprecated@boston", "read-only", is_async=True),
        M(
            "next",
            "",
            "set(record:event)",
            "published@rio deprecated@boston",
            "read-only",
            errors=("SESSION_NOT_REGISTERED", "EVENTS_LOST", "EVENT_SUBSCRIPTION_PARSE_FAILURE"),
            custom_marshaller=True,
        ),
        M(
            "from",
            "classes=set(string) token=string timeout=float",
            "event_batch",
            "published@boston",
            "read-only",
            errors=("EVENT_FROM_TOKEN_PARSE_FAILURE", "EVENT_SUBSCRIPTION_PARSE_FAILURE"),
            custom_marshaller=True,
        ),
        M("get_current_id", "", "int", "published@rio", "read-only"),
        M("inject", "class=string ref=string", "string", "published@tampa", "read-only"),
    ),
    in_db=False,
    events=False,
    persist=False,
    get_all=False,
)
