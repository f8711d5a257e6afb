import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** Lines of output kept for the report of a failure. */
const OUTPUT_LINE_LIMIT = 200;
/** A child that ignores SIGTERM for this long is killed. */
const STOP_PATIENCE_MS = 8_000;

/** A program that runs beside the tests, with its last output at hand. */
export class Child {
  readonly #name: string;
  readonly #process: ChildProcess;
  readonly #exited: Promise<number | null>;
  #output: string[] = [];

  constructor(name: string, program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    this.#name = name;
    this.#process = spawn(program, [...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    this.#exited = once(this.#process, 'exit').then(
      ([code]) => (typeof code === 'number' ? code : null),
      (error: unknown) => {
        this.#keep(String(error));
        return null;
      },
    );
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => this.#keep(text));
    }
  }

  /** What it said last. */
  get output(): string {
    return `--- ${this.#name} ---\n${this.#output.join('')}`;
  }

  get isRunning(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** Its exit code once it ended; `null` if a signal ended it. */
  get exited(): Promise<number | null> {
    return this.#exited;
  }

  /** Asks it to end, and waits until it has. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (!this.isRunning) return;
    this.#process.kill(signal);
    const killer = setTimeout(() => this.#process.kill('SIGKILL'), STOP_PATIENCE_MS);
    await this.#exited;
    clearTimeout(killer);
  }

  #keep(text: string): void {
    this.#output.push(text);
    if (this.#output.length > OUTPUT_LINE_LIMIT) this.#output.shift();
  }
}
