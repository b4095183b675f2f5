// Licensed under the Apache License, Version 2.0 (the "License"); you may
// not use this file except in compliance with the License. You may obtain
// a copy of the License at
//
//      http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
// WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
// License for the specific language governing permissions and limitations
// under the License.
// Xen Orchestra's NBD client reads a whole disk, over one connection and over several; run by node, not by pytest.

import { createHash } from 'node:crypto'
import NbdClient from '@vates/nbd-client'
import MultiNbdClient from '@vates/nbd-client/multi.mjs'

const infos = JSON.parse(process.argv[2])
const BLOCK = 2 * 1024 * 1024

async function digest(client) {
  await client.connect()
  const hash = createHash('sha256')
  for (let index = 0; index < Number(client.exportSize) / BLOCK; index++) {
    hash.update(await client.readBlock(index, BLOCK))
  }
  await client.disconnect()
  return hash.digest('hex')
}

console.log(await digest(new NbdClient(infos[0])))
console.log(await digest(new MultiNbdClient(infos, { nbdConcurrency: 3 })))
console.log('done')
