"""Build the docs site in _docs/.

    python tools/docs.py

nbdev prepares the notebooks in _proc/ (hides cells, adds headings and links). Quarto renders them where it is on PATH;
otherwise nbconvert writes a plain but readable preview of every page.
"""
import os
import re
import shutil
import subprocess
from pathlib import Path

import nbdev.serve
import nbformat
import yaml
from execnb.nbio import mk_cell
from jinja2 import pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbdev.config import get_config
from nbdev.process import Processor
from nbdev.processors import FilterDefaults, add_fold, add_show_docs, exec_show_docs, mv_exports
from nbdev.quarto import refresh_quarto_yml
from nbformat.v4 import new_markdown_cell

import rooms
from check import leaves
from nblib import companion

IMPORTS = re.compile(r"(from|import) ")
SHOWN = re.compile(r"^(?:async )?(?:def|class) (\w+)|^    (?:async )?def ([A-Za-z]\w*)", re.M)

def anchors(code):
    "Names that links may lead to: functions, classes and their methods, in small letters, as nbdev writes them."
    owner = ""
    for name, method in SHOWN.findall(code):
        if name: owner = name
        yield (name or f"{owner}.{method}").lower()

def fold(cell):
    "What a closed fold over the code of a cell says; None where the code is what the page is about."
    d, code = cell.directives_, cell.source.strip()
    names = [n for n, _ in SHOWN.findall(code) if n]
    lines = [s for s in code.splitlines() if re.match(r"[^\s)\]}#]", s)]
    if cell.cell_type != "code" or not code or "code-fold:" in d: return None
    if "test" in d: return "Test: " + " ".join(d["test"]).replace("_", " ") if d["test"] else "Helper of tests"
    if names and {"export", "exports", "helper"} & d.keys(): return f"Source of {', '.join(names)}"
    if "exports" in d or "export" in d or "helper" in d: return "Imports" if IMPORTS.match(code) else "Source"
    setup = sum(bool(IMPORTS.match(s)) for s in lines) > len(lines)/2 or "rcParams" in code or "manual_seed" in code
    if IMPORTS.match(code) and setup and not cell.get("outputs"): return "Imports"
    if any("image/png" in o.get("data", {}) for o in cell.get("outputs", [])): return "How this picture is drawn"
    return None

class Names(Processor):
    """Show every exported cell, closed, under a heading with its public names and the anchors of all of them; close tests, imports and plots.

    A name that only a part of the package uses leads to this page if it is on it, and nowhere else: others may have the same."""
    def begin(self):
        cells, here, bad = [], set(), False
        for c in self.nb.cells:
            if c.cell_type == "markdown" and (m := re.search(r"^## (.*)", c.source, re.M)): bad = m[1].startswith("Bad input")
            plain = c.cell_type == "code" and c.source.strip() and "code-fold:" not in c.directives_
            says = fold(c) or ("What is refused" if bad and plain else None)
            if says: c.source = f'#| code-fold: true\n#| code-summary: "{says}"\n{c.source}'
            # nbdev leaves out the source of `export` cells and keeps that of `exports` cells
            if "export" in c.directives_: c.directives_["exports"] = c.directives_.pop("export")
            if "exports" in c.directives_:
                ids = list(anchors(c.source))
                here.update(ids)
                names = [n for n, _ in SHOWN.findall(c.source) if n and n[0] != "_"]
                head = f"\n### {', '.join(f'`{n}`' for n in names)} {{#source-{names[0].lower().replace('_', '-')}}}\n" if names else ""
                if ids: cells.append(mk_cell("\n".join(f'<div id="{i}"></div>' for i in ids) + "\n" + head, "markdown"))
            cells.append(c)
        self.nb.cells, self.here = cells, here

    def end(self):
        def own(m): return f"[`{m[1]}`](#{m[1].lower()})" if m[1].lower() in self.here else f"`{m[1]}`"
        for c in self.nb.cells:
            if c.cell_type == "markdown" and c.get("source"): c.source = re.sub(r"\[`((?:\w+\.)*_\w+)`\]\(\S*?\)", own, c.source)

class Filter(FilterDefaults):
    "nbdev's processing, where exported cells show their source, so that nothing needs to run to make signatures."
    def base_procs(self):
        kept = [p for p in super().base_procs() if p not in (exec_show_docs, mv_exports, add_fold)]
        return [Names if p is add_show_docs else p for p in kept]

