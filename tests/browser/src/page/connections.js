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

window.selectedEnd = async () => {
  for (const connection of connections.filter(({ connectionState }) => connectionState === 'connected')) {
    const report = await connection.getStats();
    const transport = [...report.values()].find(({ type }) => type === 'transport');
    const pair = report.get(transport?.selectedCandidatePairId);
    const [local, remote] = [report.get(pair?.localCandidateId), report.get(pair?.remoteCandidateId)];
    if (local && remote) {
      return { local: local.candidateType, remote: remote.candidateType, relayProtocol: local.relayProtocol };
    }
  }
  return undefined;
};
