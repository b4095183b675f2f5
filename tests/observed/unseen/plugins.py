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
"""The plug-ins that lay in the dom0 of the recorded hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plugin_scripts import ECHO, SCRIPTS, install

if TYPE_CHECKING:
    from observed.replayer import Replayer


def all_plugins(replayer: Replayer) -> None:
    for name, script in SCRIPTS.items():
        install(replayer.xapi, f"g_{name}", script, mode=0o644 if name == "noexec" else 0o755)
    for number in range(len(replayer.xapi.hosts)):
        echo = install(replayer.xapi, "echo", ECHO, host=number)
        echo.with_name("g_dir").mkdir()


def a_plugin_that_echoes(replayer: Replayer) -> None:
    install(replayer.xapi, "echo", ECHO)


BEFORE = {
    ("plugins",): all_plugins,
    ("tasks",): a_plugin_that_echoes,
}