def within(root, proc, site):
    "Links of the pages in `proc` to the site's public address become relative, and files outside `nbs` that a page links to come along."
    for f in proc.rglob("*.ipynb"):
        up = "../"*len(f.relative_to(proc).parts[1:])
        def along(m, f=f, up=up):
            path = (root/"nbs"/f.relative_to(proc).parent/m[0]).resolve()
            if not path.is_file() or path.is_relative_to(root/"nbs") or not path.is_relative_to(root): return m[0]
            (proc/"repository"/path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, proc/"repository"/path.relative_to(root))
            return f"{up}repository/{path.relative_to(root).as_posix()}"
        text = f.read_text(encoding="utf-8").replace(site, up)
        f.write_text(re.sub(r"(?<=\]\()\.\./[^)#\s\"]+", along, text), encoding="utf-8")

STYLE = """nav.pages{font:15px/1.6 sans-serif;padding:.6em 1em;background:#f4f4f4;border-bottom:1px solid #ccc}
nav.pages ol{columns:15em;margin:.5em 0} nav.pages ol ol{columns:auto} nav.pages>a{margin-right:1em} body.jp-Notebook{max-width:66em;margin:auto}
.jp-RenderedHTMLCommon{overflow:visible!important}"""
KINDS = dict(fig="Figure", tbl="Table", eq="Equation", sec="Section")

def page(nb):
    "File name of the page made from the notebook `nb`, as nbdev names it."
    return re.sub(r"(^|/)\d+[a-zA-Z0-9]*_(?=[^/]*$)", r"\1", nb[:-6]) + ".html"

def nav(sidebar, here, titles):
    "The pages in the order and the sections of the sidebar, closed, and links to the page before and after `here`, all relative to it."
    def link(nb, says=""):
        to = page(nb)
        if to == here: return f"<b>{titles[nb]}</b>"
        return f'<a href="{os.path.relpath(to, os.path.dirname(here) or ".")}">{says}{titles[nb]}</a>'
    def items(x):
        if isinstance(x, dict) and "contents" not in x: x = x["href"]
        if isinstance(x, str): return f"<li>{link(x)}</li>"
        return f"<li>{x['section']}<ol>{''.join(map(items, x['contents']))}</ol></li>"
    nbs = list(leaves(sidebar))
    i = [page(nb) for nb in nbs].index(here)
    around = (link(nbs[i - 1], "← ") if i else "") + (link(nbs[i + 1], "→ ") if i + 1 < len(nbs) else "")
    return f'<nav class="pages">{around}<details><summary>All pages</summary><ol>{"".join(map(items, sidebar["contents"]))}</ol></details></nav>'

def without_quarto(nb):
    "Turn what only Quarto understands into plain Markdown: title block, captions, numbered references, attributes, `:::` lines."
    numbers, cells = {}, []
    for label in re.findall(r"(?:\{#|label: )((?:fig|tbl|eq|sec)-[\w-]*\w)", "\n".join(c.source for c in nb.cells)):
        kind = label.split("-")[0]
        numbers.setdefault(label, f"{KINDS[kind]} {1 + sum(k.startswith(kind) for k in numbers)}")
    for c in nb.cells:
        cells.append(c)
        if c.cell_type == "raw" and c.source.startswith("---"):
            meta = yaml.safe_load(c.source.strip().strip("-"))
            cells[-1] = new_markdown_cell(f"# {meta.get('title', '')}\n\n> {meta.get('description', '')}")
        elif c.cell_type == "markdown":
            c.source = re.sub(r"@((?:fig|tbl|eq|sec)-[\w-]*\w)", lambda m: numbers.get(m[1], m[0]), c.source)
            c.source = re.sub(r"[ \t]*\{[#.][^}]*\}(?=[ \t]*$)|^:::.*$", "", c.source, flags=re.M)
        elif c.cell_type == "code":
            opts = dict(re.findall(r"^#\| *([\w-]+): *(.*?) *$", c.source, re.M))
            c.source = re.sub(r"^#\|.*\n?", "", c.source, flags=re.M)
            if opts.get("echo") == "false": c.metadata["transient"] = {"remove_source": True}
            if opts.get("code-fold") == "true": c.metadata["fold"] = opts.get("code-summary", "Code").strip('"')
            if "fig-alt" in opts: c.metadata["alt"] = opts["fig-alt"].strip('"')
            cap = opts.get("fig-cap") or opts.get("tbl-cap")
            if cap: cells.append(new_markdown_cell(f"*{': '.join(filter(None, [numbers.get(opts.get('label')), cap.strip(chr(34))]))}*"))
    nb.cells = cells
    return nb

