import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import react from '@vitejs/plugin-react';
import { defineConfig, type Plugin } from 'vite';

const out = '../internal/webui/dist';

// The server sends what is already compressed, so that it needs no compression of its own.
const precompress = (): Plugin => ({
  name: 'precompress',
  closeBundle() {
    for (const f of readdirSync(out, { recursive: true, withFileTypes: true })) {
      const path = join(f.parentPath, f.name);
      if (!f.isFile() || !/\.(js|css|html|svg)$/.test(f.name)) continue;
      const raw = readFileSync(path);
      const small = gzipSync(raw, { level: 9 });
      if (small.length < raw.length) writeFileSync(`${path}.gz`, small);
    }
  },
});

export default defineConfig({
  plugins: [react(), precompress()],
  build: { outDir: out, emptyOutDir: true, target: 'es2022', assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: { proxy: Object.fromEntries(['/v1', '/login', '/logout'].map((p) => [p, process.env.SLUICE_SERVER ?? 'http://127.0.0.1:7070'])) },
});
