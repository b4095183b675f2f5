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
"""Class ``message``."""

from xapikit.model.schema import ClassSpec, F, M, life

MESSAGE = ClassSpec(
    "message",
    life("published@orlando"),
    declared_fields=(
        F("uuid", "string", "DynamicRO", "published@rio"),
        F("name", "string", "DynamicRO", "published@rio"),
        F("priority", "int", "DynamicRO", "published@rio"),
        F("cls", "enum:cls", "DynamicRO", "published published@orlando extended@1.313.0"),
        F("obj_uuid", "string", "DynamicRO", "published@rio"),
        F("timestamp", "datetime", "DynamicRO", "published@rio"),
        F("body", "string", "DynamicRO", "published@rio"),
    ),
    declared_messages=(
        M(
            "create",
            "name=string priority=int cls=enum:cls obj_uuid=string body=string",
            "ref:message",
            "published@orlando",
            "pool-operator",
        ),
        M("destroy", "self=ref:message", "", "published@orlando", "pool-operator"),
        M("destroy_many", "messages=set(ref:message)", "", "prototyped@22.19.0", "pool-operator", is_async=True),
        M("destroy_all", "filters=map(string,string)", "", "prototyped@26.6.0", "pool-operator", is_async=True),
        M(
            "get",
            "cls=enum:cls obj_uuid=string since=datetime",
            "map(ref:message,record:message)",
            "published@orlando",
            "read-only",
        ),
        M("get_all", "", "set(ref:message)", "published@orlando", "read-only"),
        M("get_since", "since=datetime", "map(ref:message,record:message)", "published@orlando", "read-only"),
        M("get_record", "self=ref:message", "record:message", "published@orlando", "read-only"),
        M("get_by_uuid", "uuid=string", "ref:message", "published@orlando", "read-only"),
        M("get_all_records", "", "map(ref:message,record:message)", "published@orlando", "read-only"),
        M("get_all_records_where", "expr=string", "map(ref:message,record:message)", "published@orlando", "read-only"),
    ),
    in_db=False,
    persist=False,
    get_all=False,
)
