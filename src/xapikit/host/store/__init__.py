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
"""The one commit path for every object change: transactions, relations, generations, events, persistence.

``Store`` is the database of one pool. Changes happen in ``store.transaction()`` and nowhere else; what events,
``allowed_operations`` and the journal need follows from the commit. Calls, HTTP and storage know nothing here.
"""

from xapikit.host.store.journal import FileJournal, JournalDamaged, StateInUse, Sync
from xapikit.host.store.store import Commit, Store, Watch
from xapikit.host.store.table import Change, Row
from xapikit.host.store.transaction import Transaction, View

__all__ = [
    "Change",
    "Commit",
    "FileJournal",
    "JournalDamaged",
    "Row",
    "StateInUse",
    "Store",
    "Sync",
    "Transaction",
    "View",
    "Watch",
]
