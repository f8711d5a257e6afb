import type { Rendition, Renditions } from '../engine/types';

/** What a rendition is called: by its height, and by its rate where another one is as high. */
export function renditionLabel(rendition: Rendition, all: readonly Rendition[]): string {
  const rate = `${(rendition.bitrate / 1e6).toFixed(1)} Mbit/s`;
  if (rendition.height === 0) return rate;
  const isAlone = all.filter(({ height }) => height === rendition.height).length === 1;
  return isAlone ? `${rendition.height}p` : `${rendition.height}p · ${rate}`;
}

/** The choice among renditions: the browser's own menu, so that keyboards and phones know how it works. */
export class RenditionMenu {
  constructor(private readonly select: HTMLSelectElement) {}

  /** What the viewer chose. */
  get choice(): number | 'auto' {
    return this.select.value === 'auto' ? 'auto' : Number(this.select.value);
  }

  /** Hidden where there is nothing to choose, or no controls are wanted. */
  show({ renditions, shown, chosen }: Renditions, hasControls: boolean): void {
    this.select.hidden = renditions.length < 2 || !hasControls;
    const present = renditions.find(({ id }) => id === shown);
    const auto = present ? `Auto (${renditionLabel(present, renditions)})` : 'Auto';
    const labels = renditions.map((rendition) => renditionLabel(rendition, renditions));
    const values = ['auto', ...renditions.map(({ id }) => String(id))];
    // In place where it can be: a menu that is open would close.
    if (this.select.options.length !== values.length) {
      this.select.replaceChildren(...values.map(() => document.createElement('option')));
    }
    [auto, ...labels].forEach((label, index) => {
      const option = this.select.options[index];
      if (!option) return;
      option.value = values[index] ?? '';
      if (option.textContent !== label) option.textContent = label;
    });
    this.select.value = String(chosen);
  }
}
