"""Reading raws: libraw and exif read a file, reader makes a RawPhoto, decoder does it in a child.

What is read goes on to inference as planes and to output as a RawPhoto.
"""
