// A test double of a peer that passes on false media: flips a bit near the end of every large message it sends.
// Control messages are far shorter than blocks, and the end of a block is media.

{
  /** Shorter messages are control. */
  const BLOCK_LEN_MIN = 1000;
  const send = RTCDataChannel.prototype.send;
  RTCDataChannel.prototype.send = function sendSpoiled(message) {
    const bytes = ArrayBuffer.isView(message)
      ? new Uint8Array(message.buffer, message.byteOffset, message.byteLength).slice()
      : message instanceof ArrayBuffer
        ? new Uint8Array(message.slice(0))
        : undefined;
    if (!bytes || bytes.length < BLOCK_LEN_MIN) {
      // @ts-expect-error: one overload per type, all the same call.
      return send.call(this, message);
    }
    bytes[bytes.length - 3] = (bytes[bytes.length - 3] ?? 0) ^ 0x10;
    window.nSpoiled = (window.nSpoiled ?? 0) + 1;
    return send.call(this, bytes);
  };
}
