"""Pages that mkdocs makes when the site is built: committed results, the configuration, the notebook.

mkdocs.yml names this file under `hooks`. Links between Markdown files of the repository become links of the site.
"""

import base64
import json
import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.structure.files import File, Files

from docs.site_figures import with_fronts

ROOT = Path(__file__).parents[1]
BOARD = "docs/leaderboard.md"
MODEL_CARD = "eval/assets/tiny/README.md"
NAMES = {"CHANGELOG.md": "changelog.md", "examples/look_inside.ipynb": "look_inside.md"}  # other names on the site
NOTEBOOK = ROOT / "examples" / "look_inside.ipynb"
MEASURED = re.compile(r"<!-- readme: (\w+) -->")
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)#\s:]+\.[a-z]+)((?:#[^)\s]*)?\))")
LIST = re.compile(r"^((?![*-] |\d+\. |\s|```|\|).+\n)(?=[*-] |1\. )", re.M)  # begins below text without a blank line
GROUPS = {
    "method": "What merges tokens.",
    "model": "Which pipeline generates the images.",
    "sampler": "How images are sampled.",
    "backend": "How a merge plan is executed.",
    "prompts": "Prompts and seeds.",
    "reference": "The reference images of FID and KID.",
    "metrics": "The networks that images are scored with.",
    "timing": "The timing pass.",
    "tracker": "TensorBoard and Weights & Biases.",
    "experiment": "Rows of a table, or a sweep, run by `--multirun experiment=NAME`.",
    "bench": "What `python -m scripts.bench` measures.",
    "gpu": "What `python -m scripts.gpu` measures.",
}


def on_files(files: Files, config) -> Files:
    """Add the pages that are not files of docs/."""
    pages = {
        **{f"results/{path.name}": _read(path) for path in sorted((ROOT / "results").glob("*.md"))},
        MODEL_CARD: _read(ROOT / MODEL_CARD),
        "changelog.md": _read(ROOT / "CHANGELOG.md"),
        "configuration.md": configuration(ROOT / "conf"),
    }
    text, images = notebook(json.loads(_read(NOTEBOOK)))
    images |= with_fronts(_read(ROOT / BOARD))[1]
    pages |= {"look_inside.md": text, "eval/assets/tiny/sheet.png": (ROOT / "eval/assets/tiny/sheet.png").read_bytes()}
    for name, content in (pages | images).items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page, config, files: Files) -> str:
    """Turn links between files of the repository into links between pages; fill in measured results."""
    if page.file.src_uri == Path(BOARD).name:
        page.meta["hide"] = ["toc", "navigation"]  # its tables are wide
        markdown, _ = with_fronts(markdown)
    markdown = MEASURED.sub(lambda match: measured(match[1]), markdown)
    markdown = LIST.sub(r"\1\n", markdown)
    return LINK.sub(lambda match: match[1] + _target(match[2], page.file, files) + match[3], markdown)


def _target(link: str, file: File, files: Files) -> str:
    """A link as seen from the page; unchanged where the site has no such page, so that mkdocs warns."""
    uri = file.src_uri
    source = {page: path for path, page in NAMES.items()}.get(uri, uri if file.generated_by else f"docs/{uri}")
    wanted = os.path.normpath(PurePosixPath(source).parent / link).removeprefix("docs/")
    wanted = NAMES.get(wanted, wanted)
    return os.path.relpath(wanted, PurePosixPath(uri).parent) if files.get_file_from_path(wanted) else link


def measured(name: str) -> str:
    """What the README prints between its marks of this name: results that `scripts.readme` writes from their files."""
    return re.search(rf"<!-- {name}: begin -->\n(.*?)\n<!-- {name}: end -->", _read(ROOT / "README.md"), re.DOTALL)[1]


def configuration(conf: Path) -> str:
    """A section for each configuration group: every choice, what its first comment says, and its file."""
    parts = [
        "# Configuration\n\nEvery choice below is `GROUP=CHOICE` on the command line of `python -m scripts.run`, and "
        "every value `GROUP.KEY=VALUE`. This page is generated from `conf/`.",
        f"## Top level\n\n{_block(conf / 'config.yaml')}",
    ]
    for group, what in GROUPS.items():
        parts.append(f"## {group}\n\n{what}")
        parts += [_choice(path) for path in sorted((conf / group).glob("*.yaml"))]
    return "\n\n".join(parts) + "\n"


def _choice(path: Path) -> str:
    comment = _comment(_read(path))
    title = f"{path.stem}: {comment}" if comment else path.stem
    body = "\n".join(f"    {line}".rstrip() for line in _block(path).splitlines())
    return f'??? note "{title}"\n\n{body}'


def _comment(text: str) -> str:
    """The first sentence of the comment that a file begins with."""
    lines = [line for line in text.splitlines() if line.strip() != "# @package _global_"]
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    return re.split(r"(?<=\.)\s", " ".join(comment), maxsplit=1)[0].rstrip(".:").replace('"', "'")


def _block(path: Path) -> str:
    return f"```yaml\n{_read(path).strip()}\n```"


def notebook(content: dict) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its images by file name."""
    parts, images = [], {}
    for cell in content["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"look_inside_{len(images)}.png"
                images[name] = base64.b64decode(data["image/png"])
                parts.append(f"![Output of the cell above]({name})")
            else:
                printed = "".join(output.get("text") or data["text/plain"])
                parts.append(f"``` {{.text .output}}\n{printed.rstrip()}\n```")
    return "\n\n".join(parts) + "\n", images


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
