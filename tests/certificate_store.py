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
"""Certificates for castellan's users in a test, where a cloud has Barbican. Named in ``[key_manager] backend``."""

from typing import Any

from castellan.common.exception import ManagedObjectNotFoundError
from castellan.common.objects.x_509 import X509

#: certificates as DER, by identity
STORED: dict[str, bytes] = {}


class KeyManager:
    """The one call that verifying signatures makes."""

    def __init__(self, configuration: Any) -> None:
        pass

    def get(self, context: Any, managed_object_id: str) -> X509:
        """Raises ManagedObjectNotFoundError."""
        if managed_object_id not in STORED:
            raise ManagedObjectNotFoundError(uuid=managed_object_id)
        return X509(STORED[managed_object_id])
