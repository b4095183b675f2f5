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
"""Column names: the parts of a nested field name joined by two underscores (wire reference 1.5, rule 13).

Filter expressions and ``MAP_DUPLICATE_KEY`` use them; records and call names use one underscore.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from xapikit.model import MODEL

# class ("" = every class) -> prefixes of fields whose first underscore is a nesting
_NESTED: Mapping[str, str] = {
    "": r"name_(?=label$|description$)",
    "VM": r"memory_(?=overhead$|target$|static_|dynamic_)|VCPUs_|actions_(?=after_)|PV_(?!drivers)|HVM_",
    "VM_metrics": r"memory_(?=actual$)|VCPUs_",
    "host": r"memory_(?=overhead$)|API_version_",
    "host_metrics": r"memory_(?=total$|free$)",
    "PIF_metrics": r"io_(?=read_kbs$|write_kbs$)",
    "VIF_metrics": r"io_(?=read_kbs$|write_kbs$)",
    "VBD_metrics": r"io_(?=read_kbs$|write_kbs$)",
}


def column(class_name: str, field: str) -> str:
    """``("VM", "HVM_boot_params")`` -> ``"HVM__boot_params"``."""
    for pattern in (_NESTED.get(class_name), _NESTED[""]):
        found = re.match(pattern, field) if pattern else None
        if found:
            return f"{found[0]}_{field[found.end() :]}"
    return field


@functools.cache
def fields_by_column(class_name: str) -> Mapping[str, str]:
    """Column name -> field name, for every field of the class."""
    if class_name == "message":  # messages are no database rows: their filter knows the plain names
        return {name: name for name in MODEL.classes[class_name].fields}
    return {column(class_name, name): name for name in MODEL.classes[class_name].fields}
