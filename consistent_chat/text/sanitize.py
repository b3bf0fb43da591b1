"""Text that shows what it is: for documents and terminals, whose readers and parsers must not be misled by it."""

from __future__ import annotations

import re

_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # controls, which XML 1.0 and HTML forbid, but for tab and line breaks
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks and overrides of direction (Unicode's Bidi_Control)
    "\u2028\u2029\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"  # separators, halves, tags
)


def visible(text: str) -> str:
    """Return a text with U+FFFD in place of what has no look of its own but changes that of what is around it.

    That is controls other than tab and line breaks, overrides of the writing direction, unpaired surrogates, tags.
    """
    return _UNSEEN.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def visible_line(text: str) -> str:
    """Return a text as one line, so that none of it can pass for a line of somebody else's."""
    return " ".join(visible(text).split("\n"))
