"""Servers that ours is held against, one file each: all of them do `work.Work`, in environments of their own."""
