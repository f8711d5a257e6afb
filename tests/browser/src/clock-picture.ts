/**
 * The wall clock in the picture, for machines: the top 32 rows hold two rows of 32 cells of 20 × 16 pixels. Cells 0 and 1 are
 * white and black; cell 2 + i is white when bit i of (UTC milliseconds mod 2^24) is set; the second row is the first
 * one inverted, so that a cell that the encoder spoiled is noticed. `page/probe.js` reads it.
 */

export const WIDTH = 640;
export const HEIGHT = 360;
export const FRAMES_PER_SECOND = 25;

/** Milliseconds after which the clock in the picture begins anew. */
const WRAP_MS = 2 ** 24;
const COLUMNS = 32;

/**
 * An ffmpeg filter graph that takes the picture `[0:v]` and gives `[v]`. The clock is read as a frame leaves its source
 * (`setpts=RTCTIME`), burnt in, and then the frames get their even timestamps back.
 */
export function clockFilter(): string {
  const milliseconds = `floor(mod(T*1000,${WRAP_MS}))`;
  const bit = `if(lt(X,2),1-X,mod(floor(${milliseconds}/pow(2,X-2)),2))`;
  return [
    `[0:v]settb=1/1000000,setpts=RTCTIME,split[picture][copy]`,
    `[copy]scale=${COLUMNS}:2,format=gray,geq=lum='255*abs(${bit}-Y)',scale=${WIDTH}:32:flags=neighbor[clock]`,
    `[picture][clock]overlay=0:0,setpts=N/(${FRAMES_PER_SECOND}*TB),format=yuv420p[v]`,
  ].join(';');
}
