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
"""Serve one OpenStack API with gunicorn's threads: `python -m nova_xapi.demo.apiserver MODULE PORT THREADS`.

OpenStack's API servers are WSGI applications only. A launcher of our own and not gunicorn's, because Nova and
Neutron parse `sys.argv` when they are imported, and gunicorn's arguments are none of theirs.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from gunicorn.app.base import BaseApplication

from nova_xapi.demo.layout import LOOPBACK


class ApiServer(BaseApplication):
    """gunicorn with one worker; the application is imported in the worker."""

    def __init__(self, module: str, port: int, threads: int) -> None:
        self.module, self.port, self.threads = module, port, threads
        super().__init__()

    def load_config(self) -> None:
        settings: dict[str, Any] = {
            "bind": f"{LOOPBACK}:{self.port}",
            "proc_name": self.module,
            "workers": 1,
            "worker_class": "gthread",
            "threads": self.threads,
            # the first heartbeat comes after the import of the application, which takes long on a busy machine
            "timeout": 300,
            # longer than OpenStack's clients keep idle connections of their pools, which cannot retry a POST
            "keepalive": 120,
            "graceful_timeout": 2,
            "control_socket_disable": True,
            "errorlog": "-",
            "accesslog": None,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return importlib.import_module(self.module).application


def main() -> None:
    module, port, threads = sys.argv[1:]
    sys.argv[1:] = []
    ApiServer(module, int(port), int(threads)).run()


if __name__ == "__main__":
    main()
