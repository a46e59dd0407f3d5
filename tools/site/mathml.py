"""MkDocs hook: formulas become MathML when the site is built, which browsers draw by themselves, without a script."""

import html
import re
from typing import Any

from latex2mathml.converter import convert

# what pymdownx.arithmatex leaves behind in its generic form
_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Replace the formulas of a page."""
    content = _INLINE.sub(lambda found: convert(html.unescape(found[1])), content)
    return _BLOCK.sub(lambda found: _block(html.unescape(found[1]).strip()), content)


def _block(formula: str) -> str:
    # on a phone a long one is moved within its own line
    return f'<div style="overflow-x: auto">{convert(formula, display="block")}</div>'
