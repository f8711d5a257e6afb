import { createServer, type Server } from 'node:http';

/** A tiny web site on an origin of its own: somebody else's page. */
export class StaticSite {
  private constructor(
    private readonly server: Server,
    readonly origin: string,
  ) {}

  /** Serves the page at every address, but for these scripts. */
  static async serve(html: string, scripts: Readonly<Record<string, string>> = {}): Promise<StaticSite> {
    const server = createServer(({ url = '/' }, response) => {
      const script = scripts[url];
      const kind = script === undefined ? 'html' : 'javascript';
      response.writeHead(200, { 'content-type': `text/${kind}; charset=utf-8` }).end(script ?? html);
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const address = server.address();
    if (typeof address !== 'object' || address === null) throw new Error('no port');
    return new StaticSite(server, `http://127.0.0.1:${address.port}`);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }
}
