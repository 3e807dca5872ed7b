"""Other programs' forms of a recommendation: one file a format, found by its name.

A format module has a docstring whose first line says what it is for, and
``export(job: Job) -> str``, which returns the text. What its program cannot express it says in
that text: ``job.unsaid`` lists it.
"""
