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
"""Behaviour of the calls, one module per XenAPI class (or a package where a class is big).

Modules register their functions with :func:`xapikit.host.registry.implements` when they are imported.
"""

from __future__ import annotations

import importlib
import pkgutil


def load_all() -> None:
    """Import every class module, and every handler module, so that the registry is complete."""
    import xapikit.host.classes
    import xapikit.host.handlers

    for package in (xapikit.host.classes, xapikit.host.handlers):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)
