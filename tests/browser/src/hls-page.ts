/** A page that plays an HLS address with plain hls.js, as its own documentation has it. */
export function hlsPage(hlsJs: string, address: string): string {
  return `<!doctype html><html lang="en"><title>hls.js</title><body>
<video autoplay muted playsinline width="640" height="360"></video>
<script>${hlsJs.replaceAll('</script', '<\\/script')}</script>
<script>
  const hls = new Hls({ lowLatencyMode: true });
  hls.on(Hls.Events.ERROR, (_, { fatal, details }) => { if (fatal) document.body.dataset.fatal = details; });
  hls.loadSource(${JSON.stringify(address)});
  hls.attachMedia(document.querySelector('video'));
  window.hls = hls;
</script>`;
}
