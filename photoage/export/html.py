"""What the pages share: nothing is loaded, nothing runs but their own script, and text stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import cv2
import numpy as np

from photoage.records import ImageArray

QUALITY = 65  # of WebP: some 1.5 kB a face
# Control characters and the like, and bytes of a name that are not UTF-8.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def content_policy(style: str, script: str) -> str:
    """A Content-Security-Policy under which only this style and this script work, and nothing is loaded."""
    sources = {"style-src": style, "script-src": script}
    hashes = [f"{name} 'sha256-{_sha256(content)}'" for name, content in sources.items()]
    return "; ".join(
        ["default-src 'none'", "img-src data:", *hashes, "base-uri 'none'", "form-action 'none'"]
    )


def _sha256(content: str) -> str:
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def as_picture(crop: ImageArray) -> str:
    """A crop (S, S, 3) uint8 RGB as WebP in base64."""
    _, encoded = cv2.imencode(
        ".webp", np.ascontiguousarray(crop[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, QUALITY]
    )
    return base64.b64encode(encoded.tobytes()).decode()


def visible(text: str) -> str:
    """`text` without what could rearrange or hide the text around it, or is none at all."""
    return UNSAFE.sub("\ufffd", text)


def json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace(
        "<", "\\u003c"
    )


def embedded(name: str, kind: str, content: str) -> str:
    return f'<script{name and f" id={name}"} type="{kind}">{content}</script>\n'
