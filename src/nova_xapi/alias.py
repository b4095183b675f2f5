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
"""Makes ``nova.virt.xenapi`` importable without any file under ``nova/``.

Nova loads ``nova.virt.`` + the value of ``compute_driver`` and nothing else, and files put into its tree would break
an editable Nova. So a finder, appended to ``sys.meta_path``, answers for that one name. It is installed at interpreter
start by ``nova-xapi-alias.pth`` and, as a second way, by the ``os_vif`` entry point (:mod:`nova_xapi.os_vif_hook`).

This module runs in every Python process of the environment: standard library only, no import of Nova, no effect on
``sys.modules``, and no failure that anybody would notice.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

NAME = "nova.virt.xenapi"
TARGET = "nova_xapi.driver"


class AliasFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds exactly :data:`NAME`, and only when nobody before it did."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != NAME:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=f"alias of {TARGET}")

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Give the module what Nova looks for. An ImportError of the driver's own comes through: Nova logs it."""
        driver = importlib.import_module(TARGET)
        module.__doc__ = driver.__doc__
        module.XenAPIDriver = driver.XenAPIDriver  # type: ignore[attr-defined]


def install() -> None:
    """Install the finder once per process."""
    if not any(type(finder).__qualname__ == AliasFinder.__qualname__ for finder in sys.meta_path):
        sys.meta_path.append(AliasFinder())
