"""A browser for the tests of pages."""

from tests.server.browser import browser  # noqa: F401 - importing a fixture registers it
