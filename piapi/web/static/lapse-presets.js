// Ready-made plans: names of fields of the form, and what goes into them.

const EVERY_DAY = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const WORKDAYS = EVERY_DAY.slice(0, 5);

/** A plan with nothing special in it; a preset says what is different. */
export const PLAIN = {
  name: "", interval: 5, interval_unit: 1, end: "duration", count: 720, duration: 1, duration_unit: 3600, window: "none",
  from: "08:00", to: "18:00", from_word: "sunrise", from_side: "-", from_minutes: 0,
  to_word: "sunset", to_side: "+", to_minutes: 0, days: EVERY_DAY,
  fps: 30, timestamp: false, keep_frames: true, exposure: "auto",
};

export const PRESETS = {
  sunset: {
    name: "Sunset", interval: 5, end: "count", count: 1440, window: "sun", from_word: "sunset", from_minutes: 60,
    to_word: "sunset", to_minutes: 60, exposure: "ramp",
  },
  site: {
    name: "Building site", interval: 5, interval_unit: 60, duration: 90, duration_unit: 86_400, window: "clock", from: "07:00", to: "18:00",
    days: WORKDAYS, timestamp: true, keep_frames: false,
  },
  plant: {
    name: "Plant", interval: 10, interval_unit: 60, duration: 14, duration_unit: 86_400, window: "clock", from: "07:00", to: "21:00",
  },
  print: { name: "3D print", interval: 10, duration: 6, exposure: "lock", keep_frames: false },
};
