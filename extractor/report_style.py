"""The style sheet of the report's page. Colours by role, for light and dark; no fonts or images from anywhere."""

STYLE = """
:root { color-scheme: light dark; --ground: #fbfbfa; --card: #fff; --text: #1d232b; --soft: #5d6772; --line: #e1e4e8; --track: #eceff2;
  --rows: #22776b; --rejected: #c4670f; --pending: #a8324a; --a: #22776b; --b: #3f6fb5; --c: #8a5fb0; --d: #b0802a; --e: #6d7f8e;
  --wait: #c9d0d8; --wait-line: #aab4bf; --note: #eef5f3; }
@media (prefers-color-scheme: dark) { :root { --ground: #14181d; --card: #1b2027; --text: #e3e7eb; --soft: #98a3af; --line: #2c333c;
  --track: #262d35; --rows: #3fa394; --rejected: #e0914a; --pending: #e0687e; --a: #3fa394; --b: #6b9be0; --c: #b08ad6; --d: #d3a550;
  --e: #8fa1b0; --wait: #3a434e; --wait-line: #55606d; --note: #1c2b2a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  font-variant-numeric: tabular-nums; }
main { max-width: 1000px; margin: 0 auto; padding: 28px 20px 48px; }
header p { margin: 0; color: var(--soft); }
h1 { margin: 0 0 2px; font-size: 25px; line-height: 1.25; font-weight: 650; overflow-wrap: anywhere; }
h2 { margin: 0 0 12px; font-size: 16px; font-weight: 650; }
h3 { margin: 20px 0 6px; font-size: 14px; font-weight: 600; }
h3 small, p small { font-weight: 400; color: var(--soft); font-size: 13px; }
h2 + h3, .chart h3:first-child { margin-top: 0; } section > p:last-child { margin-bottom: 0; }
section { margin-top: 18px; padding: 18px 20px 20px; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.state { display: inline-block; margin-left: 6px; padding: 0 9px; border-radius: 10px; font-size: 13px; vertical-align: 3px;
  color: #fff; background: var(--rows); }
.state.missing { background: var(--rejected); }
@media (prefers-color-scheme: dark) { .state { color: #10151a; } }
.account { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 14px; font-size: 30px; line-height: 1.2; font-weight: 650; }
.account span small { font-size: 14px; font-weight: 400; color: var(--soft); margin-left: 6px; }
.account i { font-style: normal; font-weight: 300; color: var(--soft); }
.bar { display: flex; gap: 1px; height: 16px; margin: 12px 0; background: var(--track); border-radius: 4px; overflow: hidden; }
.bar span { min-width: 2px; }
.rows { background: var(--rows); } .rejected { background: var(--rejected); } .pending { background: var(--pending); }
.s0 { background: var(--a); } .s1 { background: var(--b); } .s2 { background: var(--c); } .s3 { background: var(--d); }
.s4 { background: var(--e); }
.waiting { background: repeating-linear-gradient(135deg, var(--wait) 0 4px, var(--wait-line) 4px 5px); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px 18px; margin: 18px 0 0; }
.figures dt { color: var(--soft); font-size: 13px; } .figures dd { margin: 0; font-size: 18px; font-weight: 600; }
.binds { background: var(--note); } .binds p { margin: 0; } .binds p + p { margin-top: 6px; color: var(--soft); }
.failed { border-color: var(--pending); } .failed ul { margin: 0; padding-left: 20px; } .failed li { overflow-wrap: anywhere; }
.chart { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 0 8px; }
.chart .scale { display: flex; flex-direction: column; justify-content: space-between; text-align: right; color: var(--soft);
  font-size: 12px; line-height: 1; min-width: 34px; }
.chart svg { display: block; width: 100%; height: 132px; border-left: 1px solid var(--line); border-bottom: 1px solid var(--line); }
.chart .low svg { height: 64px; } .chart .fill { fill: var(--b); shape-rendering: crispEdges; } .chart .fill.images { fill: var(--a); }
.chart line { stroke: var(--text); stroke-width: 1; stroke-dasharray: 5 4; vector-effect: non-scaling-stroke; opacity: .65; }
.chart .ticks { grid-column: 2; display: flex; justify-content: space-between; color: var(--soft); font-size: 12px; margin-top: 4px; }
table { width: 100%; border-collapse: collapse; font-size: 14px; }
th { text-align: left; font-weight: 500; color: var(--soft); font-size: 13px; }
td, th { padding: 5px 12px 5px 0; vertical-align: top; border-bottom: 1px solid var(--line); }
tr:last-child td, tr:last-child > th { border-bottom: 0; }
tbody th { width: 170px; font-size: 14px; overflow-wrap: anywhere; }
td { overflow-wrap: anywhere; }
.n { text-align: right; white-space: nowrap; width: 1%; overflow-wrap: normal; } td:last-child, th:last-child { padding-right: 0; }
.key { width: 12px; padding-right: 8px; } .key span { display: block; width: 12px; height: 12px; margin-top: 5px; border-radius: 3px; }
code { font: 13px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.examples { margin: 0; padding: 0; list-style: none; } .examples li + li { margin-top: 4px; }
.examples small { color: var(--soft); display: block; font-size: 12.5px; }
.soft, footer { color: var(--soft); } footer { margin-top: 22px; font-size: 13px; } footer p { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 560px) { main { padding: 18px 10px 32px; } section { padding: 14px 12px; } .account { font-size: 24px; }
  tbody th { width: 100px; } td, th { padding-right: 8px; } h1 { font-size: 21px; }
  .ticks span:nth-child(even) { display: none; } }
@media print { section { break-inside: avoid; } body { background: #fff; } }
"""
