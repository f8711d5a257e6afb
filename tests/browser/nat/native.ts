/**
 * Two `cardume watch`, each behind a NAT that maps to another port for each address: nothing but the relay is between them. They
 * connect by it; and when one of them loses its connection to the tracker, so that it has no link to the server any more, it gets
 * media of the other one over the relay.
 */
import { NativeViewer } from '../src/native';
import { startSender } from '../src/sender';
import { Tracker } from '../src/tracker';
import { type Lab, SIDES, TRACKER_HOST } from './lab';

/**
 * Media that the one who has no server must get of the other, in bytes: two seconds of the stream. It takes some seven (measured: 30 kB/s),
 * since who is reached by the relay alone pushes nothing to anybody, so that all of it is pulled.
 */
const FED_LEN = 200_000;

/** What it saw, for people; throws when something does not happen. */
export async function watchNatively(lab: Lab): Promise<string> {
  for (const side of SIDES) lab.setRouter(side, 'symmetric');
  const tracker = await Tracker.start({
    host: TRACKER_HOST,
    under: lab.onTheInternet,
    more: `stun = "${TRACKER_HOST}:3478"\nrelay = true\n`,
  });
  const sender = startSender(tracker, 'rtmp');
  const viewers: NativeViewer[] = [];
  try {
    await tracker.untilLive(true);
    for (const side of SIDES) viewers.push(new NativeViewer(tracker, lab.inHome(side)));
    const [, lonely] = viewers;
    if (lonely === undefined) throw new Error('nobody watches');
    for (const viewer of viewers)
      await viewer.untilStats(
        'a neighbour, and a picture that moves',
        ({ neighbours, state }) => neighbours.length === 1 && state === 'playing',
      );
    const connectedLen = await tracker.relayedLen();
    if (connectedLen === 0) throw new Error('they are connected, and not by the relay');
    lab.cutTcp('b');
    const before = lonely.stats?.fromPeersLen ?? 0;
    await lonely.untilStats(
      'media of the neighbour, without the tracker',
      ({ fromPeersLen, serverLinked }) => fromPeersLen > before + FED_LEN && !serverLinked,
    );
    const relayedLen = (await tracker.relayedLen()) - connectedLen;
    if (relayedLen < FED_LEN) throw new Error(`only ${relayedLen} bytes of that came by the relay`);
    const [set, fed] = [connectedLen, relayedLen].map((len) => Math.round(len / 1000));
    return `connected (${set} kB relayed), and without its tracker one is fed (${fed} kB relayed)`;
  } finally {
    await Promise.all(viewers.map((viewer) => viewer.stop()));
    await sender.stop();
    await tracker.stop();
  }
}
