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
    return _BLOCK.sub(lambda found: f"<p>{convert(html.unescape(found[1]).strip(), display='block')}</p>", content)
