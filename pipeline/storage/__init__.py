"""What lies on disk: whole files, the ledger's database, the index's lines, and what crashes leave behind."""
