"""ZIP and TAR, read as folders in place: nothing is unpacked to disk."""
