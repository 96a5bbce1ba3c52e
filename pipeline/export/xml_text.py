"""Texts in XML: ALTO, PAGE and hOCR, and the text layer of PDFs."""

import re
from typing import Final

_NOT_IN_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def xml_text(text: str) -> str:
    """Return a text as one line without the characters that XML forbids."""
    return _NOT_IN_XML.sub("\ufffd", " ".join(text.split()))
