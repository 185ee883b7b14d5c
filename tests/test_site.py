"""The documentation as a site: it builds without a warning, is whole, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from scripts import guide_pictures

from tests.markdown import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOADS = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src", "video": "src"}


class Loads(HTMLParser):
    """Collects what a browser fetches for a page by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and (values.get("rel") or "") in {"canonical", "next", "prev"}:
            return
        if (target := values.get(_LOADS.get(tag, ""))) is not None:
            self.found.append(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_each_page_is_there_and_loads_nothing_from_elsewhere(site: Path) -> None:
    sources = sorted((ROOT / "docs").rglob("*.md"))
    for source in sources:
        name = source.relative_to(ROOT / "docs").with_suffix("")
        page = site / "index.html" if str(name) == "index" else site / name / "index.html"
        content = page.read_text(encoding="utf-8")
        loads = Loads()
        loads.feed(content)
        assert loads.found
        assert not [target for target in loads.found if re.match(r"(https?:)?//", target)], name
        # The theme's script would fetch a library for each of these.
        assert 'class="mermaid"' not in content
    for sheet in (site / "assets").rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_the_reference_is_made_from_the_docstrings(site: Path) -> None:
    queue = (site / "reference" / "queue" / "index.html").read_text(encoding="utf-8")
    assert "Enqueue any number of jobs in one transaction" in queue
    errors = (site / "reference" / "errors" / "index.html").read_text(encoding="utf-8")
    assert "A race for a unique key, or for a job, was lost" in errors


@pytest.mark.parametrize("draw", guide_pictures.PICTURES, ids=lambda draw: draw.__name__)
def test_a_picture_of_the_guide_is_what_the_script_draws(draw: Callable[[], guide_pictures.Picture]) -> None:
    picture = draw()
    committed = guide_pictures.FOLDER / f"{picture.name}.svg"
    assert committed.read_text(encoding="utf-8") == picture.svg(), "run python scripts/guide_pictures.py"
    assert f"![{picture.title}](images/{committed.name})" in (ROOT / "docs" / "workflows.md").read_text(
        encoding="utf-8"
    )
    ET.fromstring(picture.svg())
