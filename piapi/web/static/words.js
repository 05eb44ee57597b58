// Figures and moments, in words.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dayAndClock = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** 14:05; another day: Fri 27 Nov, 14:05. */
export function moment(text) {
  const at = new Date(text);
  return (at.toDateString() === new Date().toDateString() ? clock : dayAndClock).format(at);
}

export const fullMoment = (text) => whole.format(new Date(text));

/** 45 s, 12 min, 3 h 5 min, 2 d 4 h. */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const parts = [[86_400, "d"], [3_600, "h"], [60, "min"]];
  const first = parts.findIndex(([size]) => s >= size);
  const [size, unit] = parts[first];
  const rest = parts[first + 1] && Math.floor((s % size) / parts[first + 1][0]);
  return `${Math.floor(s / size)} ${unit}` + (rest ? ` ${rest} ${parts[first + 1][1]}` : "");
}

export const ago = (text, now = Date.now()) => {
  const s = (now - Date.parse(text)) / 1000;
  return s < 5 ? "just now" : `${duration(s)} ago`;
};

/** 1.2 MB. Decimal, as cards are sold. */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "unknown";
  const unit = ["B", "kB", "MB", "GB", "TB"].findIndex((_, i) => bytes < 1000 ** (i + 1));
  const value = bytes / 1000 ** unit;
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${["B", "kB", "MB", "GB", "TB"][unit]}`;
}

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString()} ${number === 1 ? one : many}`;

/** garage_left → Garage left. */
export const title = (name) => capital(name).replaceAll(/[_-]/g, " ");

/** door:garage → garage; a name may hold a colon itself. */
export const nameIn = (subject) => subject.slice(subject.indexOf(":") + 1);
export const kindIn = (subject) => subject.slice(0, subject.indexOf(":"));

/** The first letter large. */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** user:anna → anna; token:kitchen → kitchen. */
export const actor = (text) => ({ nobody: "nobody", console: "the console" })[text] || nameIn(text);
