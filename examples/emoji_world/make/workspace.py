"""Where the scripts read their sources and keep their intermediate files."""

import os
import tempfile
from pathlib import Path

WORLD = Path(__file__).resolve().parent.parent
"""The folder of the embedded world, which holds the results."""

WORK = Path(os.environ.get("EMOJI_WORLD_WORK", Path(tempfile.gettempdir()) / "emoji_world"))
"""Large intermediate files (the sprite cache); outside the repository."""

PACKAGES = Path(os.environ.get("EMOJI_WORLD_PACKAGES", WORK / "packages"))
"""The unpacked npm packages, one folder per package (see the README)."""

UNICODE = Path("/usr/share/unicode/emoji/emoji-test.txt")
"""The emoji names and groups (Debian package unicode-data)."""

NOTO = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
"""The Noto sprites (Debian package fonts-noto-color-emoji)."""
