"""The service that recognises the pages."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

VENDOR_URL = "https://llmocr.com"


@dataclass(frozen=True, slots=True)
class Service:
    """The API that a run calls.

    Attributes:
        base_url: Scheme, host and port; the client adds the path.
        key: The API key; never in a repr, a file or a message.
        name: "vendor", "embedded" or the host; run.json records it.
    """

    base_url: str
    key: str | None = field(repr=False)
    name: str

    @property
    def metered(self) -> bool:
        """True when a ledger counts the calls; calls of the embedded engine are free."""
        return self.name != "embedded"

    @property
    def host(self) -> str:
        """The host without its port."""
        return urlsplit(self.base_url).hostname or self.base_url
