"""Work that several processes share, and that goes on where it was stopped.

A job is a unit of work. It comes in two kinds. A `FileJob` leaves a file in a folder, and locks of files say who works
on what: for jobs that are known in advance, on one machine. A job of an Optuna study (`open_study`, `work`) is kept in
a database, with heartbeats: for many machines, and for jobs whose parameters a sampler draws.
"""
