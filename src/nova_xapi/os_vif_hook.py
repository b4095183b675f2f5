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
"""Second way to install the alias of :mod:`nova_xapi.alias`: ``os_vif.initialize()`` loads this plug-in.

nova-compute initialises os-vif before it creates its service, hence before it looks for the driver. It helps where
the ``.pth`` file is not processed (``python -S``, copied trees). The plug-in itself plugs nothing: XAPI does that.
"""

from os_vif import objects, plugin

from nova_xapi import alias

alias.install()


class NovaXapiAliasHook(plugin.PluginBase):
    """A plug-in that offers no VIF type."""

    def describe(self) -> objects.host_info.HostPluginInfo:
        return objects.host_info.HostPluginInfo(plugin_name="nova_xapi_alias", vif_info=[])

    def plug(self, vif: object, instance_info: object) -> None:
        """Never called: :meth:`describe` offers nothing."""

    def unplug(self, vif: object, instance_info: object) -> None:
        """Never called: :meth:`describe` offers nothing."""
