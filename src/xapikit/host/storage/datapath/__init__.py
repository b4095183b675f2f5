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
"""Data paths: one process per attached disk serves its VHD chain over NBD, as tapdisk does on a real host.

QEMU reads zeros from a differencing VHD without a word, so it never opens one: it speaks NBD to the process of this
package (:mod:`.__main__` and :mod:`.server`). The processes are detached and survive the server; :mod:`.manager` starts
them, finds them again, and pauses them while the chain below changes.
"""
