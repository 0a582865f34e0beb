"""A page in the browser that scores clips: `qinn serve`, an HTTP interface on this machine with one page on top.

A clip comes in as the body of a request and goes to a file with a name of our own; another process decodes and scores
it and sends JSON back (`jobs`, `scoring`); the page is made of that. Whoever asks passes `gate` first.
"""
