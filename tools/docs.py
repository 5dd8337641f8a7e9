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
from nbdev.processors import FilterDefaults, add_show_docs, exec_show_docs, mv_exports
from nbdev.quarto import refresh_quarto_yml
from nbformat.v4 import new_markdown_cell

import rooms
from check import leaves
from nblib import companion

class Names(Processor):
    "Show every exported cell, under a heading for each public name in it, so that the page lists names and links reach them."
    def begin(self):
        cells = []
        for c in self.nb.cells:
            # nbdev leaves out the source of `export` cells and keeps that of `exports` cells
            if "export" in c.directives_: c.directives_["exports"] = c.directives_.pop("export")
            names = re.findall(r"^(?:async )?(?:def|class) ([A-Za-z]\w*)", c.source, re.M) if "exports" in c.directives_ else []
            cells += [*(mk_cell(f"### {n}", "markdown") for n in names), c]
        self.nb.cells = cells

class Filter(FilterDefaults):
    "nbdev's processing, where exported cells show their source, so that nothing needs to run to make signatures."
    def base_procs(self):
        return [Names if p is add_show_docs else p for p in super().base_procs() if p not in (exec_show_docs, mv_exports)]

STYLE = """<style>nav.pages{font:14px sans-serif;padding:.6em 1em;background:#f4f4f4;border-bottom:1px solid #ccc}
nav.pages a,nav.pages b{margin-right:1em;white-space:nowrap} body.jp-Notebook{max-width:66em;margin:auto}</style>"""
KINDS = dict(fig="Figure", tbl="Table", eq="Equation", sec="Section")

def page(nb):
    "File name of the page made from the notebook `nb`, as nbdev names it."
    return re.sub(r"(^|/)\d+[a-zA-Z0-9]*_(?=[^/]*$)", r"\1", nb[:-6]) + ".html"

def nav(nbs, here):
    "Links to the pages of all notebooks, relative to the page `here`, which is not linked."
    def link(nb):
        to = page(nb)
        return f"<b>{to[:-5]}</b>" if to == here else f'<a href="{os.path.relpath(to, os.path.dirname(here) or ".")}">{to[:-5]}</a>'
    return f'{STYLE}<nav class="pages">{" ".join(map(link, nbs))}</nav>'

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

class Preview(HTMLExporter):
    @pass_context
    def markdown2html(self, context, source): return MarkdownWithMath(renderer=Maths(escape=False)).render(source)

def preview(proc, docs, site):
    "Convert every notebook in `proc` to HTML in `docs`; links between the pages, also by their address on `site`, are relative."
    nbs = list(leaves(yaml.safe_load((proc/"sidebar.yml").read_text(encoding="utf-8"))["website"]["sidebar"]))
    exporter = Preview(exclude_input_prompt=True, exclude_output_prompt=True, mathjax_url="")
    for nb in nbs:
        here = page(nb)
        html, _ = exporter.from_notebook_node(without_quarto(nbformat.read(proc/nb, as_version=4)))
        html = html.replace(site, os.path.relpath(".", os.path.dirname(here) or ".") + "/")
        html = re.sub(r'(?<=href=")(?![a-z]+:)[^"#]+\.ipynb', lambda m: page(m[0]), html)
        html = re.sub(r"(<body[^>]*>)", lambda m, here=here: m[1] + nav(nbs, here), html, count=1)
        (docs/here).parent.mkdir(parents=True, exist_ok=True)
        (docs/here).write_text(html, encoding="utf-8")
    for f in proc.rglob("*"):
        if f.suffix in {".png", ".svg", ".jpg", ".css", ".json"}:
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
    shutil.rmtree(docs, ignore_errors=True)
    if quarto := shutil.which("quarto"):
        subprocess.run([quarto, "render", str(proc), "--no-execute"], check=True)
        shutil.move(proc/docs.name, docs)
        print(f"the site is in {docs.name}/index.html")
    else:
        docs.mkdir()
        preview(proc, docs, f"{cfg.doc_host}{cfg.doc_baseurl}/")
        print(f"Quarto is not on PATH: {docs.name}/index.html is a plain preview made by nbconvert, not the site")

if __name__ == "__main__": main()
