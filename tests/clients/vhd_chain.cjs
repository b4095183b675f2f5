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
// vhd-lib on a full export and a difference to it; run by node, not by pytest.
'use strict'

const assert = require('node:assert')
const fs = require('node:fs/promises')
const path = require('node:path')
const { Disposable } = require('promise-toolbox')
const { chainVhd, checkVhdChain, openVhd, VhdFile, VhdSynthetic } = require('vhd-lib')

const [, , directory] = process.argv

// as much of a remote as reading and chaining need
const files = new Map()
const at = name => path.join(directory, name)
const handler = {
  isEncrypted: false,
  async openFile(name, flags) {
    files.set(name, await fs.open(at(name), flags))
    return name
  },
  async closeFile(name) {
    await files.get(name).close()
    files.delete(name)
  },
  getSize: async name => (await fs.stat(at(name))).size,
  read: (name, buffer, position) => files.get(name).read(buffer, 0, buffer.length, position),
  write: async (name, buffer, position) => void (await files.get(name).write(buffer, 0, buffer.length, position)),
}

async function main() {
  const expected = await fs.readFile(at('expected.raw'))
  await chainVhd(handler, 'full.vhd', handler, 'delta.vhd')
  await checkVhdChain(handler, 'delta.vhd')
  await Disposable.use([openVhd(handler, 'full.vhd'), openVhd(handler, 'delta.vhd')], async vhds => {
    for (const vhd of vhds) {
      assert.ok(vhd instanceof VhdFile)
      await vhd.readHeaderAndFooter()
      await vhd.readBlockAllocationTable()
      assert.equal(vhd.footer.currentSize, expected.length)
    }
    const [full, delta] = vhds
    assert.ok(full.footer.uuid.equals(delta.header.parentUuid))
    const blocks = []
    for await (const block of delta.blocks()) blocks.push(block.id)
    assert.deepEqual(blocks, [0, 1, 2]) // what was written in between, no more: the last one was and is empty
  })
  await Disposable.use(VhdSynthetic.fromVhdChain(handler, 'delta.vhd'), async chain => {
    await chain.readHeaderAndFooter()
    await chain.readBlockAllocationTable()
    const content = []
    const stream = await chain.rawContent()
    for await (const chunk of stream) content.push(chunk)
    assert.ok(Buffer.concat(content).equals(expected))
  })
  console.log('done')
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
