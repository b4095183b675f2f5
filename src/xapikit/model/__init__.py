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
"""XenAPI, declared: what client and embedded host both know about it.

``MODEL`` is the whole data model (73 classes, fields, calls, enums, errors, relations, HTTP handlers).
"""

from xapikit.model.classes import CLASSES
from xapikit.model.enums import ENUMS
from xapikit.model.errors import ERRORS
from xapikit.model.http import HTTP_HANDLERS, HTTP_NO_RBAC
from xapikit.model.relations import RELATIONS
from xapikit.model.releases import API_VERSION, RELEASES
from xapikit.model.rules import ALERT_PRIORITIES, EMERGENCY_CALLS, NO_TASK_FOR_CLASSES, ROLES
from xapikit.model.schema import (
    MISSING,
    NULL_REF,
    ClassSpec,
    DataModel,
    FieldSpec,
    Kind,
    Life,
    MessageSpec,
    ParamSpec,
    Qualifier,
    Relation,
    Type,
    parse_type,
)

MODEL = DataModel(
    api_version=API_VERSION,
    classes={spec.name: spec for spec in CLASSES},
    enums=ENUMS,
    errors=ERRORS,
    relations=RELATIONS,
    roles=ROLES,
    releases=RELEASES,
    http_handlers=HTTP_HANDLERS,
    http_no_rbac=HTTP_NO_RBAC,
    emergency_calls=EMERGENCY_CALLS,
    no_task_for_classes=NO_TASK_FOR_CLASSES,
    alert_priorities=ALERT_PRIORITIES,
)

__all__ = [
    "MISSING",
    "MODEL",
    "NULL_REF",
    "ClassSpec",
    "DataModel",
    "FieldSpec",
    "Kind",
    "Life",
    "MessageSpec",
    "ParamSpec",
    "Qualifier",
    "Relation",
    "Type",
    "parse_type",
]
