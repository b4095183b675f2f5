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


WRITER = (
    bytes.fromhex(
        "31c08ed88ed0bc007cfbfcbe707c"  # 00 segments and stack; si = text
        "ac84c07406baf803eeebf5"  # 0e print the text to the serial port
        "6631db"  # 19 ebx = 0
        "664366891e0080"  # 1c ebx += 1; put it into the buffer at 8000
        "66891e687c"  # 23 it is the number of the sector, too
        "be607cb80043b2806653cd13665b"  # 28 write the sector through the BIOS
        "bafd03eca8017409"  # 36 no byte from the serial line: to 47
        "baf803ecee"  # 3e read and echo it
        "3c73740c"  # 43 s: to 53
        "6681fbfeff000072cc"  # 47 go on at 1c until the disk is full
        "f4ebf4"  # 50 then only listen
        "ba0406b80020eff4ebf6"  # 53 power off through ACPI
        "8d7400"
        "10000100008000000000000000000000"  # 60 the packet: one sector from 0:8000
    )
    + b"boot ok\r\n\0"
)
WRITER_BYTES = 64 << 20


def writer_disk() -> bytes:
    """A raw disk that writes its own sectors one after another, each with its number in it, and powers off at ``s``."""
    return (WRITER.ljust(510, b"\0") + b"\x55\xaa").ljust(WRITER_BYTES, b"\0")


def written(content: bytes) -> int:
    """How many sectors a :func:`writer_disk` wrote. Fails when one before the last is missing."""
    numbers = [int.from_bytes(content[at : at + 4], "little") for at in range(512, len(content), 512)]
    count = next((number for number, found in enumerate(numbers, 1) if found != number), len(numbers) + 1) - 1
    assert not any(numbers[count:]), f"sector {count + 1} is lost, later ones are there"
    return count