class Maths(IPythonRenderer):
    "Equations as MathML, which browsers show without a network."
    def block_math(self, body): return convert(body, display="block")
    def multiline_math(self, text): return convert(text.strip("$\n "), display="block")
    def inline_math(self, body): return convert(body)
    def latex_environment(self, name, body): return convert(rf"\begin{{{name}}}{body}\end{{{name}}}", display="block")

TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block input_group %}{% if cell.metadata.fold %}<details class="fold"><summary>{{ cell.metadata.fold | escape_html }}</summary>
{{ super() }}</details>{% else %}{{ super() }}{% endif %}{% endblock %}
{% block data_png %}<div class="jp-RenderedImage jp-OutputArea-output"><img src="data:image/png;base64,{{ output.data['image/png'] }}"
{%- if cell.metadata.alt %} alt="{{ cell.metadata.alt | escape_html }}"{% endif %}></div>{% endblock %}"""

class Preview(HTMLExporter):
    @pass_context
    def markdown2html(self, context, source): return MarkdownWithMath(renderer=Maths(escape=False)).render(source)

def preview(proc, docs):
    "Convert every notebook in `proc` to HTML in `docs`."
    sidebar = yaml.safe_load((proc/"sidebar.yml").read_text(encoding="utf-8"))["website"]["sidebar"]
    nbs = {nb: without_quarto(nbformat.read(proc/nb, as_version=4)) for nb in leaves(sidebar)}
    titles = {nb: next((m[1] for c in cells.cells if (m := re.search(r"^# (.*)", c.source, re.M))), page(nb)[:-5]) for nb, cells in nbs.items()}
    style = f"<style>{STYLE}{(proc/'styles.css').read_text(encoding='utf-8')}</style></head>"
    exporter = Preview(exclude_input_prompt=True, exclude_output_prompt=True, mathjax_url="", raw_template=TEMPLATE)
    for nb, cells in nbs.items():
        here = page(nb)
        html, _ = exporter.from_notebook_node(cells)
        html = re.sub(r'(?<=href=")(?![a-z]+:)([^"#]+\.ipynb)', lambda m: page(m[0]), html)
        html = re.sub(r"(<body[^>]*>)", lambda m, here=here: m[1] + nav(sidebar, here, titles), html, count=1).replace("</head>", style, 1)
        html = re.sub(r'(?:<h[1-6] id|class="anchor-link" href)="[^"]*"', lambda m: m[0].lower(), html)   # as Quarto writes them
        (docs/here).parent.mkdir(parents=True, exist_ok=True)
        (docs/here).write_text(html, encoding="utf-8")
    for f in proc.rglob("*"):
        if f.is_file() and (f.suffix in {".png", ".svg", ".jpg", ".css", ".json"} or (proc/"repository") in f.parents):
            (docs/f.relative_to(proc)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(f, docs/f.relative_to(proc))

def main():
    cfg = get_config()
    docs = Path(cfg.doc_path)
    refresh_quarto_yml()
    rooms.write_sidebar(cfg.config_path)
    nbdev.serve.FilterDefaults = Filter
    proc = Path(nbdev.serve.proc_nbs(n_workers=0, force=True))
    for f in [f for f in proc.rglob("*.ipynb") if companion(f)]: f.unlink()   # Quarto renders what it finds
    within(Path(cfg.config_path), proc, f"{cfg.doc_host}{cfg.doc_baseurl}/")
    shutil.rmtree(docs, ignore_errors=True)
    if quarto := shutil.which("quarto"):
        subprocess.run([quarto, "render", str(proc), "--no-execute"], check=True)
        shutil.move(proc/docs.name, docs)
        print(f"the site is in {docs.name}/index.html")
    else:
        docs.mkdir()
        preview(proc, docs)
        print(f"Quarto is not on PATH: {docs.name}/index.html is a plain preview made by nbconvert, not the site")

if __name__ == "__main__": main()
