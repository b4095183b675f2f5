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
"""VHD in one pass, in both directions, without seeking.

| from | to | function |
|---|---|---|
| raw bytes | VHD stream | `from_raw` (with `blocks` from `data_blocks` zero blocks are skipped), `from_file` |
| chain | VHD stream | `from_chain` (flattened, or differencing against a base) |
| chain | raw bytes | `chain_to_raw` |
| VHD stream | raw bytes | `to_raw` |
| VHD stream | raw file | `to_file` |
| any stream | new file | `save` |
| VHD stream | extents | `read` |
| VHD stream | open disk | `onto` |
| raw bytes | open disk | `raw_onto` |
"""

from .parser import Extent, StreamParser
from .reader import VhdStream, onto, read, save, to_file, to_raw
from .writer import chain_to_raw, data_blocks, from_chain, from_file, from_raw, length_of, raw_onto

__all__ = [
    "Extent",
    "StreamParser",
    "VhdStream",
    "chain_to_raw",
    "data_blocks",
    "from_chain",
    "from_file",
    "from_raw",
    "length_of",
    "onto",
    "raw_onto",
    "read",
    "save",
    "to_file",
    "to_raw",
]
