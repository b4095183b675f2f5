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
"""Registers the derived fields of all classes: each class module may define ``derive(store)``."""

from __future__ import annotations

import importlib
import pkgutil

from xapikit.host.store import Store


def register_all(store: Store) -> None:
    """Call ``derive(store)`` of every class module that has one."""
    import xapikit.host.classes

    for module in pkgutil.walk_packages(xapikit.host.classes.__path__, "xapikit.host.classes."):
        derive = getattr(importlib.import_module(module.name), "derive", None)
        if derive is not None:
            derive(store)
