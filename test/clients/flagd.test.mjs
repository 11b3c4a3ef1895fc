// The official flagd provider, unmodified, remote and in process, against the one port of the real binary.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { FlagdProvider } from '@openfeature/flagd-provider'
import { OpenFeature, ProviderEvents } from '@openfeature/server-sdk'
import { flags, serve, until } from './lib.mjs'

let server
before(async () => {
  server = await serve('--anonymous', 'component', '--env-name', 'production,staging')
  await server.api('POST', '/v1/flags/import', flags)
  await server.api('POST', '/v1/flags/import?env=staging', { flags: { welcome: { ...flags.flags.welcome, defaultVariant: 'off' } } })
})
after(async () => {
  await OpenFeature.close()
  await server.stop()
})

async function connect(resolverType, domain, more = {}) {
  const changes = []
  OpenFeature.getClient(domain).addHandler(ProviderEvents.ConfigurationChanged, (e) => changes.push(...(e.flagsChanged ?? [])))
  await OpenFeature.setProviderAndWait(domain, new FlagdProvider({ host: '127.0.0.1', port: server.port, resolverType, deadlineMs: 30_000, ...more }))
  return { client: OpenFeature.getClient(domain), changes }
}

for (const resolverType of ['rpc', 'in-process']) {
  test(`flagd-provider ${resolverType}: types, reasons, errors and a change`, async () => {
    const { client, changes } = await connect(resolverType, resolverType)
    const fr = { targetingKey: 'user-1', country: 'FR', version: '2.1.0' }
    const welcome = await client.getBooleanDetails('welcome', false, fr)
    assert.deepEqual([welcome.value, welcome.reason, welcome.variant], [true, 'STATIC', 'on'])
    const colour = await client.getStringDetails('headerColour', 'x', fr)
    assert.deepEqual([colour.value, colour.reason, colour.variant], ['#0000ff', 'TARGETING_MATCH', 'blue'])
    assert.equal((await client.getStringDetails('headerColour', 'x', {})).reason, 'DEFAULT')
    assert.equal(await client.getNumberValue('limit', 0, fr), 200)
    assert.equal(await client.getNumberValue('ratio', 0, {}), 0.25)
    assert.deepEqual(await client.getObjectValue('theme', {}, {}), { font: 'serif', sizes: [1, 2] })
    assert.equal((await client.getBooleanDetails('nosuch', true, fr)).errorCode, 'FLAG_NOT_FOUND')
    const mismatch = await client.getBooleanDetails('headerColour', true, fr)
    assert.deepEqual([mismatch.value, mismatch.errorCode], [true, 'TYPE_MISMATCH'])
    assert.equal(await client.getStringValue('undecided', 'mine', fr), 'mine')
    assert.equal(await client.getBooleanValue('asleep', false, fr), false)
    await server.api('POST', '/v1/flags/welcome/kill', { reason: 'test' })
    await server.api('PUT', '/v1/flags/ratio', { key: 'ratio', type: 'float', variants: { a: 0.25, b: 0.75 }, default: 'b' })
    await until('the change', () => changes.includes('ratio'))
    assert.equal(await client.getNumberValue('ratio', 0, {}), 0.75)
    await server.api('POST', '/v1/flags/import', flags)
    await server.api('POST', '/v1/flags/welcome/revive', {})
    await until('the change back', async () => await client.getNumberValue('ratio', 0, {}) === 0.25 && (await client.getBooleanDetails('welcome', false, {})).reason === 'STATIC')
  })
}

test('both draw the same side for every unit', async () => {
  const rpc = OpenFeature.getClient('rpc'), local = OpenFeature.getClient('in-process')
  const sides = { a: 0, b: 0 }
  for (let i = 0; i < 100; i++) {
    const ctx = { targetingKey: `user-${i}` }
    const side = await rpc.getStringValue('split', 'x', ctx)
    assert.equal(await local.getStringValue('split', 'x', ctx), side, ctx.targetingKey)
    sides[side]++
  }
  assert.ok(sides.a > 25 && sides.b > 25, JSON.stringify(sides))
})

test('a selector chooses an environment', async () => {
  for (const resolverType of ['rpc', 'in-process']) {
    const { client } = await connect(resolverType, `staging-${resolverType}`, { selector: 'flagSetId=staging' })
    assert.equal(await client.getBooleanValue('welcome', true, {}), false, resolverType)
  }
})

test('what is proven of each is said', async () => {
  const { clients } = await server.api('GET', '/v1/components')
  assert.deepEqual(clients.map((c) => [c.class, c.delivery]), [['flagd-rpc', 'proven'], ['flagd-sync', 'unproven']])
})
