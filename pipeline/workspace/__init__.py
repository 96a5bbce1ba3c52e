"""The directory given to `-o`: results, failures, their index, run.json, the lock."""
