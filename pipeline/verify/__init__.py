"""`verify`: do the accounts add up? The lines alone, against the index, and against the ledger; nothing is changed."""
