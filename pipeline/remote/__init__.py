"""The OCR service as the client sees it: endpoint, connections, verdicts, pace."""
