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
"""A boot sector that speaks on the serial line: the smallest operating system that tests need."""

SECTOR = (
    bytes.fromhex(
        "fa31c08ed8be3c7c"  # 00 cli; ds = 0; si = text
        "ac84c07406baf803eeebf5"  # 08 print the text to the serial port
        "bafd03eca80174f8"  # 13 wait for a byte from the serial line
        "baf803ec"  # 1b read it
        "3c727409"  # 1f r: to 2c
        "3c73740b"  # 23 s: to 32
        "eeebe99090"  # 27 anything else: echo it, go on at 13
        "b0fee664ebfe"  # 2c reset through the keyboard controller
        "ba0406b80020ef"  # 32 power off through ACPI: SLP_EN into PM1a
        "f4ebfd"  # 39 hlt
    )
    + b"boot ok\r\n\0"
)

DISK_BYTES = 4 << 20


def boot_disk() -> bytes:
    """A raw disk that prints ``boot ok`` on the serial line, then resets at ``r``, powers off at ``s``, echoes else."""
    return (SECTOR.ljust(510, b"\0") + b"\x55\xaa").ljust(DISK_BYTES, b"\0")
