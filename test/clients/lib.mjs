// What the client tests stand on: the real binary on an empty directory, and a few requests to it.
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const binary = process.env.SLUICE_BIN ?? new URL('../../bin/sluice', import.meta.url).pathname

/** serve runs `sluice serve` on a directory that has nothing, with more arguments, and returns how to reach and stop it. */
export async function serve(...args) {
  const child = spawn(binary, ['serve', '--listen', '127.0.0.1:0', '--data', mkdtempSync(join(tmpdir(), 'sluice-clients-')), ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  child.stdout.on('data', (b) => { text += b })
  child.stderr.on('data', (b) => { text += b })
  while (!/login\?token=\w+ /.test(text)) {
    if (child.exitCode !== null) throw new Error(text)
    await new Promise((r) => setTimeout(r, 20))
  }
  const url = new URL(text.match(/http:\S+login\?token=\w+/)[0]).origin
  const token = text.match(/slc_\w+/)[0]
  return {
    url, token, port: Number(new URL(url).port),
    stop: () => new Promise((done) => { child.on('exit', done); child.kill('SIGINT') }),
    /** api sends a JSON request as the admin and returns the answer. */
    async api(method, path, body) {
      const r = await fetch(url + path, { method, headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' }, body: body && JSON.stringify(body) })
      const answer = await r.text()
      if (!r.ok) throw new Error(`${method} ${path}: ${r.status} ${answer}`)
      return answer && JSON.parse(answer)
    },
    /** sluice runs the command line against the server. */
    sluice: (...argv) => execFileSync(binary, argv, { env: { ...process.env, SLUICE_SERVER: url, SLUICE_TOKEN: token }, encoding: 'utf8' }),
  }
}

/** until waits for a condition, for as long as a machine that does ten other things may need. */
export async function until(what, condition, within = 60_000) {
  const end = Date.now() + within
  for (;;) {
    const v = await condition()
    if (v) return v
    if (Date.now() > end) throw new Error(`never came: ${what}`)
    await new Promise((r) => setTimeout(r, 20))
  }
}

/** flags is a flagd configuration that every client of these tests evaluates. */
export const flags = {
  flags: {
    welcome: { state: 'ENABLED', variants: { on: true, off: false }, defaultVariant: 'on' },
    headerColour: {
      state: 'ENABLED', variants: { red: '#ff0000', blue: '#0000ff' }, defaultVariant: 'red',
      targeting: { if: [{ $ref: 'french' }, 'blue', null] }, metadata: { owner: 'web' },
    },
    limit: { state: 'ENABLED', variants: { low: 10, high: 200 }, defaultVariant: 'low', targeting: { if: [{ sem_ver: [{ var: 'version' }, '>=', '2.0'] }, 'high', 'low'] } },
    ratio: { state: 'ENABLED', variants: { a: 0.25, b: 0.75 }, defaultVariant: 'a' },
    theme: { state: 'ENABLED', variants: { plain: { font: 'serif', sizes: [1, 2] } }, defaultVariant: 'plain' },
    split: { state: 'ENABLED', variants: { a: 'a', b: 'b' }, defaultVariant: 'a', targeting: { fractional: [['a', 50], ['b', 50]] } },
    undecided: { state: 'ENABLED', variants: { a: 'a' } },
    asleep: { state: 'DISABLED', variants: { on: true }, defaultVariant: 'on' },
  },
  $evaluators: { french: { in: [{ var: 'country' }, ['FR', 'BE']] } },
}
