// Keeps all connections of a page, so that a test can ask how they go.
/** @type {RTCPeerConnection[]} */
const connections = [];
window.RTCPeerConnection = class extends window.RTCPeerConnection {
  /** @param {RTCConfiguration} [configuration] */
  constructor(configuration) {
    super(configuration);
    connections.push(this);
  }
};

window.selectedEnds = async () => {
  const standing = connections.filter(({ connectionState }) => connectionState === 'connected');
  const ends = await Promise.all(standing.map(selectedEnd));
  return ends.flatMap((end) => end ?? []);
};

/** @param {RTCPeerConnection} connection */
async function selectedEnd(connection) {
  const report = await connection.getStats();
  const transport = [...report.values()].find(({ type }) => type === 'transport');
  const pair = report.get(transport?.selectedCandidatePairId);
  const [local, remote] = [report.get(pair?.localCandidateId), report.get(pair?.remoteCandidateId)];
  if (!local || !remote) return undefined;
  return { local: local.candidateType, remote: remote.candidateType, relayProtocol: local.relayProtocol };
}
