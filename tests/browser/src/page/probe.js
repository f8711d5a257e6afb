// Runs in every page before its own scripts: watches the page's video from outside, without the player's help.
// Plain JavaScript, since it is sent to the browser as it is.

{
  /** Longest list kept: one sample per 250 ms for five minutes. */
  const SAMPLE_LIMIT = 1200;
  const SAMPLE_INTERVAL_MS = 250;
  const WRAP_MS = 2 ** 24;
  const CELL_WIDTH = 20;
  const ROW_HEIGHT = 16;
  const BITS = 24;

  /** @type {import('../viewer').Probe} */
  const probe = {
    firstFrameAt: null,
    nFrames: 0,
    longestGapMs: 0,
    gaps: [],
    latenciesMs: [],
    nUnreadable: 0,
    states: [],
    mediaErrors: [],
    playerErrors: [],
    nAppends: 0,
    nAppendErrors: 0,
  };
  window.probe = probe;

  const canvas = document.createElement('canvas');
  canvas.width = 640;
  canvas.height = 2 * ROW_HEIGHT;
  const context = canvas.getContext('2d', { willReadFrequently: true });

  /**
   * The clock in the picture, in UTC milliseconds modulo 2^24; `undefined` where the picture holds none.
   * @param {HTMLVideoElement} video
   */
  function readClock(video) {
    if (!context || video.videoWidth === 0) return undefined;
    const height = (video.videoHeight * 2 * ROW_HEIGHT) / 360;
    context.drawImage(video, 0, 0, video.videoWidth, height, 0, 0, 640, 2 * ROW_HEIGHT);
    const { data } = context.getImageData(0, 0, 640, 2 * ROW_HEIGHT);
    /** @param {number} column @param {number} row */
    const isWhite = (column, row) => {
      const x = column * CELL_WIDTH + CELL_WIDTH / 2;
      const y = row * ROW_HEIGHT + ROW_HEIGHT / 2;
      return (data[(y * 640 + x) * 4 + 1] ?? 0) > 127;
    };
    for (let column = 0; column < BITS + 2; column += 1) {
      if (isWhite(column, 0) === isWhite(column, 1)) return undefined;
    }
    if (!isWhite(0, 0) || isWhite(1, 0)) return undefined;
    let clock = 0;
    for (let bit = 0; bit < BITS; bit += 1) if (isWhite(bit + 2, 0)) clock += 2 ** bit;
    return clock;
  }

  /** @param {HTMLVideoElement} video */
  function sampleLatency(video) {
    const clock = readClock(video);
    if (clock === undefined) {
      probe.nUnreadable += 1;
      return;
    }
    if (probe.latenciesMs.length >= SAMPLE_LIMIT) return;
    const latency = (((Date.now() % WRAP_MS) - clock + WRAP_MS * 1.5) % WRAP_MS) - WRAP_MS / 2;
    probe.latenciesMs.push({ at: Date.now(), ms: latency });
  }

  /** @param {HTMLVideoElement} video */
  function watchFrames(video) {
    let lastAt = 0;
    let sampledAt = 0;
    const onFrame = () => {
      const now = performance.now();
      probe.firstFrameAt ??= Date.now();
      probe.nFrames += 1;
      if (lastAt > 0) {
        const gap = now - lastAt;
        probe.longestGapMs = Math.max(probe.longestGapMs, gap);
        if (gap > 200 && probe.gaps.length < SAMPLE_LIMIT) probe.gaps.push({ at: Date.now(), ms: gap });
      }
      lastAt = now;
      if (now - sampledAt >= SAMPLE_INTERVAL_MS) {
        sampledAt = now;
        sampleLatency(video);
      }
      video.requestVideoFrameCallback(onFrame);
    };
    video.requestVideoFrameCallback(onFrame);
    video.addEventListener('error', () => probe.mediaErrors.push(video.error?.message ?? 'unknown'));
  }

  /** @param {import('../viewer').PlayerElement} player */
  function watchPlayer(player) {
    player.addEventListener('cardumestate', (event) => {
      if (event instanceof CustomEvent) probe.states.push({ at: Date.now(), state: event.detail });
    });
    player.addEventListener('cardumeerror', (event) => {
      if (event instanceof CustomEvent) probe.playerErrors.push(event.detail);
    });
  }

  const append = SourceBuffer.prototype.appendBuffer;
  SourceBuffer.prototype.appendBuffer = function appendAndCount(bytes) {
    probe.nAppends += 1;
    this.addEventListener('error', () => (probe.nAppendErrors += 1), { once: true });
    append.call(this, bytes);
  };

  const find = () => {
    const player = /** @type {import('../viewer').PlayerElement | null} */ (
      document.querySelector('cardume-player')
    );
    const video = player ? player.nativeEl : document.querySelector('video');
    if (!video) return void setTimeout(find, 5);
    if (player) watchPlayer(player);
    watchFrames(video);
  };
  find();
}
