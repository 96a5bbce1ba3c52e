"""The directory given to `-o`: results, failures, index, lock."""
