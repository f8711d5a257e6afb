/** Channel ids are 1 to 64 of `a-z 0-9 - _`, starting with a letter or digit. */
const CHANNEL_ID = /^[a-z0-9][a-z0-9_-]{0,63}$/;

/** The channel that an address such as `/watch/live` names; `undefined` if it names none. */
export function channelFromPath(path: string): string | undefined {
  const [, , channel = ''] = path.split('/');
  return CHANNEL_ID.test(channel) ? channel : undefined;
}

/** What a site owner pastes to show `channel` of the tracker at `origin`. */
export function embedSnippet(origin: string, channel: string): string {
  return `<script type="module" src="${origin}/embed.js"></script>\n<cardume-player channel="${channel}" autoplay muted controls></cardume-player>`;
}
