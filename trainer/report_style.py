"""The style sheet of the report's page. Colours by role, for light and dark; no fonts or images from anywhere."""

STYLE = """
:root { color-scheme: light dark; --ground: #fbfbfa; --card: #fff; --text: #1d232b; --soft: #5d6772; --line: #e1e4e8; --track: #eceff2;
  --good: #22776b; --bad: #a8324a; --a: #3f6fb5; --b: #c4670f; --cell: 63, 111, 181; --wrong: 168, 50, 74; }
@media (prefers-color-scheme: dark) { :root { --ground: #14181d; --card: #1b2027; --text: #e3e7eb; --soft: #98a3af; --line: #2c333c;
  --track: #262d35; --good: #3fa394; --bad: #e0687e; --a: #6b9be0; --b: #e0914a; --cell: 107, 155, 224; --wrong: 224, 104, 126; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  font-variant-numeric: tabular-nums; }
main { max-width: 1100px; margin: 0 auto; padding: 28px 20px 48px; }
h1 { margin: 0; font-size: 25px; line-height: 1.25; font-weight: 650; overflow-wrap: anywhere; }
h2 { margin: 0 0 12px; font-size: 16px; font-weight: 650; }
h3 { margin: 16px 0 6px; font-size: 14px; font-weight: 600; }
header p, .soft, footer { color: var(--soft); } header p { margin: 2px 0 0; overflow-wrap: anywhere; } p { margin: 0 0 10px; }
p.soft { margin: 8px 0 0; }
section { margin-top: 18px; padding: 18px 20px 20px; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 14px 18px; margin: 0; }
.figures dt { color: var(--soft); font-size: 13px; } .figures dd { margin: 0; font-size: 22px; font-weight: 650; line-height: 1.25; }
.figures small { display: block; font-size: 12.5px; font-weight: 400; color: var(--soft); }
.notes { margin: 0; padding-left: 20px; } .notes li { overflow-wrap: anywhere; }
.side { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 8px 28px; }
.side > * { min-width: 0; }
svg { display: block; width: 100%; max-width: 680px; height: auto; } svg text { fill: var(--soft); font-size: 11px; }
.grid { stroke: var(--line); fill: none; } .a { stroke: var(--a); } .b { stroke: var(--b); }
.dash { stroke: var(--soft); stroke-dasharray: 4 4; }
polyline { fill: none; stroke-width: 1.8; } circle.a { fill: var(--a); } circle.b { fill: var(--b); }
.wrong { stroke: var(--bad); stroke-width: 1.6; } .frame { fill: none; stroke: var(--line); }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: 13px; color: var(--soft); margin-top: 6px; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 5px; vertical-align: -1px; }
.legend .ia { background: var(--a); } .legend .ib { background: var(--b); }
table { width: 100%; border-collapse: collapse; font-size: 14px; } .wide { overflow-x: auto; }
th { text-align: left; font-weight: 500; color: var(--soft); font-size: 13px; }
td, th { padding: 4px 12px 4px 0; vertical-align: top; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
tr:last-child > td, tr:last-child > th { border-bottom: 0; }
.wide td:not(.n), .wide th:not(.n) { min-width: 6em; }
.n { text-align: right; white-space: nowrap; overflow-wrap: normal; } td:last-child, th:last-child { padding-right: 0; }
.bar { position: relative; height: 14px; min-width: 120px; background: var(--track); border-radius: 3px;
  overflow: hidden; margin-top: 4px; }
.bar span { position: absolute; inset: 0 auto 0 0; background: var(--a); }
.bar i { position: absolute; top: 5px; height: 4px; background: var(--text); opacity: .45; min-width: 1px; }
.wide .matrix { width: auto; } .wide .matrix td { text-align: center; padding: 3px 6px; min-width: 34px; border: 1px solid var(--line); }
.wide .matrix th { min-width: 0; border: 0; }
.matrix th span { display: block; max-inline-size: 180px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.matrix thead th { writing-mode: vertical-rl; transform: rotate(180deg); padding: 4px 2px; vertical-align: bottom; }
.matrix tbody th { padding: 3px 8px 3px 0; }
.items { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 14px; margin: 0; padding: 0; list-style: none; }
.items li { font-size: 13px; line-height: 1.4; overflow-wrap: anywhere; } .items img { display: inline-block; width: 96px; height: 96px;
  border-radius: 5px; background: var(--track); margin-right: 4px; } .items small { display: block; color: var(--soft); }
.items b { font-weight: 600; color: var(--good); } .items em { font-style: normal; font-weight: 600; color: var(--bad); }
code { font: 12px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
#pictures:not(:checked) ~ svg image { display: none; } label { font-size: 13px; color: var(--soft); }
footer { margin-top: 22px; font-size: 13px; }
@media (max-width: 560px) { main { padding: 18px 10px 32px; } section { padding: 14px 12px; } h1 { font-size: 21px; } }
@media print { section { break-inside: avoid; } body { background: #fff; } }
"""
