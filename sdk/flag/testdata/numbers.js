// Makes numbers.txt: "<bits of a double in hex> <how ECMAScript prints it>", one a line.
// Run: node numbers.js > numbers.txt
let state = 88172645463325252n;
function next() { // xorshift64
  state ^= (state << 13n) & 0xffffffffffffffffn;
  state ^= state >> 7n;
  state ^= (state << 17n) & 0xffffffffffffffffn;
  return state;
}
const view = new DataView(new ArrayBuffer(8));
function print(bits) {
  view.setBigUint64(0, bits);
  const f = view.getFloat64(0);
  if (Number.isFinite(f)) console.log(bits.toString(16).padStart(16, "0") + " " + String(f));
}
function printFloat(f) {
  view.setFloat64(0, f);
  print(view.getBigUint64(0));
}
// Edges: zeros, the smallest and largest, both sides of each power of ten and of two.
[0, -0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 9007199254740992, 9007199254740994, 333333333.33333329, 1e23, 4.5, 0.002].forEach(printFloat);
for (let e = -30; e <= 30; e++) {
  printFloat(Number("1e" + e));
  for (const d of [-1n, 1n]) { view.setFloat64(0, Number("1e" + e)); print(view.getBigUint64(0) + d); }
}
for (let e = -1074; e < 1024; e += 37) printFloat(2 ** e);
for (let i = 0; i < 600; i++) print(next());
for (let i = 0; i < 300; i++) printFloat(Number(next() % 100000000n) / 10 ** Number(next() % 12n));
