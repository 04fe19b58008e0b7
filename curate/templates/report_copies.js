"use strict";
// Which rows repeat others, by the numbers of curate.whatif_copies; `Kept` is its twin, line by line.

const BYTES = 1, CLIPS = 2, GEOMETRY = 3, NOBODY = -1;

// rows, files, shapes, motions, looks of `packed.count` rows, the rows as differences.
function unpackCopies(packed, numbers) {
  const column = (i) => numbers.subarray(i * packed.count, (i + 1) * packed.count);
  const rows = column(0).slice();
  for (let i = 1; i < rows.length; i += 1) rows[i] += rows[i - 1];
  return {
    rows, files: column(1), shapes: column(2), motions: column(3), looks: column(4),
    kinds: packed.kinds, alike: new Map(packed.alike),
  };
}

class Kept {
  constructor(copies) {
    Object.assign(this, { copies, files: new Set(), shapes: new Map(), led: new Set(), first: new Map(), turn: 0 });
  }
  enter() { this.turn += 1; }
  near(place) {
    const motion = this.copies.motions[place];
    return motion === NOBODY ? [] : [motion, ...(this.copies.alike.get(motion) ?? [])];
  }
  // As what kind of copy a row is rejected; 0 if it is not.
  judge(place) {
    const copies = this.copies, look = copies.looks[place];
    if (this.files.has(copies.files[place])) return BYTES;
    if ((this.shapes.get(copies.shapes[place]) ?? this.turn) < this.turn) return GEOMETRY;
    const near = this.near(place);
    if (near.some((motion) => this.led.has(`${motion} ${look}`))) return CLIPS;
    let leader = null;
    for (const motion of near) {
      const one = this.first.get(motion);
      if (one && (!leader || one[0] < leader[0])) leader = one;
    }
    return leader && leader[1] !== copies.kinds[look] ? CLIPS : 0;
  }
  keep(place) {
    const copies = this.copies, look = copies.looks[place], near = this.near(place);
    if (copies.files[place] !== NOBODY) this.files.add(copies.files[place]);
    if (copies.shapes[place] !== NOBODY && !this.shapes.has(copies.shapes[place])) this.shapes.set(copies.shapes[place], this.turn);
    if (!near.length) return;
    if (!near.some((motion) => this.led.has(`${motion} ${look}`))) this.led.add(`${near[0]} ${look}`);
    if (!near.some((motion) => this.first.has(motion))) this.first.set(near[0], [copies.rows[place], copies.kinds[look]]);
  }
}
