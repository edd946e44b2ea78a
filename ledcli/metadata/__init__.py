"""Metadata: TIFF directories, where files keep their tags, which are carried over, and XMP."""
