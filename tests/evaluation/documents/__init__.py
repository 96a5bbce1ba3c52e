"""Pages other than running text: receipts, forms, key-value pages, tables, slides and screens, by layout."""

import random
from collections.abc import Callable, Mapping

from tests.evaluation.documents.forms import make_form
from tests.evaluation.documents.key_values import make_key_values
from tests.evaluation.documents.receipts import make_receipt
from tests.evaluation.documents.screens import make_dark_screen, make_long_screen, make_screen
from tests.evaluation.documents.slides import make_dark_slide, make_slide
from tests.evaluation.documents.tables import make_tables, make_wrapped_tables
from tests.evaluation.pages import Page
from tests.evaluation.writing import Language

DOCUMENTS: Mapping[str, Callable[[Language, random.Random], Page]] = {
    "receipt": make_receipt,
    "form": make_form,
    "key-value": make_key_values,
    "table without rules": make_tables,
    "table with wrapped cells": make_wrapped_tables,
    "slide": make_slide,
    "dark slide": make_dark_slide,
    "app screen": make_screen,
    "dark app screen": make_dark_screen,
    "long screenshot": make_long_screen,
}
"""Makes a page of a layout in one of `DOCUMENT_LANGUAGES` from a random source."""

DOCUMENT_LANGUAGES: tuple[Language, ...] = ("zh", "en")
