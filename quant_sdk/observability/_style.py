"""The style of the page: light and dark as the reader's system asks, nothing from elsewhere."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark;
  --paper: #fbfbf9; --card: #ffffff; --ink: #1c2326; --soft: #586469; --line: #e2e5e3;
  --link: #0b5c8c; --mark: #111;
  --pass: #1d6f5c; --pass-bg: #dff1ea; --warn: #8a5a00; --warn-bg: #fdf0cf;
  --block: #a3231b; --block-bg: #fbe3df; --note: #4d5b8a; --note-bg: #e7eaf5;
  --flag: #b3382c; --warnbar: #d99a1c; --lack: #5b7c99;
  --l0: #d3e8e1; --l1: #f6e7a8; --l2: #f3c461; --l3: #e58a35; --l4: #c4472a; --l5: #7c1717;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181a; --card: #1c2224; --ink: #e6eaea; --soft: #9fabae; --line: #31393c;
    --link: #7cc4ef; --mark: #fff;
    --pass: #7fd6bd; --pass-bg: #173a32; --warn: #f0c35c; --warn-bg: #43340f;
    --block: #ff9d91; --block-bg: #4c1d19; --note: #b3c0ef; --note-bg: #262d4a;
    --flag: #f0705f; --warnbar: #e0a93a; --lack: #7ea6c8;
    --l0: #24453d; --l1: #6a5d22; --l2: #9a7420; --l3: #cc7a26; --l4: #ef6a45; --l5: #ffb3a4;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 64px; }
header p, footer { color: var(--soft); }
h1 { font-size: 26px; line-height: 1.25; margin: 2px 0 8px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 0 0 4px; }
h3 { font-size: 14px; margin: 12px 0 2px; }
p { margin: 4px 0 10px; }
.over { font-size: 12px; letter-spacing: .08em; text-transform: uppercase; color: var(--soft);
  margin: 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 18px 20px; margin: 18px 0 0; }
.hint { color: var(--soft); font-size: 13px; }
.chip { display: inline-block; border-radius: 6px; padding: 1px 9px; font-weight: 600;
  font-size: 13px; white-space: nowrap; }
h1 .chip { font-size: 17px; padding: 3px 13px; vertical-align: 3px; margin-right: 10px; }
.pass, .better, .same, .first { color: var(--pass); background: var(--pass-bg); }
.warn, .mixed { color: var(--warn); background: var(--warn-bg); }
.block, .worse { color: var(--block); background: var(--block-bg); }
.note, .none, .new, .gone { color: var(--note); background: var(--note-bg); }
.tiles { display: grid; grid-template-columns: repeat(5, 1fr); gap: 10px; margin: 16px 0 0;
  padding: 0; }
@media (max-width: 760px) { .tiles { grid-template-columns: repeat(2, 1fr); } }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 9px 13px; }
.tiles dt { color: var(--soft); font-size: 12px; }
.tiles dd { margin: 0; font-size: 20px; font-weight: 600; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; }
.tiles .alarm dd { color: var(--block); }
.scroll { overflow-x: auto; }
.scroll:focus-visible, summary:focus-visible {
  outline: 2px solid var(--link); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
caption { text-align: left; color: var(--soft); font-size: 13px; padding: 2px 0 6px; }
th, td { text-align: left; padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; font-size: 12px; white-space: nowrap; }
tbody th { font-weight: 600; overflow-wrap: anywhere; min-width: 150px; max-width: 340px; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.t { font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.quiet th, tr.quiet td { color: var(--soft); font-weight: 400; }
tr.quiet .chip { color: var(--soft); background: none; padding: 0; font-weight: 400; }
td .lane { margin-top: 5px; }
details { margin: 4px 0; }
summary { cursor: pointer; color: var(--link); font-size: 13px; width: fit-content; }
code { font: 12.5px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace;
  overflow-wrap: anywhere; }
svg { display: block; }
svg.wide { width: 100%; min-width: 760px; height: auto; }
svg.small { width: 100%; height: auto; }
svg.lane { width: 190px; height: 12px; }
.pair { display: grid;
  grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 10px 28px; }
.axis, .label { font: 11px system-ui, sans-serif; fill: var(--soft); }
.label { text-anchor: end; }
.grid { stroke: var(--line); stroke-width: 1; }
.base { stroke: var(--soft); stroke-width: 1; }
.mark { fill: var(--mark); stroke: var(--card); stroke-width: .7; }
.zero { fill: var(--line); } .hover { fill: transparent; }
svg .flag, svg .block { fill: var(--flag); } svg .warn { fill: var(--warnbar); }
svg .pass { fill: var(--pass); } svg .lack { fill: var(--lack); }
.track { fill: var(--line); } .hole { fill: var(--l4); }
.l0 { fill: var(--l0); background: var(--l0); } .l1 { fill: var(--l1); background: var(--l1); }
.l2 { fill: var(--l2); background: var(--l2); } .l3 { fill: var(--l3); background: var(--l3); }
.l4 { fill: var(--l4); background: var(--l4); } .l5 { fill: var(--l5); background: var(--l5); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; list-style: none; margin: 6px 0 10px;
  padding: 0; font-size: 12.5px; color: var(--soft); }
.legend i { display: inline-block; width: 14px; height: 11px; border-radius: 2px;
  margin-right: 6px; }
.legend i.dot { width: 7px; height: 7px; border-radius: 50%; background: var(--mark);
  vertical-align: 1px; }
footer dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 18px 0 0;
  font-size: 13px; }
footer dd { margin: 0; }
@media print { body { background: #fff; } section { break-inside: avoid-page; } }
"""
