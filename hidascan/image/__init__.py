"""Reading of image files: pixels, formats, metadata. This package never imports torch."""
