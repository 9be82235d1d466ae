"""Text that is safe to show: nothing in a file name may drive the terminal."""

from __future__ import annotations

import re

# C0, DEL and C1 controls, line separators, bidirectional overrides and isolates, and the lone
# surrogates that stand for bytes of a name that are not UTF-8.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str, keep: str = "") -> str:
    """`text` with every control character not in `keep` written as JSON would escape it."""
    if text.isprintable():  # nothing unsafe is
        return text
    return _UNSAFE.sub(lambda m: m[0] if m[0] in keep else f"\\u{ord(m[0]):04x}", text)
