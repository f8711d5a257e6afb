/** What the viewer chose to give; remembered per browser and tracker. */
export interface UploadChoice {
  readonly isOn: boolean;
  /** Bits per second; `undefined`: as measured. */
  readonly limit: number | undefined;
}

const KEY = 'cardume.upload';
const DEFAULT: UploadChoice = { isOn: true, limit: undefined };

/** Reads what {@link formatChoice} wrote; anything else is the default. */
export function parseChoice(text: string | null): UploadChoice {
  const match = /^(on|off)(?: (\d{1,12}))?$/.exec(text ?? '');
  if (!match) return DEFAULT;
  return { isOn: match[1] === 'on', limit: match[2] === undefined ? undefined : Number(match[2]) };
}

export function formatChoice(choice: UploadChoice): string {
  const word = choice.isOn ? 'on' : 'off';
  return choice.limit === undefined ? word : `${word} ${choice.limit}`;
}

/** The player's `upload-limit`; `undefined`: no attribute. */
export function limitAttribute(choice: UploadChoice): string | undefined {
  if (!choice.isOn) return '0';
  return choice.limit === undefined ? undefined : String(choice.limit);
}

/** The remembered choice. Browsers may refuse storage (private windows, third-party frames): then the default. */
export function loadChoice(): UploadChoice {
  try {
    return parseChoice(localStorage.getItem(KEY));
  } catch {
    return DEFAULT;
  }
}

export function storeChoice(choice: UploadChoice): void {
  try {
    localStorage.setItem(KEY, formatChoice(choice));
  } catch {
    // The choice holds for this visit.
  }
}
