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
"""Is this all zeros? One memcmp, whatever the kind of buffer (comparing memoryviews would go item by item)."""

_LENGTH = 1 << 21
ZEROS = bytes(_LENGTH)


def is_zero(data: bytes | bytearray | memoryview) -> bool:
    """Whether every byte is zero; about 60 us for 2 MiB of zeros, at once where the first bytes differ."""
    length = len(data)
    if length <= _LENGTH:
        # bytes.startswith takes any buffer, does not copy, and is memcmp inside
        return ZEROS.startswith(data)
    view = memoryview(data)
    return all(ZEROS.startswith(view[at : at + _LENGTH]) for at in range(0, length, _LENGTH))
