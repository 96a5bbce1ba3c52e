"""One rule for what the samples of an image file mean, for the client (what it sends) and the server (what it reads).

`opening` opens a file as far as its header, `decoding` and `depth` turn samples of any kind into the grey or colour of
a page, and `orientation` turns it upright. `png`, `jpeg`, `tiff` and `gif` know what Pillow does not say about these
formats.
Nothing here reads or writes files.
"""
