"""Decoding in processes that are watched.

The training process (`client`) asks one server for files to be decoded into shared memory. The server (`server`)
imports what decoding needs once, forks as many workers as are wanted and watches them. A worker (`worker`) decodes one
job after the other. A file at which a worker crashes, hangs or eats memory is a bad file; another worker takes over.
"""
