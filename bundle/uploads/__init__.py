"""Images that strangers send: judged, brought into one form, and kept under a quota. Needs Pillow beside numpy.

Whoever sends them is taken to be hostile: nothing is unpacked to a path of theirs, no declared size is believed before
it has been held against a limit, and no more than one image at a time is in memory. See `docs/uploads.md`.
"""
