"""`verify`: checks the lines, and compares them with the index and the ledgers; changes nothing."""
