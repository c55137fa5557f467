import { defineConfig } from 'vite';
import { kept } from './scripts/kept.ts';

// `npm run dev` serves the page with hot reload and hands everything else to a running `tianqiao serve`.
const server = process.env.TIANQIAO_URL ?? 'http://127.0.0.1:8080';

export default defineConfig({
  appType: 'spa',
  build: {
    target: 'es2022',
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    rolldownOptions: {
      input: { index: 'index.html', sw: 'src/keeping/worker.ts' },
      output: { entryFileNames: ({ name }) => (name === 'sw' ? 'sw.js' : 'assets/[name]-[hash].js') },
    },
  },
  plugins: [kept()],
  server: { proxy: { '/api': { target: server, ws: true } } },
});
