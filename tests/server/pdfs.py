"""PDFs for the tests of the server."""

from tests.inputs.pdfs import DRAW, Pdf, image


def pdf_of(*sizes_pt: tuple[int, int]) -> bytes:
    """Return a PDF with pages of these sizes, each filled with a grey level of its own: 10, 20 and so on."""
    pdf = Pdf()
    for number, (width, height) in enumerate(sizes_pt, 1):
        pdf.add_page(
            DRAW % (width, height, 0, 0),
            images=[image((10, 10), bytes([10 * number]) * 100)],
            box=(0, 0, width, height),
        )
    return pdf.to_bytes()
