/**
 * What a site owner pastes:
 *
 *     <script type="module" src="https://TRACKER/embed.js"></script>
 *     <cardume-player channel="live"></cardume-player>
 *
 * The tracker is where this script came from, whatever the page's own origin.
 */
import { defineCardumePlayer, setDefaultTracker } from './element/cardume-player';

setDefaultTracker(new URL(import.meta.url).origin);
defineCardumePlayer();
