import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Files that other sites name in their pages: they keep their names; all else is hashed. */
const PUBLIC_ENTRIES = new Set(['embed', 'cardume']);

/** Gives the dev server the addresses that the tracker serves. */
function trackerAddresses(): Plugin {
  return {
    name: 'tracker-addresses',
    configureServer(server) {
      server.middlewares.use((request, _response, next) => {
        const path = request.url ?? '';
        if (path.startsWith('/watch/')) request.url = '/watch.html';
        else if (path.startsWith('/embed/')) request.url = '/embed.html';
        else if (path === '/api') request.url = '/api.html';
        else if (path === '/embed.js') request.url = '/src/embed.ts';
        next();
      });
    },
  };
}

/** The tracker that `npm run dev` talks to. */
const tracker = process.env.CARDUME_TRACKER ?? 'http://127.0.0.1:8080';

export default defineConfig({
  plugins: [trackerAddresses()],
  resolve: { alias: { 'cardume-peer-wasm': here('./src/wasm/cardume_peer_wasm.js') } },
  server: { proxy: { '/v1': { target: tracker, ws: true }, '/hls': tracker } },
  build: {
    target: 'es2022',
    // The helper would look for our chunks on the embedding page's origin.
    modulePreload: false,
    // An inlined asset would be a data: address, which many sites' content policies refuse.
    assetsInlineLimit: 0,
    rolldownOptions: {
      preserveEntrySignatures: 'strict',
      input: {
        index: here('./index.html'),
        api: here('./api.html'),
        watch: here('./watch.html'),
        frame: here('./embed.html'),
        embed: here('./src/embed.ts'),
        cardume: here('./src/index.ts'),
      },
      output: {
        entryFileNames: (chunk) => (PUBLIC_ENTRIES.has(chunk.name) ? '[name].js' : 'assets/[name]-[hash].js'),
      },
    },
  },
});
