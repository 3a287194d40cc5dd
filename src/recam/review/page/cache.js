// Pictures and planes of images, fetched in batches for what is visible and kept up to a bound; the longest unused go first.

export class Cache {
  // fetchSome(numbers) → [[number, value, bytes], …]; numbers that it leaves out are remembered as missing.
  constructor(fetchSome, bound, { batch = 48, drop = () => {} } = {}) {
    Object.assign(this, { fetchSome, bound, batch, drop });
    this.kept = new Map();
    this.pending = new Set();
    this.wanted = [];
    this.bytes = 0;
    this.running = 0;
    this.arrived = () => {};
    this.age = 0;
  }

  get(number) {
    const entry = this.kept.get(number);
    if (!entry) return undefined;
    this.kept.delete(number);
    this.kept.set(number, entry);
    return entry.value;
  }

  forget(number) {
    const entry = this.kept.get(number);
    if (entry) { this.bytes -= entry.bytes; this.kept.delete(number); this.drop(entry.value); }
  }

  clear() {
    for (const number of [...this.kept.keys()]) this.forget(number);
    this.pending.clear();
    this.wanted = [];
    this.age++;
  }

  // What is visible now; earlier requests that have not begun are dropped.
  want(numbers) {
    this.wanted = numbers.filter((number) => !this.kept.has(number));
    this.pump();
  }

  pump() {
    while (this.running < 2) {
      const some = this.wanted.filter((number) => !this.pending.has(number) && !this.kept.has(number)).slice(0, this.batch);
      if (!some.length) return;
      this.take(some, this.age);
    }
  }

  async take(some, age) {
    some.forEach((number) => this.pending.add(number));
    this.running++;
    try {
      const found = await this.fetchSome(some);
      if (age !== this.age) return;
      const missing = new Set(some);
      for (const [number, value, bytes] of found) { missing.delete(number); this.keep(number, value, bytes); }
      for (const number of missing) this.keep(number, null, 16);
      this.arrived(some);
    } catch (error) {
      console.warn(error);
      this.wanted = []; // requested again at the next rendering
    } finally {
      this.running--;
      some.forEach((number) => this.pending.delete(number));
      this.pump();
    }
  }

  keep(number, value, bytes) {
    this.forget(number);
    this.kept.set(number, { value, bytes });
    this.bytes += bytes;
    for (const [oldest] of this.kept) {
      if (this.bytes <= this.bound || oldest === number) break;
      this.forget(oldest);
    }
  }
}
