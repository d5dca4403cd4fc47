"""The style sheet of report.html, inlined so that the page needs no second file."""

CSS = """
:root{color-scheme:light;--ink:#20262e;--muted:#5b6573;--line:#e3e7ec;--blue:#0072b2}
*{box-sizing:border-box}
body{margin:0;
  background:#f6f7f9;
  color:var(--ink);
  font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
header,main{max-width:980px;margin:0 auto;padding:0 24px}
header{padding-top:36px}
h1{font-size:28px;line-height:1.2;margin:0}
header p{margin:6px 0 0;color:var(--muted)}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;margin:14px 0 4px;font-size:14px}
a{color:var(--blue);text-decoration:none}a:hover{text-decoration:underline}
section{background:#fff;border:1px solid var(--line);border-radius:10px;padding:20px 24px;margin:16px 0}
section:has(>.tiles){background:none;border:0;padding:0}
h2{font-size:18px;margin:0 0 12px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(176px,1fr));gap:12px}
.tile{background:#fff;
  border:1px solid var(--line);
  border-radius:10px;
  padding:14px 18px;
  display:flex;
  flex-direction:column}
.tile b{font-size:23px;line-height:1.35;white-space:nowrap;font-variant-numeric:tabular-nums}
.tile span{font-size:14px}.tile small,th small{color:var(--muted);font-size:12.5px}
th small{display:block;font-weight:400}
.plot{display:block;width:100%;max-width:820px;margin:0 auto;height:auto}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14.5px}
th,td{text-align:left;padding:7px 12px 7px 0;border-bottom:1px solid var(--line);vertical-align:middle}
thead th{font-size:13px;font-weight:600;color:var(--muted)}
tbody th{font-weight:400}.strong th,.strong td{font-weight:650}
tr:last-child>*{border-bottom:0}
.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.bar{width:216px;padding-right:0}.bar svg{display:block}
.verdict{margin:12px 0 0}
.note{color:var(--muted);font-size:13.5px;margin:12px 0 0}
.videos{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(420px,100%),1fr));gap:16px}
figure{margin:0}video{width:100%;display:block;border:1px solid var(--line);border-radius:6px;background:#fff}
figcaption{font-size:13.5px;color:var(--muted);margin-top:6px}
.badge{font-weight:600;margin-right:8px}.success{color:#00735c}.failure{color:#b3400c}
pre{background:#f2f4f7;
  border-radius:6px;
  padding:12px 14px;
  overflow-x:auto;
  font:13px/1.45 ui-monospace,Consolas,"DejaVu Sans Mono",monospace;
  margin:0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 20px;font-size:14.5px;margin:14px 0 0}
dt{color:var(--muted)}dd{margin:0;overflow-wrap:anywhere}
details{margin-top:14px}summary{cursor:pointer;color:var(--blue);font-size:14.5px;margin-bottom:8px}
@media print{body{background:#fff}section,.tile{break-inside:avoid}nav{display:none}}
"""
