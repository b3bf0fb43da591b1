"""Makes text safe to show: replaces characters that could mislead a reader or parser."""

from __future__ import annotations

import re

_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # controls, which XML 1.0 and HTML forbid, but for tab and line breaks
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks and overrides of direction (Unicode's Bidi_Control)
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u2060-\u2065\u206a-\u206f\u3164\uffa0"  # letters and signs without a look,
    "\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # (Unicode's Default_Ignorable_Code_Point)
    "\u2028\u2029\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e00ff]"  # separators, halves, tags
)
_JOINED = "[^\x00-\x7f\ufffd\u200b-\u200d]"
_JOINERS = re.compile(f"(?<!{_JOINED})[\u200b-\u200d]|[\u200b-\u200d](?!{_JOINED})")
"""Zero-width spaces and joiners where no script or emoji needs them: not between two characters beyond ASCII."""


def visible(text: str) -> str:
    """Return a text with U+FFFD in place of each invisible character that changes how other text looks.

    That is controls other than tab and line breaks, overrides of the writing direction, unpaired surrogates, tags, and
    what takes no room, unless it joins or parts letters of scripts that need it.
    """
    seen = _UNSEEN.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _JOINERS.sub("\ufffd", seen)


def visible_line(text: str) -> str:
    """Return a text as one line, so that no part of it can look like another message."""
    return " ".join(visible(text).split("\n"))
